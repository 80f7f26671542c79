"""Holding a cohort's lease: taken once, renewed by a thread, given up at the end.

In: the store and a cohort's name. Out: a `Ledger` to write with, for the length of a block; clients
need none. Next on the path: `controller`.

Renewal has a thread of its own, because starting Ray, writing the last of MLflow and whatever else
a run does may each take longer than a lease lasts.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import LeaseLost, StoreError

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Ledger, Store

TTL_S = 30.0
RENEW_EVERY_S = 5.0
INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""Its number in Linux, in include/linux/proc_ns.h."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_CHARS = 6
"""As many tell two machines of the same name apart."""


@contextlib.contextmanager
def hold_lease(
    store: Store, cohort: str, clock: Callable[[], float] = time.time
) -> Iterator[Ledger]:
    """Holds the lease for the length of the block; `clock` is what jobs' times are told by.

    Raises `CohortBusy` where somebody else holds it. Where it is lost on the way, the next write
    through the ledger raises `LeaseLost`. The block may give it up itself, with `release_if_done`.
    """
    now = store.now()
    ledger = store.acquire(cohort, holder_name(), now, TTL_S, is_gone, clock() - now)
    ending = threading.Event()

    def renew() -> None:
        while not ending.wait(RENEW_EVERY_S):
            try:
                ledger.renew(store.now())
            except LeaseLost:
                return
            except StoreError:
                continue  # away for a moment, mostly; the lease lasts for several tries

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield ledger
    finally:
        ending.set()
        thread.join()
        # A store that is away must not hide what ended the block; the lease runs out by itself.
        with contextlib.suppress(StoreError, LeaseLost):
            ledger.release()


def holder_name() -> str:
    """Names this process as a lease's holder: host, container if any, and process number."""
    return f"{_here()}:{os.getpid()}"


def is_gone(holder: str) -> bool:
    """Whether a lease's holder was a process of this machine that has ended."""
    here, _, pid = holder.rpartition(":")
    if here != _here() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _is_zombie(int(pid))


def _here() -> str:
    """Where this process's number means something: the host as it was last started, and in a
    container that container.

    Machines may share a name; containers may, too, and each counts its processes from 1.
    """
    try:
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        numbers = INITIAL_PID_NAMESPACE
    inside = "" if numbers == INITIAL_PID_NAMESPACE else f"/{numbers}"
    try:
        boot = BOOT_ID.read_text()[:BOOT_CHARS]
    except OSError:
        boot = ""
    return f"{socket.gethostname()}{f'-{boot}' if boot else ''}{inside}"


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and nobody has asked for its exit code, as in some containers."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # not Linux, or gone this very moment
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"
