"""What team code may use, and the end of one that uses more.

In: a cohort's `SandboxRules`, and the folders of /proc of a sandbox's processes. Out: the limits
that each process sets on itself before it imports anything of a team (`set_limits`, inside), and
an `Excess` as soon as all of them together use more than they may (`Watch`, outside), as
`jobs.custom.usage` counts it. Used by `jobs.custom.sandbox`, `jobs.custom.session` and
`jobs.custom.child`.

The kernel's own limits are of one process each, and count neither pages shared without a file nor
page tables; the watch counts those too. It needs no cgroup. What it cannot see is how fast memory
is taken between two looks, so sandboxes also go first when the machine runs out of memory.
"""

import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.custom.usage import MIB, Usage, measure
from jobs.plan import SandboxRules

LOOK_S = 0.1
# Torch maps this much that it never touches; the watch counts what is touched.
UNTOUCHED_MIB = 512
# Forks beyond the cohort's number fail only after some more, so that the watch can see them.
SPARE_PROCESSES = 8
# Where the kernel counts the user's other programs as well, these may start threads meanwhile.
SPARE_OTHERS = 2048
SPARE_CPU_S = 2
MAX_TEMPORARY_FILES = 20_000  # the kernel takes 1 KiB for each, however small
STACK_BYTES = 8 * MIB
PENDING_SIGNALS = 1024
ENDED_FIRST = "1000"  # the most that the kernel takes as oom_score_adj

Kind = Literal["memory", "time", "cpu", "processes", "files", "output"]


@dataclass(frozen=True)
class Excess:
    """Which limit was passed, in words for the team: what happened, and the cohort's figure."""

    kind: Kind
    message: str


def limits_for(rules: SandboxRules, device: str, others: int = 0) -> dict[str, int]:
    """Return what `set_limits` takes, as plain JSON values.

    Args:
        rules: the cohort's.
        device: "cuda" leaves memory to the watch: GPU drivers reserve far more than they use.
        others: processes and threads that the kernel counts as the same user's.
    """
    spare = SPARE_PROCESSES + (others + SPARE_OTHERS if others else 0)
    limits = {
        "cpu_s": int(rules.cpu_seconds) + SPARE_CPU_S,
        "open_files": rules.open_files,
        "processes": rules.processes + spare,
        "file_bytes": rules.temporary_mib * MIB,
    }
    if device != "cuda":
        limits["data_bytes"] = (rules.memory_mib + UNTOUCHED_MIB) * MIB
    return limits


def set_limits(limits: Mapping[str, int], pid: int = 0) -> None:
    """Limit a process (0: this one) and all that it starts, for good.

    Args:
        limits: as `limits_for` makes them.
        pid: another process of the same user's, or of anybody's for root.

    Raises:
        OSError: there is no such process any more.
    """
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_STACK: STACK_BYTES,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: PENDING_SIGNALS,
    }
    names = {
        "cpu_s": resource.RLIMIT_CPU,
        "open_files": resource.RLIMIT_NOFILE,
        "processes": resource.RLIMIT_NPROC,
        "file_bytes": resource.RLIMIT_FSIZE,
        "data_bytes": resource.RLIMIT_DATA,
    }
    wanted |= {names[name]: value for name, value in limits.items()}
    for kind, value in wanted.items():
        _, hard = resource.prlimit(pid, kind)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(pid, kind, (allowed, allowed))


def offer(folder: Path) -> None:
    """Let the machine end a process before anything else where memory runs out.

    Where no root has done so, the process may take it back: it is to be done again and again.
    """
    with suppress(OSError):
        (folder / "oom_score_adj").write_text(ENDED_FIRST)


def excess(usage: Usage, rules: SandboxRules, elapsed_s: float) -> Excess | None:
    """Say which limit is passed, if one is."""
    if usage.tasks > rules.processes:
        return Excess(
            "processes",
            f"it ran {usage.tasks} processes and threads at a time; {rules.processes} are allowed "
            "(customLimits.processes)",
        )
    if usage.memory_bytes > rules.memory_mib * MIB:
        used = f"it used {usage.memory_bytes // MIB} MiB of memory"
        return Excess("memory", f"{used}; {rules.memory_mib} are allowed (customLimits.memoryMib)")
    if usage.temporary_files > MAX_TEMPORARY_FILES:
        return Excess(
            "files",
            f"it made {usage.temporary_files} temporary files; {MAX_TEMPORARY_FILES} are allowed",
        )
    if usage.cpu_s > rules.cpu_seconds:
        limit = f"{rules.cpu_seconds:g} s of processor time (customLimits.cpuSeconds)"
        return Excess("cpu", f"it used more than {limit}")
    if elapsed_s > rules.wall_seconds:
        limit = f"{rules.wall_seconds:g} s (customLimits.wallSeconds)"
        return Excess("time", f"it ran for longer than {limit}")
    return None


class Watch:
    """Looks at a sandbox every LOOK_S from a thread of its own, until it is closed."""

    def __init__(
        self,
        rules: SandboxRules,
        processes: Callable[[], Iterable[Path]],
        temporary: Path | None,
        end: Callable[[Excess], None],
        broken: Callable[[Exception], None],
        answers_within_s: float | None = None,
    ) -> None:
        """Begin; the wall clock runs from here.

        Args:
            rules: the cohort's limits.
            processes: names the folders in /proc of what runs now.
            temporary: see `measure`.
            end: called once, from the watch's thread, with the first excess.
            broken: called once, from there too, where it cannot look any more: nothing is limited
                from then on, so that what it looks at has to end.
            answers_within_s: what it is given to answer, whatever the cohort allows for training.
        """
        self._rules, self._processes, self._temporary = rules, processes, temporary
        self._end, self._broken = end, broken
        self._answers_within_s = answers_within_s
        self._clock = threading.Lock()
        self._counts_from_s = time.monotonic()
        self._waits_since_s: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sandbox watch", daemon=True)
        self._thread.start()

    def look(self) -> Excess | None:
        """Say which limit is passed at this moment, if one is."""
        try:
            processes = list(self._processes())
        except PermissionError:
            return Excess("processes", "it kept others from looking at what it uses")
        for folder in processes:
            offer(folder)
        usage, elapsed_s = measure(processes, self._rules, self._temporary), self._elapsed_s()
        if self._answers_within_s is not None and elapsed_s > self._answers_within_s:
            limit = f"{self._answers_within_s:g} s, the most that a trained network may take"
            return Excess("time", f"it did not answer within {limit}")
        return excess(usage, self._rules, elapsed_s)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A block in which what is watched waits for us: its wall clock stands still."""
        with self._clock:
            self._waits_since_s = since_s = time.monotonic()
        try:
            yield
        finally:
            with self._clock:
                self._counts_from_s += time.monotonic() - since_s
                self._waits_since_s = None

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        self._thread.join()

    def _elapsed_s(self) -> float:
        with self._clock:
            now_s = self._waits_since_s or time.monotonic()
            return now_s - self._counts_from_s

    def _run(self) -> None:
        try:
            while not self._closed.wait(LOOK_S):
                found = self.look()
                if found is not None:
                    self._end(found)
                    return
        except Exception as error:
            self._broken(error)
