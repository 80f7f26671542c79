"""The process ends with its last line, after everything that has to be done before."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from tests.orchestrator.commands import gamectl
from tests.orchestrator.screens import in_terminal

PROGRAM = """
import atexit, sys, threading, time
from pathlib import Path
from orchestrator import cli

class Slow:
    def __del__(self):
        Path(sys.argv[1], "taken apart").touch()

kept = Slow()

def work():
    time.sleep(0.2)
    Path(sys.argv[1], "thread").touch()

def main(prog_name):
    atexit.register(Path(sys.argv[1], "handler").touch)
    threading.Thread(target=work).start()
    sys.stdout.write(f"the last line of {prog_name}")
    raise END

cli.main = main
cli.run()
"""


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("SystemExit", 0, ""),
        ("SystemExit(0)", 0, ""),
        ("SystemExit(130)", 130, ""),
        ("SystemExit('no')", 1, "no\n"),
        ("ValueError('a mistake of ours')", 1, "ValueError: a mistake of ours\n"),
    ],
)
def test_handlers_and_threads_end_and_nothing_is_taken_apart(
    tmp_path: Path, end: str, status: int, said: str
) -> None:
    words = [sys.executable, "-c", PROGRAM.replace("END", end), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "the last line of gamectl")
    assert done.stderr.endswith(said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["handler", "thread"]


def test_ctrl_c_ends_any_command_with_the_shells_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> Settings:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.cli.leaderboard.Settings", interrupted)
    done = gamectl("leaderboard")
    assert (done.exit_code, done.stdout, done.stderr) == (130, "", "\ninterrupted\n")


PRESSED = """
import runpy, sys

class Pressed:
    def find_spec(self, name, path, target=None):
        if name == "orchestrator.console":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Pressed())
runpy.run_module("orchestrator", run_name="__main__")
"""


def test_ctrl_c_while_the_commands_are_imported_is_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", PRESSED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_output_that_nobody_reads_is_no_error() -> None:
    program = "from orchestrator.cli import run; run()"
    words = f"{sys.executable} -c '{program}' --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
    assert (done.returncode in (0, 1), done.stderr) == (True, "")


def test_what_is_made_for_a_while_is_removed_by_a_handler_after_ours() -> None:
    program = """if True:
        import weakref
        import orchestrator.cli
        print(weakref.finalize._registered_with_atexit)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"  # so temporary folders register later, and are removed earlier


REMARKS = """
import os, sys
from orchestrator.admission.cohort import CohortSpec
from orchestrator.console import clear_status, print_note, print_status
from orchestrator.terminal.live import LiveView

print_note("a remark")
print_status("looking ...")
clear_status()
with LiveView(CohortSpec(), 1) as view:
    view.say("the store is away")
print_note("another one")
sys.stdout.write("the controller goes on")
sys.stdout.flush()
os._exit(0)  # as `run` does: Python itself tells of what it could not write at its end
"""


@pytest.mark.parametrize("where", ["2> /dev/full", "2> >(true)", "2>&-"])
def test_remarks_that_nobody_can_read_end_nothing(where: str) -> None:
    """A detached controller's log on a full disk, or whoever read along has gone."""
    words = f"exec {sys.executable} -c '{REMARKS}' {where}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "the controller goes on")


LINES = """
from orchestrator import cli, console

def main(prog_name):
    console.print_line("a line", colour="green")
    console.print_text("a text")
    console.print_json([1])
    console.print_table(["A"], [["cell"]])
    console.print_error("a remark")
    raise SystemExit

cli.main = main
cli.run()
"""


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_an_output_that_was_closed_before_we_began_is_no_error(closed: str) -> None:
    words = f"exec {sys.executable} -c '{LINES}' {closed}"
    done = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
    said = "error: a remark\n" if closed == ">&-" else ""
    assert (done.returncode, done.stdout, done.stderr) == (0, "", said)


BELOW_A_BAR = """
import contextlib, sys
from orchestrator import cli
from orchestrator.terminal.progress_bars import waiting

def main(prog_name):
    with contextlib.ExitStack() as stack:
        with waiting("starting Ray"):
            import ray.autoscaler._private.cli_logger  # keeps stdout, and writes to it at the end
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # as `ray_cluster` does
    print("the last line")

cli.main = main
cli.run()
"""


def test_nothing_follows_the_last_line_where_ray_was_started_below_a_bar(tmp_path: Path) -> None:
    assert in_terminal([sys.executable, "-c", BELOW_A_BAR]).endswith("the last line\n")
    result = tmp_path / "result"
    in_terminal(["sh", "-c", f"exec {sys.executable} -c '{BELOW_A_BAR}' > {result}"])
    assert result.read_text() == "the last line\n"


def test_errors_are_wrapped_between_words_in_a_terminal_and_nowhere_else() -> None:
    said = " ".join(["something"] * 20)
    words = saying("print_error", said)
    lines = in_terminal(words, width=60).splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert " ".join(line.strip() for line in lines) == f"error: {said}"
    assert [line.startswith("  s") for line in lines] == [False, True, True, True]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stderr == f"error: {said}\n"


def test_a_command_to_be_copied_is_not_broken_by_a_line_end() -> None:
    command = "gamectl resume --all --cohort monday-morning-group-of-a-long-name"
    for said in (f"1 job stays suspended: {command}", f"once it answers, `{command}` goes on"):
        assert command in in_terminal(saying("print_note", said), width=60)


def saying(how: str, text: str) -> list[str]:
    """The words of a process that says this to its user."""
    return [sys.executable, "-c", f"from orchestrator.console import {how}; {how}({text!r})"]
