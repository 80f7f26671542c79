"""What slots have to tell: values that cross from `slots` to `controller`.

In: made by a slot pool's `poll`. Out: read by the controller, which writes each to the store.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.plan import EpochReport
from orchestrator.phases import Blame, Reason
from orchestrator.state import MemberKey

TimedReport = tuple[EpochReport, float]
"""An epoch and when it was reported, in seconds since 1970."""


@dataclass(frozen=True)
class Progress:
    """Epochs of an attempt that goes on, or that ends with the next news."""

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
    reason: Reason
    message: str
    blame: Blame


@dataclass(frozen=True)
class Halted:
    """An attempt was stopped because the controller asked for it."""

    key: MemberKey
    attempt: int


News = Progress | Trained | Failed | Halted
