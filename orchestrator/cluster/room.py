"""Room: how many slots to have, on nodes that may come and go.

In: how many members fit on the nodes there are, how many want a slot, and since when slots have
been waiting or idle. Out: the most slots to have, and the ones to give back. Pure but for what it
is handed; next on the path: `slots`, which makes them and gives them back.

On a cluster that was joined others may be at work and nodes may be added. A slot that fits nowhere
yet waits as an actor of Ray's: that is demand that its autoscaler sees and answers with a node, and
on any node that joins the slot starts by itself. On a Ray of our own no node ever joins and nobody
else waits, so slots are made as far as they fit, and stay warm.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.errors import ClusterError
from orchestrator.forecasting.capacity import Machine

MOST_WAITING = 100
"""As many slots may wait for nodes that are not there yet: a long queue needs no actor a member."""
LOOK_EVERY_S = 2.0
NODES_COME_WITHIN_S = 1800.0
"""How long members that fit on no node wait for one that an autoscaler or a person may add: a
machine with GPUs, its driver and an image of 7 GB take a quarter of an hour."""
KEEP_IDLE_S = 10.0
"""A slot that nobody needs is kept so long, for the next member to find it warm."""
PLACED_WITHIN_S = 20.0
"""A slot that is not ready by then has found no room on any node."""

Clock = Callable[[], float]
Use = Literal["waiting", "idle", "busy"]
"""What a slot is for at a moment: it waits for a node (or starts), it could train, or it does."""


@dataclass
class Room:
    """How many members the nodes of a cluster train at a time.

    `count` tells how many fit on its nodes, and raises `ClusterError` with the reason where none
    does; `largest` is the largest node. `most` bounds the slots whatever fits. Where it `grows`,
    nodes may join, and `num_ahead` slots may wait for them.
    """

    count: Callable[[], int]
    largest: Callable[[], Machine] = lambda: Machine(0, 0, 0)
    most: int | None = None
    grows: bool = False
    num_ahead: int = MOST_WAITING
    clock: Clock = time.monotonic
    fits: int = field(default=0, init=False)
    """How many members fit now."""
    lack: str | None = field(default=None, init=False)
    """Why none does."""
    machine: Machine = field(init=False)
    """The largest node now."""
    _look_at: float = field(default=float("-inf"), init=False)
    _fitted_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._fitted_at = self.clock()
        self.look()

    @classmethod
    def fixed(cls, num_slots: int) -> "Room":
        """Room for so many slots, for ever."""
        return cls(lambda: num_slots)

    def look(self) -> None:
        """Counts again: after a while where it grows, otherwise only once."""
        if self.clock() < self._look_at:
            return
        self._look_at = self.clock() + LOOK_EVERY_S if self.grows else float("inf")
        try:
            self.fits, self.lack = self._at_most(self.count()), None
            self._fitted_at = self.clock()
        except ClusterError as error:
            self.fits, self.lack = 0, str(error)
        self.machine = self.largest()

    @property
    def most_slots(self) -> int:
        """How many slots there may be, those that wait for nodes included."""
        return self._at_most(self.fits + self.num_ahead) if self.grows else self.fits

    @property
    def nodes_may_come(self) -> bool:
        """Whether no member fits on any node, but it is too early to give up."""
        waited_s = self.clock() - self._fitted_at
        return self.grows and self.fits == 0 and waited_s < NODES_COME_WITHIN_S

    def _at_most(self, num_slots: int) -> int:
        return num_slots if self.most is None else min(num_slots, self.most)


@dataclass(frozen=True)
class Held:
    """A slot, and since when it has waited for a node, or been idle."""

    name: str
    use: Use
    since: float


def surplus(slots: Sequence[Held], num_wanted: int, now: float, keep_idle_s: float) -> list[str]:
    """The slots to give back where more are there than wanted: none that is busy.

    First go those that wait, the newest first, as they have the longest to wait; then those that
    have been idle for `keep_idle_s`, the longest idle first.
    """
    waiting = sorted((s for s in slots if s.use == "waiting"), key=lambda s: -s.since)
    idle = sorted(
        (s for s in slots if s.use == "idle" and now - s.since >= keep_idle_s),
        key=lambda s: s.since,
    )
    return [slot.name for slot in (*waiting, *idle)][: max(0, len(slots) - num_wanted)]


def num_at_a_time(slots: Sequence[Held], num_fit: int, now: float) -> int:
    """How many members train at a time, as far as it shows: as many as fit on the nodes.

    Where a slot has waited in vain for long, others have the rest, and those that we hold count.
    """
    waiting = [slot for slot in slots if slot.use == "waiting"]
    if any(now - slot.since > PLACED_WITHIN_S for slot in waiting):
        return min(num_fit, len(slots) - len(waiting))
    return num_fit
