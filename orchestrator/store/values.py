"""What goes into the store's transactions and comes back: plain values without a connection.

In: made by `submission` (`NewJob`) and, for the controller, by `artifacts` (`TrainedWeights`,
`FittedStacker`) and `finish` (`JobResult`). Next on the path: `store` and `ledger`.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from jobs.plan import MemberPlan


@dataclass(frozen=True)
class NewJob:
    """An admitted loadout, ready to be stored."""

    team: str
    loadout: str
    """The file's text."""
    receipt: dict[str, Any]
    combine: str
    plans: tuple[MemberPlan, ...]
    work: tuple[float, ...]
    """Expected cost of each member, in units that only compare with each other."""

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the result: the same digest is the same job."""
        plans = [plan.model_dump(mode="json") for plan in self.plans]
        document = json.dumps({"combine": self.combine, "plans": plans}, sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()


@dataclass(frozen=True)
class Submitted:
    """What a submission meant for one team."""

    team: str
    revision: int
    created: bool
    """False where this very job is in the store already."""


@dataclass(frozen=True)
class TrainedWeights:
    """Where a finished member's results lie, relative to the artifact folder."""

    weights: str
    weights_sha256: str
    val_probs: str


@dataclass(frozen=True)
class FittedStacker:
    """Where the layer that stacks a job's members lies, relative to the artifact folder."""

    stacker: str
    stacker_sha256: str


@dataclass(frozen=True)
class JobResult:
    """What is known once a job's last member has succeeded."""

    val_accuracy: float
    """Out of fold where the members are stacked."""
    val_accuracy_refit: float | None = None
    """The stacker's, on the images that it was fitted to; None without a stacker."""
    stacker: FittedStacker | None = None
