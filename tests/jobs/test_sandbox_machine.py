"""What a sandbox needs of its machine, bubblewrap, a user and GPUs, and what it may use of it."""

import os
import queue
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.custom import view
from jobs.custom.privileges import unused_user
from jobs.custom.usage import MIB, Usage, measure, threads
from jobs.custom.watch import Excess, Watch, excess, limits_for, set_limits
from jobs.errors import SandboxError
from jobs.plan import SandboxRules
from jobs.reproducible import CUBLAS_WORKSPACE

REPOSITORY = Path(__file__).parents[2]


def _with_path(path: str) -> dict[str, str]:
    return {"PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_where_bubblewrap_is_missing_it_says_what_to_do() -> None:
    code = (
        "from jobs.custom.sandbox import unavailable; from jobs.plan import SandboxRules; "
        "print(unavailable(SandboxRules())); print(unavailable(SandboxRules(isolation='process')))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command,
        env=_with_path("/nowhere"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    missing, plain = done.stdout.splitlines()
    assert "apt-get install bubblewrap" in missing
    assert "customIsolation: process" in missing
    assert plain == "None"


TELLS_ITS_PROCESS = """\
for word in "$@"; do
    if [ "$last" = --info-fd ]; then echo "{\\"child-pid\\": $$}" > /proc/self/fd/$word; fi
    last=$word
done
sleep 1
"""


@pytest.mark.parametrize("begins", ["", TELLS_ITS_PROCESS])
def test_where_bubblewrap_fails_it_says_why(begins: str, tmp_path: Path) -> None:
    bwrap = tmp_path / "bwrap"
    refuses = "echo 'bwrap: No permissions to create new namespace' >&2; exit 1\n"
    bwrap.write_text(f"#!/bin/sh\n{begins}{refuses}")
    bwrap.chmod(0o755)
    code = (
        "from jobs.custom.sandbox import unavailable; from jobs.plan import SandboxRules; "
        "print(unavailable(SandboxRules()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=_with_path(f"{tmp_path}:{os.environ['PATH']}"),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "No permissions to create new namespace" in done.stdout
    assert "seccompProfile" in done.stdout
    assert "chmod" not in done.stdout


def test_the_drawn_user_exists_and_is_nobody_of_ours() -> None:
    extents = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    user = unused_user()
    assert any(int(first) <= user < int(first) + int(size) for first, _, size in extents)
    assert user != os.getuid() or extents[0][2] == "1"


def test_a_slot_shows_its_own_gpus_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bus, name, minor in (("0000:01:00.0", "GPU-aa", 1), ("0000:02:00.0", "GPU-bb", 0)):
        (tmp_path / bus).mkdir()
        (tmp_path / bus / "information").write_text(
            f"Model: \t X\nGPU UUID: \t {name}\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n"
        )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert view.visible_gpus(tmp_path) == [("GPU-aa", 1), ("GPU-bb", 0)]
    for wanted, gpus in {"0": [("GPU-aa", 1)], "GPU-b": [("GPU-bb", 0)], "": []}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
        assert view.visible_gpus(tmp_path) == gpus
    for wanted in ("2", "MIG-aa", "GPU-"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
        with pytest.raises(SandboxError, match="no whole GPU"):
            view.visible_gpus(tmp_path)
    assert view.devices("cpu") == []


def test_products_on_a_gpu_are_fixed_before_a_teams_first_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    inside = view.environment(1, "inside", "cuda")
    assert inside["CUBLAS_WORKSPACE_CONFIG"] == CUBLAS_WORKSPACE
    assert "CUBLAS_WORKSPACE_CONFIG" not in view.environment(1, "inside", "cpu")


def test_a_driver_is_found_where_the_worker_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/nvidia/lib64")
    assert view.environment(1, "inside", "cuda")["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64"
    assert "LD_LIBRARY_PATH" not in view.environment(1, "inside", "cpu")


# --- what is used --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "elapsed_s", "kind", "said"),
    [
        (Usage(), 3600, None, ""),
        (Usage(512 * MIB, 16, 7200, 20_000), 0, None, ""),
        (Usage(memory_bytes=513 * MIB), 0, "memory", "513 MiB of memory; 512 are allowed"),
        (Usage(tasks=17), 0, "processes", "17 processes and threads at a time; 16 are"),
        (Usage(cpu_s=7200.5), 0, "cpu", "more than 7200 s of processor time"),
        (Usage(temporary_files=20_001), 0, "files", "20001 temporary files"),
        (Usage(), 3600.1, "time", r"longer than 3600 s \(customLimits.wallSeconds"),
    ],
)
def test_each_limit_has_its_words(
    usage: Usage, elapsed_s: float, kind: str | None, said: str
) -> None:
    found = excess(usage, SandboxRules(memory_mib=512, processes=16), elapsed_s)
    assert (found and found.kind) == kind
    if found is not None:
        with pytest.raises(AssertionError, match=said):
            raise AssertionError(found.message)


def test_memory_counts_what_was_touched(tmp_path: Path) -> None:
    own = [Path("/proc/self"), tmp_path / "ended"]
    before = measure(own, SandboxRules())
    held = bytearray(b"x" * (64 * MIB))
    after = measure(own, SandboxRules())
    exact = measure(own, SandboxRules(memory_mib=512, processes=4096))
    assert after.memory_bytes - before.memory_bytes > 60 * MIB
    assert len(held) < exact.memory_bytes <= after.memory_bytes + MIB
    assert after.tasks >= 1
    assert after.cpu_s > 0


def test_a_process_that_ends_while_it_is_looked_at_counts_for_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "100"]) as process:
        tasks = os.open(f"/proc/{process.pid}/task", os.O_RDONLY)
        process.kill()
    try:  # a folder that is there as long as nobody lists it
        folder = tmp_path / "ended"
        folder.mkdir()
        (folder / "task").symlink_to(f"/proc/self/fd/{tasks}")
        (folder / "status").write_text("Threads:\t2\n")
        assert (folder / "task").is_dir()
        assert threads(folder) == []
        assert measure([folder], SandboxRules()) == Usage(tasks=2)
    finally:
        os.close(tasks)


def test_a_process_cannot_take_back_that_it_ends_first(tmp_path: Path) -> None:
    own, ended = tmp_path / "1", tmp_path / "2"
    own.mkdir()
    (own / "oom_score_adj").write_text("0")
    watch = Watch(SandboxRules(), lambda: [ended, own], None, lambda _: None, lambda _: None)
    assert watch.look() is None
    watch.close()
    assert (own / "oom_score_adj").read_text() == "1000"


def test_a_watch_that_cannot_look_says_so() -> None:
    def vanished() -> list[Path]:
        raise ProcessLookupError("it is gone")

    told: queue.Queue[Exception] = queue.Queue()
    watch = Watch(SandboxRules(), vanished, None, lambda _: None, told.put)
    assert isinstance(told.get(timeout=60), ProcessLookupError)
    watch.close()


def test_whoever_keeps_the_watch_from_looking_is_ended() -> None:
    def hidden() -> list[Path]:
        raise PermissionError("/proc/1/root")

    told: queue.Queue[Excess] = queue.Queue()
    watch = Watch(SandboxRules(), hidden, None, told.put, lambda _: None)
    assert told.get(timeout=60).kind == "processes"
    watch.close()


@pytest.mark.parametrize(
    ("rules", "answers_within_s", "said"),
    [
        (SandboxRules(wall_seconds=100), None, "it ran for longer than 100 s (customLimits.wall"),
        (SandboxRules(), 100.0, "it did not answer within 100 s, the most that a trained"),
    ],
)
def test_time_in_which_it_waits_for_us_does_not_count(
    rules: SandboxRules,
    answers_within_s: float | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("jobs.custom.watch.time.monotonic", lambda: now_s)
    ends: list[Excess] = []
    watch = Watch(rules, list, None, ends.append, lambda _: None, answers_within_s)
    watch.close()
    now_s += 60
    with watch.paused():
        now_s += 500
        assert watch.look() is None
    now_s += 40
    assert watch.look() is None
    now_s += 1
    found = watch.look()
    assert found is not None
    assert found.message.startswith(said)
    assert ends == []


def test_threads_that_other_programs_start_later_have_room() -> None:
    alone, beside_others = (limits_for(SandboxRules(), "cpu", others) for others in (0, 300))
    assert beside_others["processes"] > alone["processes"] + 300 + 1000


def test_limits_can_be_set_from_outside() -> None:
    with subprocess.Popen(["/bin/sleep", "100"]) as process:
        set_limits(limits_for(SandboxRules(open_files=77), "cuda"), process.pid)
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        process.kill()
    lines = {line[:26].strip(): line[26:].split() for line in limits.splitlines()}
    assert lines["Max open files"][:2] == ["77", "77"]
    assert lines["Max data size"][0] == "unlimited"  # drivers reserve more than they use
