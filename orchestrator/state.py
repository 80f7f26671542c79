"""The state of a cohort as plain values: what the store reads and the controller decides over.

In: rows of the store. Out: frozen dataclasses without behaviour beyond what follows from their
fields. Next on the path: `schedule` (what to do) and the commands that show state.

All times are seconds since 1970, UTC.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from orchestrator.phases import Blame, Phase


@dataclass(frozen=True, order=True)
class MemberKey:
    """Names a member within the store."""

    job_id: int
    index: int


@dataclass(frozen=True)
class Member:
    """One member and its newest attempt, where it has one."""

    key: MemberKey
    phase: Phase
    reason: str
    message: str
    blame: Blame | None
    work: float
    """Expected cost, in units that only compare with each other."""
    attempt: int
    """Number of the newest attempt; 0 before the first."""
    team_failures: int
    """Attempts that ended by the team's fault."""
    cluster_failures: int
    """Attempts that ended by the cluster's fault."""
    slot: str | None = None
    node: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    epoch: int = 0
    epochs: int = 0
    val_accuracy: float | None = None

    @property
    def index(self) -> int:
        """Its place in the job."""
        return self.key.index


@dataclass(frozen=True)
class Job:
    """One revision of a team's loadout, with its members in order."""

    id: int
    uid: str
    """Names the job everywhere outside this store, in MLflow and among files."""
    cohort: str
    team: str
    revision: int
    phase: Phase
    reason: str
    message: str
    blame: Blame | None
    combine: str
    spent_bnn: float
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    val_accuracy: float | None
    val_accuracy_refit: float | None
    """In sample: of a stacker on the images that it was fitted to."""
    slot_seconds: float
    """Time its finished attempts spent on slots."""
    members: tuple[Member, ...]


def newest_revisions(jobs: Iterable[Job]) -> list[Job]:
    """The job that counts for each team: its newest."""
    newest: dict[str, Job] = {}
    for job in jobs:
        if job.team not in newest or job.revision > newest[job.team].revision:
            newest[job.team] = job
    return list(newest.values())


@dataclass(frozen=True)
class CohortRecord:
    """A cohort as it was submitted last."""

    name: str
    spec: dict[str, Any]
    """The Cohort model, dumped by alias."""
    data: "DataRecord"
    submitted_at: float


@dataclass(frozen=True)
class DataRecord:
    """The data that a cohort trains on, fixed at submission."""

    source: str
    """`drawn`, or an absolute path."""
    fingerprint: str
    test_fingerprint: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """Something that happened to a job or a member; the newest have the highest ids."""

    id: int
    at: float
    kind: str
    """`Normal` or `Warning`, as in Kubernetes."""
    team: str
    revision: int
    member: int | None
    reason: str
    message: str
