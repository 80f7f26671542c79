"""What a cohort would take, before anything is submitted: slots, slot-minutes, finish, memory.

In: a `Reading` of admitted files, the size of the data, a `Machine` and `Speeds`. Out: a
`CohortPlan`, with the members that could never run named. Pure, and nothing is decoded: the same
member plans, costs and queue as in a real run, on jobs that no store has seen. Next on the path:
`cli.plan` prints it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.plan import MemberPlan, SandboxRules, TeacherSpec
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.files import LoadoutFile
from orchestrator.admission.member_plans import combine_of, member_plans, min_members_of
from orchestrator.forecasting.capacity import Machine, fits, num_slots
from orchestrator.forecasting.costs import (
    LIBRARY_BYTES,
    NODE_BYTES,
    image_bytes,
    kind,
    memory_bytes,
    work,
)
from orchestrator.forecasting.forecast import Forecast, forecast
from orchestrator.forecasting.speeds import Speeds
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job, Member, MemberKey


@dataclass(frozen=True)
class PlannedMember:
    """One member, as it is expected to be."""

    index: int
    kind: str
    seconds: float
    """On a slot of its own."""
    memory_bytes: int
    """Of the slot that trains it, and of its workers, where there are several."""


@dataclass(frozen=True)
class PlannedJob:
    """One team's loadout."""

    path: str
    team: str
    members: tuple[PlannedMember, ...]
    finish_s: float
    """Seconds from the start of the cohort to the end of the job."""
    active_s: float
    """For how many of them it runs, as its deadline counts: from its first slot on."""

    @property
    def slot_seconds(self) -> float:
        """What its members take of slots, together."""
        return sum(member.seconds for member in self.members)

    @property
    def memory_bytes(self) -> int:
        """Of its largest member."""
        return max(member.memory_bytes for member in self.members)


@dataclass(frozen=True)
class Misfit:
    """A loadout with a member that the machine can never run, and why."""

    file: LoadoutFile
    reason: str


@dataclass(frozen=True)
class CohortPlan:
    """What a cohort would take, all jobs that can run together."""

    num_slots: int
    jobs: tuple[PlannedJob, ...]
    misfits: tuple[Misfit, ...]
    memory_bytes: int
    """At the peak, of everything on one machine: Ray, the controller, the images, all slots."""

    @property
    def slot_seconds(self) -> float:
        """What all members take of slots."""
        return sum(job.slot_seconds for job in self.jobs)

    @property
    def num_members(self) -> int:
        """How many networks are trained."""
        return sum(len(job.members) for job in self.jobs)

    @property
    def finish_s(self) -> float:
        """Seconds from the start to the end of the last job."""
        return max((job.finish_s for job in self.jobs), default=0.0)


@dataclass(frozen=True)
class _Candidate:
    """An admitted loadout and the plans of its members."""

    file: LoadoutFile
    plans: tuple[MemberPlan, ...]


def plan_cohort(
    files: Sequence[LoadoutFile],
    cohort: Cohort,
    classes: Sequence[str],
    num_training_images: int,
    machine: Machine,
    speeds: Speeds,
    teacher: TeacherSpec,
) -> CohortPlan:
    """Plays the cohort on the machine; `files` are admitted ones, in the order of submission.

    `teacher` is what those learn from who distil.
    """
    resources, rules = cohort.spec.resources, cohort.spec.sandbox_rules
    good: list[_Candidate] = []
    misfits: list[Misfit] = []
    for file in files:
        assert file.loadout is not None
        plans = tuple(
            _with_teacher(plan, teacher) for plan in member_plans(file.loadout, cohort, classes)
        )
        reasons = [fits(plan, num_training_images, resources, machine, rules) for plan in plans]
        if reason := next(filter(None, reasons), None):
            misfits.append(Misfit(file, reason))
        else:
            good.append(_Candidate(file, plans))
    jobs = [_job(number, each, num_training_images) for number, each in enumerate(good, start=1)]
    num_members = sum(len(job.members) for job in jobs)
    slots = min(num_slots(resources, machine), num_members)
    speeds = speeds.in_worker_groups(resources.in_worker_group)
    ahead = forecast(jobs, slots, speeds.seconds, cohort.spec.queue, now=0.0)
    planned = tuple(
        _planned(job, each, num_training_images, rules, speeds, ahead)
        for job, each in zip(jobs, good, strict=True)
    )
    sizes_px = {plan.data.image_size_px for each in good for plan in each.plans}
    images = sum(image_bytes(size_px, num_training_images) for size_px in sizes_px)
    return CohortPlan(slots, planned, tuple(misfits), _peak_bytes(planned, slots) + images)


def _peak_bytes(jobs: Sequence[PlannedJob], num_slots: int) -> int:
    """All slots at their largest, which they keep: memory that was freed stays with the process."""
    largest = max((job.memory_bytes for job in jobs), default=0)
    shared = LIBRARY_BYTES * max(num_slots - 1, 0)
    return NODE_BYTES + num_slots * largest - shared


def _with_teacher(plan: MemberPlan, teacher: TeacherSpec) -> MemberPlan:
    """The plan with this teacher, where it distils."""
    if plan.distill is None:
        return plan
    return plan.model_copy(update={"distill": plan.distill.model_copy(update={"teacher": teacher})})


def _job(number: int, candidate: _Candidate, num_training_images: int) -> Job:
    """The job that a submission would make of it."""
    loadout = candidate.file.loadout
    assert loadout is not None
    members = tuple(
        Member(
            key=MemberKey(number, index),
            phase=Phase.PENDING,
            reason=Reason.QUEUED,
            message="",
            blame=None,
            work=work(plan, num_training_images),
            kind=kind(plan),
            epochs=plan.epochs,
        )
        for index, plan in enumerate(candidate.plans)
    )
    return Job(
        id=number,
        uid="",
        cohort="",
        team=loadout.team,
        revision=1,
        phase=Phase.PENDING,
        reason=Reason.QUEUED,
        message="",
        blame=None,
        combine=combine_of(loadout),
        spent_bnn=0.0,
        submitted_at=0.0,
        members=members,
        min_members=min_members_of(loadout),
        queued_at=0.0,
    )


def _planned(
    job: Job,
    candidate: _Candidate,
    num_training_images: int,
    rules: SandboxRules,
    speeds: Speeds,
    ahead: Forecast,
) -> PlannedJob:
    members = tuple(
        PlannedMember(
            index=member.index,
            kind=member.kind,
            seconds=speeds.seconds(member),
            memory_bytes=memory_bytes(plan, num_training_images, rules, plan.workers),
        )
        for member, plan in zip(job.members, candidate.plans, strict=True)
    )
    finish_s, active_s = ahead.finish[job.id], ahead.active[job.id]
    return PlannedJob(candidate.file.path, job.team, members, finish_s, active_s)
