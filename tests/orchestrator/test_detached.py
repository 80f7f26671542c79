"""Controllers as processes: started in the background, refused, interrupted, killed, replaced."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.attend import interruptible
from orchestrator.lease import holder_name
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.terminal.lookup import controller_of
from tests.orchestrator.cohorts import controller_elsewhere
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.waiting import until

WriteCohort = Callable[..., Path]
BASE = "epochs: 3\nlearningRate: 0.05\n"
SLOW = "epochs: 40\nbatchSize: 1\n"
HERE = holder_name().rpartition(":")[0]


@pytest.fixture
def game(home: Path) -> Iterator[Store]:
    """The store that the commands use. What was started on it is ended with the test."""
    store = Store(Settings().store_url)
    yield store
    for cohort in store.cohorts():
        holder = controller_of(store, cohort.name)
        if holder is not None and holder.startswith(f"{HERE}:"):
            os.kill(int(holder.rpartition(":")[2]), signal.SIGTERM)
            until(lambda name=cohort.name: controller_of(store, name) is None)
    store.close()


@contextmanager
def process(*words: object, start_new_session: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, ended with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def read_until(started: subprocess.Popen[str], text: str) -> None:
    """Waits until the process has said a line with this text."""
    assert started.stderr is not None
    said = ""
    for line in started.stderr:
        said += line
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said, but: {said}")


def jobs() -> dict[str, Any]:
    return {job["team"]: job for job in read_json("get", "jobs", "--cohort", "small")["jobs"]}


def epoch_of(team: str) -> int:
    return int(jobs()[team]["members"][0]["epoch"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_process_end_it_in_order(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    on_hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
    try:
        with pytest.raises(SystemExit, match="130"), interruptible(lambda: "farewell"):
            signal.raise_signal(number)
    finally:
        signal.signal(signal.SIGHUP, on_hangup)
    assert capsys.readouterr().err == "\nfarewell\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_asking_again_does_not_disturb_the_end() -> None:
    ended = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            ended.append("in order")

    with pytest.raises(SystemExit, match="130"), interruptible(lambda: "farewell"):
        work()
    assert ended


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(lambda: "never said"):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_controller_that_fails_at_once_says_why(
    write_cohort: WriteCohort,
    photos: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_cohort({"apes": BASE})
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "click.py").write_text("raise SystemExit('no click today')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))  # the new process reads it
    refused = gamectl("submit", folder, "--data", photos, "--detach")
    assert refused.exit_code == 1
    assert "error: the controller ended before it was at work: no click today" in refused.stderr
    assert f"(log: {home / 'controllers' / 'small.log'})" in refused.stderr
    assert jobs()["apes"]["phase"] == "Pending"


# --- processes ------------------------------------------------------------------------------------


def test_ctrl_c_ends_only_the_watching(
    game: Store, write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"apes": BASE})
    controller_elsewhere(game)
    with process("submit", folder, "--data", photos) as watching:
        read_until(watching, "Ctrl-C ends only the watching")
        watching.send_signal(signal.SIGINT)
        _, rest = watching.communicate()
    assert watching.returncode == 130, rest
    assert "stopped watching; controller elsewhere:1 goes on" in rest
    assert jobs()["apes"]["phase"] == "Pending"


@pytest.mark.cluster
def test_a_detached_controller_outlives_its_shell_and_is_replaced_when_it_is_killed(
    game: Store, write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort({"slow": SLOW})
    submit = ["submit", folder, "--data", photos, "--cpus", "1"]
    with process(*submit, "--detach", start_new_session=True) as shell:
        _, said = shell.communicate()
    assert shell.returncode == 0, said
    log = home / "controllers" / "small.log"
    assert f"log: {log}" in said
    found = re.search(r"\(pid (\d+)\)", said)
    assert found is not None, said
    pid = int(found[1])
    assert controller_of(game, "small") == f"{HERE}:{pid}"
    # Nothing of it is left in the shell's session, to which a terminal that closes sends SIGHUP.
    assert os.getsid(pid) == pid
    with pytest.raises(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGHUP)

    # What it runs cannot end before the watching begins, and its lease lasts for longer than that.
    until(lambda: epoch_of("slow"))
    os.kill(pid, signal.SIGSTOP)
    refused = gamectl("controller", "--cohort", "small")
    assert refused.exit_code == 1
    assert f":{pid}) is at work" in refused.stderr

    # A team joins, without another controller.
    write_cohort({"late": BASE})
    joined = gamectl(*submit, "--detach")
    assert joined.exit_code == 0, joined.output
    assert f":{pid} is at work" in joined.stderr

    with process(*submit) as watching:
        read_until(watching, "Ctrl-C ends only the watching")
        os.kill(pid, signal.SIGKILL)
        read_until(watching, "this process goes on in its place")
        _, rest = watching.communicate()
    assert watching.returncode == 0, rest
    assert "cohort small: 2 Succeeded" in rest
    assert jobs()["slow"]["members"][0]["attempt"] == 2
    assert "slow: Running" in log.read_text()


@pytest.mark.cluster
def test_a_controller_that_is_terminated_leaves_what_resume_goes_on_from(
    game: Store, write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort({"held": BASE, "slow": SLOW})
    submit = ["submit", folder, "--data", photos, "--cpus", "1"]
    with process(*submit) as controller:
        read_until(controller, "2 jobs submitted")
        assert gamectl("suspend", "held").exit_code == 0
        until(lambda: epoch_of("slow"))
        controller.send_signal(signal.SIGTERM)
        _, rest = controller.communicate()
    assert controller.returncode == 130, rest
    assert "stopped; what was running is queued again. `gamectl resume --cohort small`" in rest
    assert controller_of(game, "small") is None
    left = jobs()["slow"]
    assert (left["phase"], left["reason"]) == ("Pending", "Interrupted")
    assert left["members"][0]["phase"] == "Pending"

    detached = gamectl("resume", "--detach", "--cpus", "1")
    assert detached.exit_code == 0, detached.output
    assert "is at work\nwatch with: gamectl get jobs --watch" in gamectl("resume").stderr
    until(lambda: controller_of(game, "small") is None)
    ended = jobs()
    assert (ended["held"]["phase"], ended["held"]["reason"]) == ("Pending", "Suspended")
    assert (ended["slow"]["phase"], ended["slow"]["members"][0]["attempt"]) == ("Succeeded", 2)
    said = (home / "controllers" / "small.log").read_text()
    assert "1 job stays suspended: gamectl resume held --cohort small" in said
