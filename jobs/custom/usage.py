"""What a sandbox's processes use, as the kernel tells it.

In: folders of /proc, or numbers of processes. Out: their `Usage`, all together, and the processes
that one has started. Whatever ends while it is looked at counts for nothing. Used by
`jobs.custom.watch`, which knows how much is allowed, and `jobs.custom.sandbox`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.plan import SandboxRules

MIB = 1 << 20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a sandbox's processes use at one moment."""

    memory_bytes: int = 0  # temporary files included; a page that several processes share once
    tasks: int = 0  # processes and threads
    cpu_s: float = 0  # of the process that used most
    temporary_files: int = 0


def measure(processes: Iterable[Path], rules: SandboxRules, temporary: Path | None = None) -> Usage:
    """Add up what processes use; one that ends meanwhile counts for nothing.

    Args:
        processes: their folders in some /proc.
        rules: pages that several processes share count for each of them, until that makes a
            difference.
        temporary: a folder on a file system of its own, in memory, whose files are counted.
    """
    folders = list(processes)
    statuses = [status for folder in folders if (status := _status(folder))]
    tasks = sum(status.get("Threads", 0) for status in statuses)
    num_files = file_bytes = 0
    if temporary is not None:
        with suppress(OSError):
            system = os.statvfs(temporary)
            num_files = system.f_files - system.f_ffree
            file_bytes = (system.f_blocks - system.f_bfree) * system.f_frsize
    memory_bytes = _sum_bytes([_memory(status) for status in statuses], file_bytes)
    # An exact count costs a walk through all page tables.
    if memory_bytes > rules.memory_mib * MIB and tasks <= rules.processes:
        memory_bytes = _sum_bytes([_own_memory(folder) for folder in folders], file_bytes)
    return Usage(
        memory_bytes=memory_bytes,
        tasks=tasks,
        cpu_s=max((_cpu_s(folder) for folder in folders), default=0),
        temporary_files=num_files,
    )


def out_of_memory_kills() -> int:
    """Return how many processes the system has ended for want of memory since it was started."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def threads(folder: Path) -> list[Path]:
    """Return the folders of a process's threads, from its folder; none where it has ended."""
    # Not with glob: that fails for a process which ends between two of its calls.
    with suppress(OSError), os.scandir(folder / "task") as found:
        return [Path(thread.path) for thread in found]
    return []


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and not yet waited for."""
    found: list[int] = []
    for thread in threads(Path(f"/proc/{pid}")):
        with suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
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
        for thread in threads(folder):
            numbers = _numbers(thread / "status") | numbers
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


def _memory(status: Mapping[str, int]) -> tuple[int, int]:
    """Return a process's own memory, and its pages of files in memory; in KiB."""
    # Other files' pages are left out: they are the system's cache, and nobody here can write them.
    own = sum(status.get(name, 0) for name in ("RssAnon", "VmSwap", "VmPTE"))
    return own, status.get("RssShmem", 0)


def _own_memory(folder: Path) -> tuple[int, int]:
    """As `_memory`, shared pages in part; where that is not to be known, in full."""
    shares, status = _numbers(folder / "smaps_rollup"), _status(folder)
    if "Pss_Anon" not in shares:  # an old kernel, or the process hides its memory
        return _memory(status)
    own = sum(shares.get(name, 0) for name in ("Pss_Anon", "SwapPss"))
    return own + status.get("VmPTE", 0), shares.get("Pss_Shmem", 0)


def _sum_bytes(memory_kib: Sequence[tuple[int, int]], file_bytes: int) -> int:
    """Add up memory; files in memory count whether or not somebody has their pages."""
    mapped_bytes = sum(mapped for _, mapped in memory_kib) * 1024
    return sum(own for own, _ in memory_kib) * 1024 + max(mapped_bytes, file_bytes)


def _cpu_s(folder: Path) -> float:
    try:
        after_name = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_S
    except (OSError, IndexError, ValueError):
        return 0
