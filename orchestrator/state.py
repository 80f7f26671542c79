"""The state of a cohort as plain values: what the store reads and the controller decides over.

In: rows of the store. Out: frozen dataclasses without behaviour beyond what follows from their
fields. Next on the path: `schedule` (what to do) and the commands that show state.

All times are seconds since 1970, UTC.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from jobs.plan import EpochReport
from orchestrator.phases import Blame, Phase, Reason

DEFAULT_PRIORITY = 100
"""A job's weight in the queue, as cgroups and Kubernetes count CPU shares."""


@dataclass(frozen=True, order=True)
class MemberKey:
    """Names a member within the store."""

    job_id: int
    index: int


EpochOfAttempt = tuple[MemberKey, int, EpochReport, float]
"""Member, attempt, report, and when it came."""


@dataclass(frozen=True)
class Fault:
    """Why an attempt ended without a result."""

    reason: Reason
    message: str
    blame: Blame


@dataclass(frozen=True)
class Member:
    """One member and its newest attempt, where it has one."""

    key: MemberKey
    phase: Phase
    reason: str
    message: str
    blame: Blame | None
    work: float
    """Expected seconds on a reference core; they compare members with each other."""
    kind: str
    """What decides the speed; members of one kind take the same time for the same work."""
    epochs: int
    team_failures: int = 0
    """Attempts that ended by the team's fault, since the last `gamectl retry`."""
    cluster_failures: int = 0
    """Attempts in a row that the cluster lost before they were an epoch further."""
    safe_epoch: int = 0
    """The epoch that its lost attempts had come to."""
    not_before: float | None = None
    """It waits until then before it may be started again."""
    attempt: int = 0
    """Number of the newest attempt; 0 before the first."""
    slot: str | None = None
    node: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    epoch: int = 0
    """The last whole epoch."""
    val_accuracy: float | None = None
    """After that epoch."""
    epoch_seconds: float | None = None
    """Mean duration of an epoch so far."""

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
    members: tuple[Member, ...]
    min_members: int
    """It succeeds with as many of its members, should the others be lost."""
    queued_at: float
    """Since when it waits for its first slot: submitted, resumed or retried."""
    priority: int = DEFAULT_PRIORITY
    suspended: bool = False
    """The organizer wants it held back."""
    started_at: float | None = None
    """When its first member started."""
    ended_at: float | None = None
    active_since: float | None = None
    """Since when it has had a member on a slot without a break; None while it has none."""
    active_seconds: float = 0.0
    """Time with a member on a slot, up to `active_since`; what the cluster lost is left out."""
    slot_seconds: float = 0.0
    """Time its finished attempts spent on slots; those that the cluster lost are left out."""
    val_accuracy: float | None = None
    val_accuracy_refit: float | None = None
    """In sample: of a stacker on the images that it was fitted to."""

    @property
    def begun(self) -> bool:
        """Whether any of its members has been on a slot."""
        return self.started_at is not None

    @property
    def is_left(self) -> bool:
        """Whether a controller would find something to do.

        Of a job that is held back it does once that is Running: its members are to be stopped, or
        were all trained before they could be, and are to be combined.
        """
        return self.wants_slots or (self.suspended and self.phase is Phase.RUNNING)

    @property
    def wants_slots(self) -> bool:
        """Whether members that wait may have a slot: it is neither over nor held back."""
        return not self.phase.terminal and not self.suspended

    @property
    def waits(self) -> bool:
        """Whether a member of it waits for a slot."""
        return self.wants_slots and any(member.phase is Phase.PENDING for member in self.members)

    @property
    def members_trained(self) -> int:
        """How many of its members have been trained to the end."""
        return sum(member.phase is Phase.SUCCEEDED for member in self.members)

    def active_seconds_at(self, now: float) -> float:
        """How long it has been running: waiting, suspension and what the cluster lost left out."""
        since = self._until(now) - self.active_since if self.active_since is not None else 0.0
        return self.active_seconds + max(0.0, since)

    def slot_seconds_at(self, now: float) -> float:
        """Time its members have spent on slots, the running ones so far included."""
        until = self._until(now)
        running = sum(
            max(0.0, until - member.started_at)
            for member in self.members
            if member.phase is Phase.RUNNING and member.started_at is not None
        )
        return self.slot_seconds + running

    def _until(self, now: float) -> float:
        """When its time ends: a controller that is gone cannot tell when the last slot was free."""
        return now if self.ended_at is None else min(now, self.ended_at)


@dataclass(frozen=True)
class Attempt:
    """One try at a member, as the store keeps it."""

    key: MemberKey
    number: int
    slot: str
    node: str
    started_at: float
    ended_at: float | None
    reason: str
    message: str
    blame: Blame | None
    epoch: int
    """The last whole epoch that it reported."""


def newest_revisions(jobs: Iterable[Job]) -> list[Job]:
    """The job that counts for each team: its newest, unless the team was withdrawn."""
    newest: dict[str, Job] = {}
    for job in jobs:
        if job.team not in newest or job.revision > newest[job.team].revision:
            newest[job.team] = job
    # Of a team that is in the cohort the newest is never superseded.
    return [job for job in newest.values() if job.phase is not Phase.SUPERSEDED]


def withdrawn(jobs: Iterable[Job]) -> dict[str, int]:
    """By team, the newest revision that was withdrawn: neither it nor an older one counts."""
    out: dict[str, int] = {}
    for job in jobs:
        if job.reason == Reason.WITHDRAWN:
            out[job.team] = max(out.get(job.team, 0), job.revision)
    return out


@dataclass(frozen=True)
class CohortRecord:
    """A cohort as it was submitted last."""

    name: str
    spec: dict[str, Any]
    """The Cohort model, dumped by alias."""
    data: "DataRecord"
    submitted_at: float
    side: bool = False
    """`ablate` or `balance` made it, to measure something: it is meant only where it is named."""


@dataclass(frozen=True)
class DataRecord:
    """The data that a cohort trains on, fixed at submission."""

    source: str
    """`drawn`, an absolute path, or a URI."""
    fingerprint: str
    test_fingerprint: str
    """Empty where the hidden part was not there."""
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
    job_phase: Phase | None = None
    """Where the job stood afterwards; None in events of releases that did not keep it."""
    job_reason: str = ""
