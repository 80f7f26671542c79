"""Jobs, members and queues as plain values, written down without a store."""

from typing import Any

from orchestrator.fair_queue import Policy, Queue
from orchestrator.moves import Change
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job, Member, MemberKey

NOW = 100.0


def member(
    job_id: int, index: int, phase: Phase = Phase.PENDING, work: float = 1.0, **fields: Any
) -> Member:
    """A member of ten epochs; on a slot since 0 where it is Running."""
    if phase is not Phase.PENDING:
        fields = {"attempt": 1, "slot": f"slot-{job_id}-{index}", "started_at": 0.0} | fields
    defaults: dict[str, Any] = {
        "reason": Reason.QUEUED if phase is Phase.PENDING else Reason.TRAINING,
        "message": "",
        "blame": None,
        "kind": "plain",
        "epochs": 10,
    }
    return Member(key=MemberKey(job_id, index), phase=phase, work=work, **(defaults | fields))


def job(job_id: int, *members: Phase | Member, work: float = 1.0, **fields: Any) -> Job:
    """A job of these members, of one Pending by default; submitted at its id, one of its team.

    It is Running, and has begun at its id, where one of its members has been on a slot.
    """
    made = tuple(
        part if isinstance(part, Member) else member(job_id, index, part, work)
        for index, part in enumerate(members or (Phase.PENDING,))
    )
    begun = any(part.attempt > 0 for part in made)
    defaults: dict[str, Any] = {
        "uid": f"uid-{job_id}",
        "cohort": "c",
        "team": f"team-{job_id}",
        "revision": 1,
        "phase": Phase.RUNNING if begun else Phase.PENDING,
        "reason": Reason.TRAINING if begun else Reason.QUEUED,
        "message": "",
        "blame": None,
        "combine": "mean",
        "spent_bnn": 0.0,
        "submitted_at": float(job_id),
        "queued_at": fields.get("submitted_at", float(job_id)),
        "started_at": float(job_id) if begun else None,
        "active_since": (
            float(job_id) if any(part.phase is Phase.RUNNING for part in made) else None
        ),
        "min_members": len(made),
    }
    return Job(id=job_id, members=made, **(defaults | fields))


def phases(of: Job) -> list[Phase]:
    """Of its members, in order."""
    return [each.phase for each in of.members]


def reasons(change: Change) -> list[tuple[int | None, Reason]]:
    """Of its notes, with the members that they are about."""
    return [(note.member, note.reason) for note in change.notes]


def queue_of(*jobs: Job, policy: Policy = "fair", max_wait_s: float = 1e6) -> Queue:
    """A queue that knows these jobs."""
    queue = Queue(policy, max_wait_s)
    for each in jobs:
        queue.put(each)
    return queue


def drained(queue: Queue, now: float = NOW) -> list[tuple[int, int]]:
    """Takes out everything that may be started now, as (job id, index)."""
    out = []
    while (key := queue.next(now)) is not None:
        out.append((key.job_id, key.index))
    return out


def ids(queue: Queue, now: float = NOW) -> list[int]:
    """Of the jobs that wait, in their order."""
    return [each.id for each in queue.order(now)]
