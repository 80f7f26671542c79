"""What to do next: a pure function from the state of a cohort to actions.

In: the cohort's queue and jobs, and slots as plain values. Out: the `Start` and `Stop` actions for
`controller` to carry out. Nothing here reads a clock, a database or a cluster, so every rule can be
tested by writing a state down; the simulation drives the same code. What a happening means for a
job is said in `lifecycle`.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.fair_queue import Queue
from orchestrator.phases import Phase
from orchestrator.state import Job, MemberKey


@dataclass(frozen=True)
class SlotState:
    """A slot as the decision sees it."""

    name: str
    busy_with: MemberKey | None
    begun: bool = True
    """Whether that has begun: workers of a group may have to wait for room."""


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


def decide(
    queue: Queue,
    jobs: Mapping[int, Job],
    slots: Sequence[SlotState],
    now: float,
    on_slots: Container[MemberKey] | None = None,
) -> list[Action]:
    """The actions that bring the slots nearer to what the jobs want.

    `slots` are all slots, or those that changed since the last decision; then `on_slots` has the
    members that any slot is busy with, and a freed slot costs O(log n). No member is started that a
    slot is still busy with, whatever its phase says: it waits until that slot is free. The caller
    puts each started job back into the queue as it is afterwards.
    """
    if on_slots is None:
        on_slots = {slot.busy_with for slot in slots if slot.busy_with is not None}
    actions: list[Action] = [
        Stop(slot.busy_with, slot.name)
        for slot in slots
        if slot.busy_with is not None and not _needed(slot.busy_with, jobs)
    ]
    held_back: list[MemberKey] = []
    for slot in slots:
        if slot.busy_with is not None:
            continue
        while (key := queue.next(now)) is not None and key in on_slots:
            held_back.append(key)
        if key is None:
            break
        actions.append(Start(key, slot.name))
    for key in held_back:
        queue.put_back(key)
    return actions


def _needed(key: MemberKey, jobs: Mapping[int, Job]) -> bool:
    job = jobs.get(key.job_id)
    if job is None or job.phase.terminal or job.suspended:
        return False
    return job.members[key.index].phase is Phase.RUNNING
