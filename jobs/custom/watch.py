"""What team code may use, and what it uses.

In: a cohort's `SandboxRules`, and the folders of /proc of a sandbox's processes. Out: the limits
that each process sets on itself before it imports anything of a team (`set_limits`, inside), and
an `Excess` as soon as all of them together use more than they may (`Watch`, outside). Used by
`jobs.custom.sandbox`, `jobs.custom.parent` and `jobs.custom.child`.

The kernel's own limits are of one process each, and count neither pages shared without a file nor
page tables; the watch counts those too. It needs no cgroup. What it cannot see is how fast memory
is taken between two looks, so sandboxes also go first when the machine runs out of memory.
"""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.plan import SandboxRules

LOOK_S = 0.1
MIB = 1 << 20
# Torch maps this much that it never touches; the watch counts what is touched.
UNTOUCHED_MIB = 512
# Forks beyond the cohort's number fail only after some more, so that the watch can see them.
SPARE_PROCESSES = 8
SPARE_CPU_S = 2
MAX_TEMPORARY_FILES = 20_000  # the kernel takes 1 KiB for each, however small
STACK_BYTES = 8 * MIB
PENDING_SIGNALS = 1024
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Kind = Literal["memory", "time", "cpu", "processes", "files", "output"]


@dataclass(frozen=True)
class Excess:
    """Which limit was passed, in words for the team: what happened, and the cohort's figure."""

    kind: Kind
    message: str


@dataclass(frozen=True)
class Usage:
    """What a sandbox's processes use at one moment."""

    memory_bytes: int = 0  # a page that several processes share counts once
    tasks: int = 0  # processes and threads
    cpu_s: float = 0  # of the process that used most
    temporary_files: int = 0


def limits_for(rules: SandboxRules, device: str, others: int = 0) -> dict[str, int]:
    """Return what `set_limits` takes, as plain JSON values.

    Args:
        rules: the cohort's.
        device: "cuda" leaves memory to the watch: GPU drivers reserve far more than they use.
        others: processes and threads that the kernel counts as the same user's.
    """
    limits = {
        "cpu_s": int(rules.cpu_seconds) + SPARE_CPU_S,
        "open_files": rules.open_files,
        "processes": rules.processes + SPARE_PROCESSES + others,
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


def measure(processes: Iterable[Path], rules: SandboxRules, temporary: Path | None = None) -> Usage:
    """Add up what processes use; one that ends meanwhile counts for nothing.

    Args:
        processes: their folders in some /proc.
        rules: pages that several processes share count for each of them, until that makes a
            difference.
        temporary: a folder, on a file system of its own, whose files are counted.
    """
    folders = list(processes)
    statuses = [status for folder in folders if (status := _status(folder))]
    memory_bytes = sum(_memory_bytes(status) for status in statuses)
    tasks = sum(status.get("Threads", 0) for status in statuses)
    # An exact count costs a walk through all page tables.
    if memory_bytes > rules.memory_mib * MIB and tasks <= rules.processes:
        memory_bytes = sum(_own_bytes(folder) for folder in folders)
    num_files = 0
    if temporary is not None:
        with suppress(OSError):
            system = os.statvfs(temporary)
            num_files = system.f_files - system.f_ffree
    return Usage(
        memory_bytes=memory_bytes,
        tasks=tasks,
        cpu_s=max((_cpu_s(folder) for folder in folders), default=0),
        temporary_files=num_files,
    )


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
    ) -> None:
        """Begin; the wall clock runs from here.

        Args:
            rules: the cohort's limits.
            processes: names the folders in /proc of what runs now.
            temporary: see `measure`.
            end: called once, from the watch's thread, with the first excess.
        """
        self._rules, self._processes, self._temporary = rules, processes, temporary
        self._end = end
        self._started_s = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sandbox watch", daemon=True)
        self._thread.start()

    def look(self) -> Excess | None:
        """Say which limit is passed at this moment, if one is."""
        usage = measure(self._processes(), self._rules, self._temporary)
        return excess(usage, self._rules, time.monotonic() - self._started_s)

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(LOOK_S):
            found = self.look()
            if found is not None:
                self._end(found)
                return


def out_of_memory_kills() -> int:
    """Return how many processes the system has ended for want of memory since it was started."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and not yet waited for."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """Return a process and all below it, parents first; one whose parent has ended is not found."""
    found = [pid]
    for parent in found:  # grows meanwhile
        found += children(parent)
    return found


def _status(folder: Path) -> dict[str, int]:
    """Return the numbers in a process's status; memory in KiB. Nothing where it has ended."""
    numbers = _numbers(folder / "status")
    if numbers.get("Threads", 0) > 1 and "RssAnon" not in numbers:
        # Its first thread has ended, and with it what is said there of the memory of the others.
        for thread in (folder / "task").glob("*/status"):
            numbers = _numbers(thread) | numbers
    return numbers


def _numbers(path: Path) -> dict[str, int]:
    numbers: dict[str, int] = {}
    with suppress(OSError):
        # A process may give itself any name, in any encoding. The kernel escapes line ends in it,
        # and only those: everything else that Python takes for one is part of a name.
        for line in path.read_bytes().split(b"\n"):
            name, _, value = line.partition(b":")
            words = value.split()
            if name != b"Name" and words and words[0].isdigit():
                numbers[name.decode(errors="replace")] = int(words[0])
    return numbers


def _memory_bytes(status: Mapping[str, int]) -> int:
    # File pages are left out: they are the system's cache of files that nobody here can write.
    names = ("RssAnon", "RssShmem", "VmSwap", "VmPTE")
    return sum(status.get(name, 0) for name in names) * 1024


def _own_bytes(folder: Path) -> int:
    """Count a process's pages, shared ones in part; where that is not to be known, in full."""
    shares, status = _numbers(folder / "smaps_rollup"), _status(folder)
    if "Pss_Anon" not in shares:  # an old kernel, or the process hides its memory
        return _memory_bytes(status)
    names = ("Pss_Anon", "Pss_Shmem", "SwapPss")
    return (sum(shares.get(name, 0) for name in names) + status.get("VmPTE", 0)) * 1024


def _cpu_s(folder: Path) -> float:
    try:
        after_name = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_S
    except (OSError, IndexError, ValueError):
        return 0
