"""Memory, shared memory, disks, GPUs and the clock of this machine.

In: what the system tells. Out: `Finding`s. What is enough is decided by functions of plain numbers,
apart from asking.
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.doctor.finding import Finding, Level

GIB = 1 << 30
LITTLE_MEMORY, TOO_LITTLE_MEMORY = 3 * GIB, GIB
"""Free: Ray, three slots and MLflow together hold about 1.9 GiB."""
LITTLE_DISK, TOO_LITTLE_DISK = 2 * GIB, GIB // 4
FULLEST = 0.95
"""Of a disk: Ray keeps nothing more on one that is fuller."""
SHARED_MEMORY = GIB
"""What Ray is given for decoded images on one machine."""
PROBE_BYTES = 1 << 20
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
SHM = Path("/dev/shm")  # noqa: S108  # the system's own, not a place of ours
DRIVER = Path("/proc/driver/nvidia/version")
OLDEST_NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
CLOCK_SLACK_S = 30.0


def memory() -> Iterator[Finding]:
    """How much memory there is, and how much of it is free."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = total
    with suppress(OSError):
        kib = {line.split(":")[0]: line.split()[1] for line in MEMINFO.read_text().splitlines()}
        free = int(kib["MemAvailable"]) << 10
    with suppress(OSError, ValueError):  # not in a container, or one without a limit: "max"
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        # Files that were read lately count as used, and go as soon as memory is wanted.
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0))
        total, free = min(total, limit), min(free, limit - used)
    yield memory_finding(total, free, os.cpu_count() or 1)


def memory_finding(total: int, free: int, cpus: int) -> Finding:
    """Whether so many free bytes are enough."""
    found = f"{_size(free)} of {_size(total)} free, {cpus} CPUs"
    advice = "end other programs, or use fewer slots: gamectl submit --cpus 1"
    if free < TOO_LITTLE_MEMORY:
        return Finding(Level.PROBLEM, "memory", found, advice)
    if free < LITTLE_MEMORY:
        return Finding(Level.WARNING, "memory", found, advice)
    return Finding(Level.OK, "memory", found)


def shared_memory() -> Iterator[Finding]:
    """Whether Ray's object store has room."""
    if SHM.is_dir():
        yield shared_memory_finding(shutil.disk_usage(SHM).free)


def shared_memory_finding(free: int) -> Finding:
    """Whether so many free bytes are enough; with fewer Ray takes the disk, which is slow."""
    found = f"{_size(free)} free in {SHM}"
    if free >= SHARED_MEMORY:
        return Finding(Level.OK, "shared memory", found)
    return Finding(
        Level.WARNING,
        "shared memory",
        f"{found}, and Ray wants {_size(SHARED_MEMORY)}",
        "give a container more (docker run --shm-size=2g), or remove what programs left there",
    )


def disk() -> Iterator[Finding]:
    """Room where games are kept and where Ray keeps its session, each file system once."""
    from orchestrator.settings import Settings

    if (home := Settings().root).exists() and not home.is_dir():
        advice = "move the file away, or name a folder in GAME_HOME"
        yield Finding(Level.PROBLEM, "disk", f"{home} (games) is a file", advice)
    seen: set[int] = set()
    for use, place in (("games", Settings().root), ("Ray", Path(tempfile.gettempdir()))):
        folder = existing(place)
        if (device := folder.stat().st_dev) not in seen:
            seen.add(device)
            yield from disk_findings(use, place, folder)


def existing(place: Path) -> Path:
    """The part of a path that is there."""
    return next(each for each in (place, *place.parents) if each.is_dir())


def disk_findings(use: str, place: Path, folder: Path) -> Iterator[Finding]:
    """Whether `folder`, the part of `place` that is there, can be written and has room."""
    games = use == "games"
    other = f"or name another folder in {'GAME_HOME' if games else 'TMPDIR'}"
    advice = f"free some room, {other}" + ("; `cache` in it is safe to delete" if games else "")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            advice = f"make it one that you may write, {other}"
        yield Finding(Level.PROBLEM, "disk", f"{place} ({use}): {error.strerror}", advice)
        return
    usage = shutil.disk_usage(folder)
    yield disk_finding(use, place, usage.total, usage.free, advice)


def disk_finding(use: str, place: Path, total: int, free: int, advice: str) -> Finding:
    """Whether so many free bytes are enough."""
    found = f"{_size(free)} of {_size(total)} free in {place} ({use})"
    if free < TOO_LITTLE_DISK:
        return Finding(Level.PROBLEM, "disk", found, advice)
    if free < LITTLE_DISK or free < total * (1 - FULLEST):
        return Finding(Level.WARNING, "disk", found, advice)
    return Finding(Level.OK, "disk", found)


def gpu() -> Iterator[Finding]:
    """The GPUs that torch sees, and why it sees none where there is a driver."""
    import torch

    driver = ""
    with suppress(OSError, IndexError):
        driver = DRIVER.read_text().splitlines()[0].split("Kernel Module")[1].split()[0]
    names = []
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield gpu_finding(names, driver, torch.version.cuda)


def gpu_finding(names: list[str], driver: str, built_for: str | None) -> Finding:
    """What these GPUs, this driver and torch's CUDA are to each other; empty is none."""
    if names:
        found = f"{len(names)} x {names[0]}, driver {driver or 'unknown'}, CUDA {built_for}"
        advice = "`resources: {gpus: 0.5}` in a cohort's file gives each member half of one"
        return Finding(Level.OK, "GPU", f"{found}; {advice}")
    if not driver:
        return Finding(Level.OK, "GPU", "none: networks train on CPUs")
    if built_for is None:
        found, advice = f"driver {driver}, but torch is built for CPUs", "install torch with CUDA"
    else:
        found = f"driver {driver}, but torch (CUDA {built_for}) sees no GPU"
        advice = "update the driver, or let the container see it (docker run --gpus all)"
    return Finding(Level.WARNING, "GPU", found, advice)


def clock() -> Iterator[Finding]:
    """Whether the clock is plausible, and not behind what the store has from before."""
    newest = 0.0
    from orchestrator.settings import Settings
    from orchestrator.terminal.names import last_submission

    with suppress(Exception):  # what is wrong with the store is said of the store
        newest = last_submission(Settings().store_url)
    yield clock_finding(time.time(), newest)


def clock_finding(now: float, newest: float) -> Finding:
    """Whether `now` can be, when something happened at `newest` (0 where nothing did)."""
    shown = datetime.fromtimestamp(now).astimezone().isoformat(" ", "seconds")
    late = max(OLDEST_NOW, newest) - now
    if late <= CLOCK_SLACK_S:
        return Finding(Level.OK, "clock", shown)
    return Finding(
        Level.PROBLEM,
        "clock",
        f"{shown}, which is before what was submitted last, or before this release",
        "set it (timedatectl set-ntp true): deadlines and expected ends go by it",
    )


def _size(num_bytes: float) -> str:
    return f"{num_bytes / GIB:.1f} GiB"
