"""The processes of a running cohort, found, killed as an accident would, stopped and resumed.

In: the number of a controller's process. Out: its slots and its Ray, by /proc (Linux). Only
descendants of that process are ever touched.
"""

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, parents before their children."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def title(pid: int) -> str:
    """What a process calls itself; empty where it has ended."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""


def slots(controller: int) -> list[int]:
    """The slots of a controller that are training."""
    return [pid for pid in descendants(controller) if title(pid).startswith("ray::Slot")]


def ray(controller: int) -> list[int]:
    """Everything of the Ray that a controller started: head, raylet, monitor, agents, workers."""
    return descendants(controller)


def kill(pids: list[int]) -> None:
    """Ends processes at once, without a chance to put anything in order."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stop(roots: Sequence[int]) -> list[int]:
    """Stops processes and all below them where they are; returns whom, for `resume`."""
    stopped: list[int] = []
    # One that is not stopped yet may start another: until there is none that is new.
    while new := {*roots, *(pid for root in roots for pid in descendants(root))} - {*stopped}:
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped += new
    return stopped


def resume(stopped: Sequence[int]) -> None:
    """Lets them go on."""
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None
