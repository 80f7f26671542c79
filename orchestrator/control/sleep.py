"""Time that went by while this machine stood still: its lid was closed, or its clock was set.

In: the time of day, and a clock that nobody sets and that stands still where the machine does. Out:
seconds by which the first has gone further, for the controller to keep from jobs' running time.
"""

from collections.abc import Callable
from dataclasses import dataclass

LEAST_S = 5.0
"""Less is not worth a transaction."""


@dataclass
class Sleep:
    """What both clocks have told so far; without a `steady` one nothing ever stands still."""

    clock: Callable[[], float]
    steady: Callable[[], float] | None
    _behind: float | None = None
    """How far `steady` was behind when jobs were told of it last."""

    def unaccounted_s(self) -> float:
        """Seconds slept that no job was told of; negative where the clock was set back.

        Less than `LEAST_S` counts as none.
        """
        if self.steady is None:
            return 0.0
        now_behind = self.clock() - self.steady()
        if self._behind is None:
            self._behind = now_behind
        seconds = now_behind - self._behind
        return seconds if abs(seconds) >= LEAST_S else 0.0

    def account_for(self, seconds: float) -> None:
        """Jobs were told of so many."""
        assert self._behind is not None
        self._behind += seconds
