"""The projection kept up to date by a thread, beside a controller.

In: a way to connect. Out: MLflow follows the store; a failure is remembered and the next round
tries again, so that a server that is away for a minute costs nothing. Next on the path: the
command that shows `error` to the organizer.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.errors import GameError, LeaseLost, TrackingError

if TYPE_CHECKING:  # it imports MLflow, for which only the thread is to wait
    from orchestrator.tracking.projection import Projection

EVERY_S = 10.0
"""A round costs about 20 ms of a processor for each running member, whose epochs it writes; who
wants them sooner has `gamectl get jobs --watch`."""
FIRST_RETRY_S = 3.0
SLOWEST_RETRY_S = 15.0
LEAVE_AFTER_S = 3.0
"""So long somebody who presses Ctrl-C waits for MLflow; the next controller writes the rest."""


class Tracker:
    """A context: syncs while it lasts, and a last time at its end."""

    def __init__(
        self,
        connect: Callable[[], "Projection"],
        check: Callable[[], None] = lambda: None,
        quiet: bool = False,
    ) -> None:
        """Connects where needed; `check` raises where this process may no longer write.

        One that is `quiet` does nothing before `go_on`, or until it is asked for a last round.
        """
        self._connect = connect
        self._check = check
        self._overtaken = False
        self._projection: Projection | None = None
        self._ending = threading.Event()
        self._hurry = threading.Event()
        """Set while somebody waits for a round, or for the end."""
        self._wanted = 0
        """How many last rounds were asked for; of them `_given` have ended."""
        self._given = 0
        self._round_ended = threading.Event()
        self._quiet = quiet
        """Whether nothing is to be written, after the round that was asked for if one was."""
        self._thread = threading.Thread(target=self._follow, name="tracking", daemon=True)
        self.error: GameError | None = None
        """Why the last round failed; None where MLflow is up to date."""
        self.jobs_done = (0, 0)
        """How many jobs this round has looked at, and of how many."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whoever took the lease over writes to MLflow now.
        self._overtaken = isinstance(error, LeaseLost)
        self._ending.set()
        self._hurry.set()
        interrupted = isinstance(error, KeyboardInterrupt)
        self._thread.join(LEAVE_AFTER_S if interrupted else None)

    def begin_last_sync(self) -> None:
        """Asks for a round that begins from now on, after which nothing is written.

        `wait` tells when it has ended, and `go_on` lifts the silence.
        """
        self._wanted += 1
        self._quiet = True
        self._round_ended.clear()
        self._hurry.set()

    def wait(self, seconds: float) -> bool:
        """Whether the round that was asked for has ended, with or without an `error`."""
        self._round_ended.wait(seconds)
        self._round_ended.clear()
        return self._given == self._wanted

    def go_on(self) -> None:
        """There is something to follow; calling it again does nothing."""
        if self._quiet:
            self._quiet = False
            self._hurry.set()

    def sync(self) -> None:
        """One round; a failure is remembered in `error` and not raised."""
        self.jobs_done = 0, 0
        try:
            self._check()
            if self._projection is None:
                self._projection = self._connect()
            self._projection.sync(self._look)
        except GameError as error:
            self.error = error
        except Exception as error:
            # Tracking must not end a cohort, and must not end silently: whatever it is, it is said.
            self.error = TrackingError(f"MLflow: {type(error).__name__}: {error}")
        else:
            self.error = None
        if self.error is not None:
            # Runs may have been deleted behind our back: look again at what is there.
            self._projection = None

    def _look(self, done: int, total: int) -> None:
        self._check()  # a round may be long, and this process may have been frozen in the midst
        self.jobs_done = done, total

    def _follow(self) -> None:
        wait_s: float | None = None if self._quiet else EVERY_S
        retry_s = FIRST_RETRY_S
        while True:
            self._hurry.wait(wait_s)
            if self._ending.is_set():
                break
            self._hurry.clear()
            wanted = self._wanted
            try:
                self.sync()
            finally:  # whatever becomes of this thread, nobody waits for it forever
                self._given = wanted
                self._round_ended.set()
            failed = self.error is not None
            wait_s = retry_s if failed else EVERY_S
            retry_s = min(2 * retry_s, SLOWEST_RETRY_S) if failed else FIRST_RETRY_S
            if self._quiet and wanted == self._wanted:
                wait_s = None
        silent = self._quiet and self._given == self._wanted > 0
        if not silent and not self._overtaken:
            self.sync()
