"""Jobs that change while they are in the queue, and what that leaves behind."""

import random

import pytest

from orchestrator import lifecycle, operations
from orchestrator.admission.cohort import Retry
from orchestrator.fair_queue import Policy
from orchestrator.lazy_heap import SPARE_ENTRIES, LazyHeap
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, Job, MemberKey
from tests.orchestrator.job_states import NOW, drained, ids, job, queue_of

P, R = Phase.PENDING, Phase.RUNNING
BOTH: tuple[Policy, ...] = ("fair", "longest-first")
LOST = Fault(Reason.SLOT_LOST, "gone", Blame.CLUSTER)


# --- members that come and go ---------------------------------------------------------------------


def test_a_member_is_given_out_once_until_its_job_is_put_again() -> None:
    waiting = job(1)
    queue = queue_of(waiting)
    assert queue.next(NOW) == MemberKey(1, 0)
    assert queue.next(NOW) is None
    queue.put(waiting)  # it could not be started
    assert queue.next(NOW) == MemberKey(1, 0)
    running = lifecycle.started(waiting, 0, "a", "n", NOW).job
    queue.put(running)
    assert queue.next(NOW) is None
    queue.put(lifecycle.halted(running, 0, NOW).job)
    assert queue.next(NOW) == MemberKey(1, 0)


def test_a_member_that_is_put_back_comes_again_in_its_place() -> None:
    queue = queue_of(job(1, P, P, P))
    assert [queue.next(NOW), queue.next(NOW)] == [MemberKey(1, 0), MemberKey(1, 1)]
    queue.put_back(MemberKey(1, 0))
    queue.put_back(MemberKey(1, 0))
    queue.put_back(MemberKey(7, 0))  # of a job that has left
    assert drained(queue) == [(1, 0), (1, 2)]


@pytest.mark.parametrize("policy", BOTH)
def test_a_member_that_backs_off_waits_and_lets_others_go(policy: Policy) -> None:
    failed = lifecycle.failed(job(1, R, P), 0, LOST, Retry(), NOW).job
    queue = queue_of(failed, job(2, work=0.1), policy=policy)
    assert queue.next_change(NOW) == NOW + 1
    assert drained(queue) == [(1, 1), (2, 0)]
    assert queue.next(NOW + 0.9) is None
    assert queue.next(NOW + 1) == MemberKey(1, 0)
    assert queue.next_change(NOW + 1) is None


def test_a_back_off_is_forgotten_with_the_job_and_when_the_member_is_queued_anew() -> None:
    failed = lifecycle.failed(job(1, R), 0, LOST, Retry(), NOW).job
    queue = queue_of(failed)
    queue.put(operations.cancelled(failed, NOW).job)
    assert queue.next_change(NOW) is None
    queue.put(failed)
    queue.put(operations.resumed(operations.suspended(failed).job, NOW).job)
    assert queue.next_change(NOW) is None
    assert drained(queue) == [(1, 0)]


@pytest.mark.parametrize("policy", BOTH)
def test_jobs_that_are_over_or_suspended_leave_and_can_come_back(policy: Policy) -> None:
    waiting = job(1, P, P)
    queue = queue_of(waiting, policy=policy)
    for gone in (operations.suspended(waiting).job, operations.cancelled(waiting, NOW).job):
        queue.put(gone)
        assert queue.next(NOW) is None
        assert ids(queue) == []
    queue.put(operations.retried(gone, NOW).job)
    assert drained(queue) == [(1, 0), (1, 1)]


def test_a_queue_that_is_fed_changes_decides_as_one_that_is_filled_anew() -> None:
    """Random lives of jobs; after each step an old and a new queue have the same order."""
    draw = random.Random(7)  # noqa: S311
    for policy in BOTH:
        jobs = {i: job(i, *[P] * draw.randint(1, 3), work=draw.random()) for i in range(1, 25)}
        fed = queue_of(*jobs.values(), policy=policy, max_wait_s=60.0)
        for step in range(300):
            now = NOW + step
            changed = lived(draw.choice(list(jobs.values())), draw, now)
            jobs[changed.id] = changed
            fed.put(changed)
            if draw.random() < 0.3 and (key := fed.next(now)) is not None:
                fed.put(jobs[key.job_id])  # given out and not started
            anew = queue_of(*jobs.values(), policy=policy, max_wait_s=60.0)
            assert ids(fed, now) == ids(anew, now)
            first = anew.next(now)
            assert fed.next(now) == first
            if first is not None:
                fed.put(jobs[first.job_id])


def lived(each: Job, draw: random.Random, now: float) -> Job:
    """The job after something that can happen to it."""
    if each.phase.terminal:
        again = each.phase in (Phase.FAILED, Phase.CANCELLED)
        return operations.retried(each, now).job if again else each
    index = draw.randrange(len(each.members))
    phase = each.members[index].phase
    if lifecycle.ready_to_finish(each):
        return lifecycle.finished(each, 0.5, None, now).job
    if draw.random() < 0.2:
        operation = draw.choice(["cancel", "suspend", "resume", "priority"])
        if operation == "cancel":
            return operations.cancelled(each, now).job
        if operation == "priority":
            return operations.prioritized(each, draw.choice([50, 100, 300])).job
        return (
            operations.resumed(each, now) if operation == "resume" else operations.suspended(each)
        ).job
    if phase is P and not each.suspended:
        return lifecycle.started(each, index, "a", "n", now).job
    if phase is R:
        happened = draw.choice(["trained", "failed", "halted"])
        if happened == "failed":
            return lifecycle.failed(each, index, LOST, Retry(), now).job
        return (lifecycle.trained if happened == "trained" else lifecycle.halted)(
            each, index, now
        ).job
    return each


# --- cost -----------------------------------------------------------------------------------------


def test_the_heap_stays_as_small_as_what_it_holds() -> None:
    heap: LazyHeap[int] = LazyHeap()
    for round_ in range(1000):
        for item in range(10):
            heap.put(item, (float(round_ + item),))
    assert len(heap) == 10
    assert heap.num_entries <= 2 * 10 + SPARE_ENTRIES
    assert heap.first() == ((999.0,), 0)
    for item in range(9):
        heap.discard(item)
    assert heap.first() == ((1008.0,), 9)
    heap.discard(9)
    assert heap.first() is None
