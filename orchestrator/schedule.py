"""What to do next: pure functions from the state of a cohort to actions.

In: jobs and slots as plain values, the cohort's queue and retry rules. Out: `Start` and `Stop`
actions for `controller` to carry out, and the verdict on an attempt that failed. Nothing here
reads a clock, a database or a cluster, so every rule can be tested by writing a state down.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.plan import AugmentPlan, MemberPlan, feature_side_px
from orchestrator.cohort import Retry
from orchestrator.phases import Blame, Phase
from orchestrator.state import Job, Member, MemberKey

Policy = Literal["fair", "longest-first"]

# ResNet18: 1.8e9 multiply-adds for an image of 224 px. It only looks (one forward pass); a student
# also learns (backward takes twice as long as forward), and its work counts forward passes.
TEACHER_WORK_PER_PIXEL = 36_300
PASSES_OF_A_STUDENT = 3


@dataclass(frozen=True)
class SlotState:
    """A slot as the decision sees it."""

    name: str
    busy_with: MemberKey | None


@dataclass(frozen=True)
class Start:
    """Train this member on this slot."""

    key: MemberKey
    slot: str


@dataclass(frozen=True)
class Stop:
    """Stop what this slot trains: nobody needs it any more."""

    key: MemberKey
    slot: str


Action = Start | Stop


def decide(jobs: Sequence[Job], slots: Sequence[SlotState], policy: Policy) -> list[Action]:
    """The actions that bring the slots nearer to what the jobs want.

    A job that has a slot gets the next free ones for its other members, so that an ensemble trains
    together; the policy picks among the jobs that have none. No member is started twice: one that
    a slot is busy with is not waiting, whatever its phase says.
    """
    on_slots = {slot.busy_with for slot in slots}
    live = {job.id for job in jobs if not job.phase.terminal}
    actions: list[Action] = [
        Stop(slot.busy_with, slot.name)
        for slot in slots
        if slot.busy_with is not None and slot.busy_with.job_id not in live
    ]
    free = [slot.name for slot in slots if slot.busy_with is None]
    waiting = (
        member.key
        for job in in_order(jobs, policy)
        for member in _members_in_order(job, policy)
        if member.phase is Phase.PENDING and member.key not in on_slots
    )
    actions.extend(Start(key, slot) for key, slot in zip(waiting, free, strict=False))
    return actions


def in_order(jobs: Sequence[Job], policy: Policy) -> list[Job]:
    """The jobs that are not over, the next to get a slot first.

    `fair`: the team that has used the fewest slot-seconds, then the one that submitted first.
    `longest-first`: the most expected work, which keeps the last slot from ending late.
    """
    used: dict[str, float] = defaultdict(float)
    for job in jobs:
        used[job.team] += job.slot_seconds

    def rank(job: Job) -> tuple[bool, float, float, int]:
        begun = any(m.attempt > 0 for m in job.members)
        if policy == "fair":
            return (not begun, used[job.team], job.submitted_at, job.id)
        return (not begun, -work_left(job.members), job.submitted_at, job.id)

    return sorted((job for job in jobs if not job.phase.terminal), key=rank)


def _members_in_order(job: Job, policy: Policy) -> Iterable[Member]:
    if policy == "fair":
        return job.members
    return sorted(job.members, key=lambda member: (-member.work, member.index))


def work_left(members: Iterable[Member]) -> float:
    """Expected cost of the members that have not ended."""
    return sum(member.work for member in members if not member.phase.terminal)


def retries(member: Member, blame: Blame, retry: Retry) -> bool:
    """Whether a member whose newest attempt just failed by `blame`'s fault is queued again.

    `member` is the state before this failure was counted. The team's faults count against
    `backoffLimit`, the cluster's against `clusterRetries`; neither uses up the other.
    """
    if blame is Blame.TEAM:
        return member.team_failures < retry.backoff_limit
    return member.cluster_failures < retry.cluster_retries


def expected_work(plan: MemberPlan, num_training_images: int) -> float:
    """Relative cost of training a plan: multiply-adds of its convolutions, over all its images.

    A teacher that looks at every batch itself costs far more than the student. Good enough to put
    members in an order; it predicts no seconds.
    """
    side = plan.data.image_size_px
    if plan.model.turbo_blocks == 0:
        per_image = 9 * 3 * 32 * (side + 2) ** 2
    else:
        per_image, channels = 0, 3
        for block in range(plan.model.turbo_blocks + 1):
            width = 32 << block
            per_image += 25 * channels * width * (side >> block) ** 2
            channels = width
    assert feature_side_px(side, plan.model.turbo_blocks) > 0, "admission lets no such plan through"
    if plan.distill is not None and plan.augment != AugmentPlan():
        teacher_side = plan.distill.teacher.image_size_px if plan.distill.teacher else 64
        per_image += TEACHER_WORK_PER_PIXEL * teacher_side**2 // PASSES_OF_A_STUDENT
    images = num_training_images * plan.data.train_fraction * (1 - plan.data.validation_fraction)
    return float(per_image * images * plan.epochs)
