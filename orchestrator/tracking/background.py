"""The projection kept up to date by a thread, beside a controller.

In: a way to connect. Out: MLflow follows the store; a failure is remembered and the next round
tries again, so that a server that is away for a minute costs nothing. Next on the path: the
command that shows `error` to the organizer.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from orchestrator.errors import GameError, LeaseLost, TrackingError
from orchestrator.tracking.projection import Projection

EVERY_S = 1.0
SLOWEST_RETRY_S = 15.0


class Tracker:
    """A context: syncs while it lasts, and a last time at its end."""

    def __init__(
        self, connect: Callable[[], Projection], check: Callable[[], None] = lambda: None
    ) -> None:
        """Connects where needed; `check` raises where this process may no longer write."""
        self._connect = connect
        self._check = check
        self._overtaken = False
        self._projection: Projection | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tracking", daemon=True)
        self.error: GameError | None = None
        """Why the last round failed; None where MLflow is up to date."""

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
        self._thread.join()

    def sync(self) -> None:
        """One round; a failure is remembered in `error` and not raised."""
        try:
            self._check()
        except GameError as error:
            self.error = error
            return
        try:
            if self._projection is None:
                self._projection = self._connect()
            self._projection.sync()
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

    def _follow(self) -> None:
        wait_s = EVERY_S
        while not self._ending.wait(wait_s):
            self.sync()
            wait_s = EVERY_S if self.error is None else min(2 * wait_s, SLOWEST_RETRY_S)
        if not self._overtaken:
            self.sync()
