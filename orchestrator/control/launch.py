"""Starting a controller that outlives this process: in the background here, or on a cluster.

In: a cohort whose jobs are in the store. Out: a controller that is at work, or why there is none.
This module starts processes here; `remote` starts jobs of a Ray cluster. Used by `attend`. Next on
the path: `cli.controller`, which is what both start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator import console
from orchestrator.errors import GameError
from orchestrator.settings import Settings
from orchestrator.terminal.lookup import lease_of

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store
    from orchestrator.store.values import Lease

LOG_LINES_SHOWN = 10


class Launched(Protocol):
    """A controller that was started, seen from outside."""

    look_every_s: float
    """How often to ask how it does."""

    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""

    def said(self) -> str:
        """Why it ended, in its own words, and where its log is."""

    def place(self, holder: str) -> str:
        """Where it runs under which name, and where its log is; `holder` holds the lease."""


class Launcher(Protocol):
    """A way of starting controllers."""

    def launch(self, name: str, store: Store) -> Launched:
        """Starts one for the cohort; raises `GameError` where that can't be."""


def launched(name: str, store: Store, launcher: Launcher) -> tuple[Launched, str | None]:
    """Starts a controller and waits until somebody is at work; returns both, as `first_holder`."""
    controller = launcher.launch(name, store)
    holder = first_holder(
        lambda: lease_of(store, name),
        controller.exit_code,
        controller.said,
        lambda: time.sleep(controller.look_every_s),
    )
    return controller, holder


def first_holder(
    lease: Callable[[], Lease | None],
    exit_code: Callable[[], int | None],
    said: Callable[[], str],
    pause: Callable[[], None],
) -> str | None:
    """Waits until somebody is at work on a cluster or a controller that was started has ended.

    Returns who is at work, or None where it ended with exit code 0. Raises `GameError` with what it
    `said` where it ended otherwise and nobody holds the lease.
    """
    while True:
        ended = exit_code()  # before the lease is looked at: it may have been taken meanwhile
        held = lease()
        if held is not None and (held.slots is not None or ended is not None):
            return held.holder
        if ended == 0:
            return None
        if ended is not None:
            raise GameError(f"the controller ended before it was at work: {said()}")
        pause()


class LocalLauncher:
    """Starts controllers in a session of their own on this machine."""

    def __init__(self, settings: Settings, cpus: int | None) -> None:
        self._settings = settings
        self._cpus = cpus

    def launch(self, name: str, store: Store) -> LocalController:  # noqa: ARG002  # an interface
        """Starts the process; its outputs are appended to the cohort's log."""
        log = self._settings.root / "controllers" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        # -P: nothing in the current folder must stand in for a module. The folder itself stays the
        # same, so that relative paths in the environment mean what they mean here.
        words = [sys.executable, "-P", "-m", "orchestrator", "controller", "--cohort", name]
        words += [] if self._cpus is None else ["--cpus", str(self._cpus)]
        with log.open("ab") as out:
            begin = out.tell()
            # Not `subprocess`, which takes a process that is left behind for an oversight.
            pid = os.posix_spawn(
                sys.executable,
                words,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
                ],
                setsid=True,
            )
        return LocalController(pid, log, begin)


class LocalController:
    """A process that was started here; what it says stands in `log` from the byte `begin` on."""

    look_every_s = 0.1

    def __init__(self, pid: int, log: Path, begin: int) -> None:
        self._pid = pid
        self._log = log
        self._begin = begin
        self._ended: int | None = None

    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        if self._ended is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._ended = os.waitstatus_to_exitcode(status) if pid else None
        return self._ended

    def said(self) -> str:
        """The last lines of its log."""
        text = self._log.read_bytes()[self._begin :].decode(errors="replace")
        return f"{last_lines(text)}\n(log: {self._log})".removeprefix("error: ")

    def place(self, holder: str) -> str:
        """The process number of who holds the lease, and where our own log is."""
        return f"(pid {holder.rpartition(':')[2]}), log: {self._log}"


def last_lines(text: str) -> str:
    """The last lines of a log, fit to be shown."""
    lines = [console.printable(line) for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-LOG_LINES_SHOWN:])
