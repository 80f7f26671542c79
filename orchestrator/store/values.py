"""What goes into the store's transactions and comes back: plain values without a connection.

In: made by `submission` (`NewJob`) and, for the controller, by `artifacts` (`TrainedWeights`,
`FittedStacker`) and `finish` (`JobResult`). Out: what became of operations and what watchers are
told. Next on the path: `store` and `ledger`.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.plan import MemberPlan
from orchestrator.state import DataRecord, Job


@dataclass(frozen=True)
class Standing:
    """A cohort as a submission finds it; of one that is new, as it was handed in."""

    rules: dict[str, Any]
    data: DataRecord
    teams: tuple[str, ...]
    stay: tuple[str, ...]
    """Its teams that are not handed in."""


CheckStanding = Callable[[Standing], None]
"""Refuses what does not fit a cohort that is there."""


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
    """Expected seconds of each member on a reference core."""
    kinds: tuple[str, ...]
    """What decides each member's speed."""
    min_members: int
    """The job succeeds with so many of its members, should the others be lost."""

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the result: the same digest is the same job."""
        plans = [plan.document() for plan in self.plans]
        document = json.dumps({"combine": self.combine, "plans": plans}, sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()


@dataclass(frozen=True)
class Submitted:
    """What a submission meant for one team."""

    team: str
    revision: int
    created: bool
    """False where this very job is in the store already."""
    was_withdrawn: bool = False
    """Whether it brings the team back that was withdrawn."""
    suspended: bool = False
    """Whether it is held back, as the team's revision before it."""
    retried: bool = False
    """Whether the cluster had failed it, and it is queued again with what it has trained."""
    retry_needs: int | None = None
    """As many members a retry of this very job needs now, where that has changed."""


@dataclass(frozen=True)
class Altered:
    """What an operation did to a job: before and after it; equal where there was nothing to do."""

    before: Job
    after: Job


@dataclass(frozen=True)
class Changes:
    """What is new in a cohort since an event."""

    last_event_id: int
    """To ask for the next changes with."""
    jobs: tuple[Job, ...]
    """The jobs that the events are about, in order of submission."""
    spec: str
    """The cohort's rules of that moment, as JSON text; empty where there is no such cohort."""


@dataclass(frozen=True)
class Lease:
    """Who controls a cohort, or did last."""

    holder: str
    expires_at: float
    """0 where it was given up."""
    renewed_at: float
    """When its holder last showed itself."""
    slots: int | None = None
    """How many members it can train at a time; None until it has found its cluster."""


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
    """What is known once a job's members are combined."""

    val_accuracy: float
    """Out of fold where the members are stacked."""
    val_accuracy_refit: float | None = None
    """The stacker's, on the images that it was fitted to; None without a stacker."""
    stacker: FittedStacker | None = None
