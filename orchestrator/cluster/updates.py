"""What slots tell the controller, and what the controller asks of a pool of them.

In: updates, made by a slot pool's `poll`. Out: the controller writes each to the store. `SlotPool`
is what `slots` is to the controller; tests and simulations have others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.plan import EpochReport, MemberPlan
from jobs.values import Place
from orchestrator.schedule import SlotState
from orchestrator.state import EpochOfAttempt, Fault, MemberKey

TimedReport = tuple[EpochReport, float]
"""An epoch and when it was reported, in seconds since 1970."""


@dataclass(frozen=True)
class Progress:
    """Epochs of an attempt that goes on, or that ends with the next update.

    An attempt that goes on from a checkpoint first tells the epochs that it does not train again.
    """

    key: MemberKey
    attempt: int
    reports: tuple[TimedReport, ...]


@dataclass(frozen=True)
class Trained:
    """An attempt came to its last epoch."""

    key: MemberKey
    attempt: int
    weights: bytes
    """safetensors."""
    val_probs: NDArray[np.float32]
    """(validation images, classes)."""


@dataclass(frozen=True)
class Failed:
    """An attempt ended without a result."""

    key: MemberKey
    attempt: int
    fault: Fault


@dataclass(frozen=True)
class Halted:
    """An attempt was stopped because the controller asked for it."""

    key: MemberKey
    attempt: int


Update = Progress | Trained | Failed | Halted
Attempt = tuple[MemberKey, int]


def whose(update: Update) -> Attempt:
    """Whose update it is."""
    return update.key, update.attempt


def epochs_of(
    updates: Sequence[Update],
) -> tuple[list[EpochOfAttempt], dict[Attempt, list[EpochOfAttempt]]]:
    """Epochs of attempts that go on or have failed; and of each that is trained its last ones."""
    last: dict[Attempt, list[EpochOfAttempt]] = {
        whose(update): [] for update in updates if isinstance(update, Trained)
    }
    others: list[EpochOfAttempt] = []
    for update in updates:
        if isinstance(update, Progress):
            rows = [(*whose(update), report, at) for report, at in update.reports]
            last.get(whose(update), others).extend(rows)
    return others, last


class SlotPool(Protocol):
    """What the controller needs of slots; `slots.RaySlots` is the real one."""

    def want(self, num_slots: int) -> None:
        """Says how many slots there is work for.

        Those that the cluster has room for are made; idle ones beyond may be given back.
        """

    def states(self) -> list[SlotState]:
        """The slots that can train, and what they are busy with."""

    def node(self, slot: str) -> str:
        """The node that a slot is on."""

    def prepare(self, plan: MemberPlan) -> None:
        """Brings what a member trains on, fetched by now, to where slots find it.

        Asked before each attempt; raises what fetching did.
        """

    def start(
        self, slot: str, key: MemberKey, attempt: int, plan: MemberPlan, place: Place
    ) -> None:
        """Starts an attempt on a free slot; its plan was prepared."""

    def stop(self, slot: str) -> None:
        """Asks a slot to stop what it trains; asking again does no harm."""

    def poll(self, timeout_s: float) -> list[Update]:
        """What happened since the last call; waits up to `timeout_s` for something to.

        Raises `ClusterLost` where the cluster is gone.
        """

    def abandon(self) -> list[Update]:
        """The end of everything that was on slots of a cluster that is gone."""
