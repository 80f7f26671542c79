"""Who runs team code, as the kernel sees it.

In: this process's own privileges. Out: the user that a sandbox's processes get, and how many other
processes the kernel counts as that user's. Used by `jobs.custom.sandbox`.
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

# Users of this range belong to nobody (systemd's table of user ids); where it is not mapped, as in
# a container, the highest ones that are do.
UNUSED_USERS = (1_879_048_192, 2_147_352_575)
CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21
COUNTED_PER_NAMESPACE = (5, 14)  # Linux's version


def is_full_root() -> bool:
    """Whether we are root and may make namespaces and become another user as we are."""
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text()
    caps = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(caps >> cap & 1 for cap in (CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN))


def unused_user() -> int:
    """Draw a user id that nobody uses: the kernel counts all processes of a user together."""
    extents = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    size, first = max((int(size), int(first)) for first, _, size in extents)
    low, high = UNUSED_USERS
    if not first <= low < high <= first + size:
        low, high = first + size // 2, first + size
    return low + secrets.randbelow(max(1, high - low))


def others_counted(isolated: bool) -> int:
    """Count the processes and threads that the kernel would count with a sandbox's own.

    There are none where a sandbox has a user of its own, or a user namespace on a kernel that
    counts for each namespace.
    """
    release = tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdecimal())
    if isolated and (is_full_root() or release >= COUNTED_PER_NAMESPACE):
        return 0
    count = 0
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdecimal() and folder.stat().st_uid == os.getuid():
                count += sum(1 for _ in (folder / "task").iterdir())
    return count
