"""The order of the queue, over states that are written down."""

from dataclasses import replace

import pytest

from orchestrator import lifecycle, operations
from orchestrator.fair_queue import Policy, Queue
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job, MemberKey
from tests.orchestrator.job_states import NOW, drained, ids, job, member, queue_of

P, R, S = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED
BOTH: tuple[Policy, ...] = ("fair", "longest-first")


# --- the order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", BOTH)
def test_an_ensemble_trains_together(policy: Policy) -> None:
    queue = queue_of(job(1, P, P), job(2, P, P, P), job(3, R, P, P, work=0.1), policy=policy)
    assert drained(queue)[:2] == [(3, 1), (3, 2)]


@pytest.mark.parametrize("policy", BOTH)
def test_members_follow_the_first_before_its_start_is_known(policy: Policy) -> None:
    queue = queue_of(job(1, P, P, submitted_at=5.0), job(2, P, submitted_at=6.0), policy=policy)
    assert queue.next(NOW) == MemberKey(1, 0)
    queue.put(job(3, submitted_at=4.0, work=9))
    assert drained(queue) == [(1, 1), (3, 0), (2, 0)]


def test_an_ensemble_goes_on_when_its_first_members_have_ended() -> None:
    assert drained(queue_of(job(1), job(2, S, S, P, slot_seconds=90.0)))[0] == (2, 2)


def test_begun_jobs_go_in_the_order_in_which_they_began() -> None:
    second, first = job(1, R, P, started_at=7.0), job(2, R, P, started_at=6.0)
    assert drained(queue_of(second, first)) == [(2, 1), (1, 1)]


def test_fair_goes_by_slot_seconds_of_the_team_over_all_its_revisions() -> None:
    queue = queue_of(
        job(1, S, team="busy", phase=S, slot_seconds=50.0),
        job(2, team="busy", revision=2),
        job(3, team="modest", slot_seconds=20.0),
        job(4, team="new"),
    )
    assert ids(queue) == [4, 3, 2]
    assert drained(queue) == [(4, 0), (3, 0), (2, 0)]


def test_fair_counts_what_a_team_uses_right_now() -> None:
    draining = job(1, R, team="a", phase=Phase.SUPERSEDED)  # on its slot since 0
    queue = queue_of(draining, job(2, team="a", revision=2), job(3, slot_seconds=60.0))
    assert ids(queue, now=59.0) == [2, 3]
    assert ids(queue, now=61.0) == [3, 2]
    assert drained(queue, now=61.0) == [(3, 0), (2, 0)]


def test_fair_goes_by_what_was_used_in_the_end_not_by_what_it_looked_like() -> None:
    draining = job(1, R, team="a", phase=Phase.SUPERSEDED)  # on its slot since 0
    queue = queue_of(draining, job(2, team="a", revision=2), job(3, slot_seconds=50.0))
    assert queue.next(90.0) == MemberKey(3, 0)
    queue.put(job(3, slot_seconds=50.0))
    queue.put(lifecycle.halted(draining, 0, 40.0).job)  # its controller was last seen then
    assert drained(queue, now=91.0) == [(2, 0), (3, 0)]


def test_fair_divides_by_priority() -> None:
    queue = queue_of(
        job(1, slot_seconds=100.0),
        job(2, slot_seconds=150.0, priority=200),
        job(3, slot_seconds=30.0, priority=25),
    )
    assert ids(queue) == [2, 1, 3]
    assert drained(queue) == [(2, 0), (1, 0), (3, 0)]


@pytest.mark.parametrize("newest_first", [False, True])
def test_fair_takes_the_priority_of_the_newest_revision(newest_first: bool) -> None:
    jobs = [
        job(1, S, team="a", phase=S, slot_seconds=100.0, priority=1000),
        job(2, team="a", revision=2),
        job(3, slot_seconds=50.0),
    ]
    queue = queue_of(*(reversed(jobs) if newest_first else jobs))
    assert ids(queue) == [3, 2]
    assert drained(queue) == [(3, 0), (2, 0)]


@pytest.mark.parametrize("policy", BOTH)
def test_among_teams_that_used_nothing_priority_decides(policy: Policy) -> None:
    queue = queue_of(job(1, work=9), job(2, priority=101, work=1), policy=policy)
    assert ids(queue) == [2, 1]
    assert drained(queue) == [(2, 0), (1, 0)]


@pytest.mark.parametrize("policy", BOTH)
def test_ties_go_to_the_earlier_submission_then_to_the_lower_id(policy: Policy) -> None:
    jobs = [job(1, submitted_at=9.0), job(3, submitted_at=3.0), job(2, submitted_at=3.0)]
    queue = queue_of(*jobs, policy=policy)
    assert ids(queue) == [2, 3, 1]
    assert drained(queue) == [(2, 0), (3, 0), (1, 0)]


def test_longest_first_goes_by_work_that_is_left() -> None:
    shorter = job(3, member(3, 0, S, work=90), member(3, 1, work=1), started_at=None, phase=P)
    queue = queue_of(
        job(1, work=5), job(2, member(2, 0, work=3), member(2, 1, work=4)), shorter,
        policy="longest-first",
    )  # fmt: skip
    assert ids(queue) == [2, 1, 3]
    assert drained(queue) == [(2, 1), (2, 0), (1, 0), (3, 1)]


def test_longest_first_lets_priority_go_before_what_has_begun() -> None:
    queue = queue_of(job(1, R, P), job(2, priority=200), policy="longest-first")
    assert drained(queue) == [(2, 0), (1, 1)]


def test_a_changed_priority_moves_a_job_that_waits() -> None:
    first, second = job(1, slot_seconds=10.0), job(2, slot_seconds=11.0)
    queue = queue_of(first, second)
    queue.put(operations.prioritized(second, 300).job)
    assert ids(queue) == [2, 1]
    assert drained(queue) == [(2, 0), (1, 0)]


def test_positions_count_the_jobs_that_wait() -> None:
    queue = queue_of(job(1), job(2, R), job(3, suspended=True), job(4, S, phase=S), job(5))
    assert ids(queue) == [1, 5]


# --- nobody waits forever -------------------------------------------------------------------------


def test_a_job_that_waited_for_too_long_goes_first_but_after_what_has_begun() -> None:
    jobs = [
        job(1, submitted_at=20.0, slot_seconds=900.0),
        job(2, submitted_at=10.0, slot_seconds=999.0),
        job(3, R, P),
        job(4, submitted_at=95.0),
    ]
    queue = queue_of(*jobs, max_wait_s=50.0)
    assert ids(queue) == [2, 1, 4]
    assert drained(queue) == [(3, 1), (2, 0), (1, 0), (4, 0)]


def test_of_a_class_that_was_handed_in_at_once_the_fairest_is_first_for_ever() -> None:
    jobs = [
        job(1, submitted_at=5.0),
        job(2, submitted_at=5.0, priority=200),
        job(3, submitted_at=5.0, team="busy", slot_seconds=9.0),
        job(4, R, team="busy", revision=2, phase=Phase.SUPERSEDED),
    ]
    for max_wait_s in (1.0, 5000.0):
        queue = queue_of(*jobs, max_wait_s=max_wait_s)
        assert ids(queue) == [2, 1, 3]
        assert drained(queue) == [(2, 0), (1, 0), (3, 0)]


def test_a_job_that_waited_for_just_as_long_is_not_overdue() -> None:
    jobs = [job(1, submitted_at=50.0, slot_seconds=1.0), job(2, submitted_at=60.0)]
    assert drained(queue_of(*jobs, max_wait_s=50.0))[0] == (2, 0)
    assert drained(queue_of(*jobs, max_wait_s=49.9))[0] == (1, 0)


def test_waiting_counts_from_when_the_job_was_queued() -> None:
    jobs = [job(1, submitted_at=0.0, queued_at=90.0, slot_seconds=1.0), job(2, submitted_at=60.0)]
    assert drained(queue_of(*jobs, max_wait_s=50.0))[0] == (2, 0)


@pytest.mark.parametrize("max_wait_s", [30.0, 300.0])
def test_whoever_comes_nobody_waits_for_longer_than_the_stated_bound(max_wait_s: float) -> None:
    """Every 5 s a team comes that has used nothing; two slots need 10 s a member."""
    num_slots, member_s = 2, 10.0
    queue, jobs = Queue("fair", max_wait_s), dict[int, Job]()
    victim = job(1, P, submitted_at=0.0, slot_seconds=1e6)
    queue.put(victim)
    jobs[1] = victim
    ends: list[tuple[float, MemberKey]] = []
    started_at: dict[MemberKey, float] = {}
    for step in range(1, 400):
        now = 5.0 * step
        for end, key in [each for each in ends if each[0] <= now]:
            ends.remove((end, key))
            jobs[key.job_id] = lifecycle.trained(jobs[key.job_id], key.index, now).job
            queue.put(jobs[key.job_id])
        for number in (0, 1):  # as much work as the slots can do, and more
            jobs[10 * step + number] = job(10 * step + number, P, P, submitted_at=now)
            queue.put(jobs[10 * step + number])
        while len(ends) < num_slots and (given := queue.next(now)) is not None:
            jobs[given.job_id] = lifecycle.started(
                jobs[given.job_id], given.index, "slot", "n", now
            ).job
            queue.put(jobs[given.job_id])
            started_at[given] = now
            ends.append((now + member_s, given))
    first_slot_at = started_at[MemberKey(1, 0)]
    begun_then = {key.job_id for key, at in started_at.items() if at <= max_wait_s}
    left_s = sum(
        at + member_s - max(at, max_wait_s)
        for key, at in started_at.items()
        if key.job_id in begun_then and at + member_s > max_wait_s
    )
    assert first_slot_at > max_wait_s, "the newcomers had used less"
    assert first_slot_at <= max_wait_s + left_s / num_slots + 5.0, "one step of this test's clock"


def test_without_the_guard_that_job_would_starve() -> None:
    queue = queue_of(job(1, submitted_at=0.0, slot_seconds=1e6))
    for number in range(2, 50):
        queue.put(job(number, submitted_at=float(number)))
        assert queue.next(float(number)) == MemberKey(number, 0)


def test_a_back_off_does_not_grow_with_a_clock_that_is_set_back() -> None:
    failed = replace(member(1, 0), reason=Reason.BACK_OFF, not_before=NOW + 8)
    queue = queue_of(replace(job(1, P), members=(failed,)))
    assert queue.next(NOW) is None
    assert queue.next_change(NOW) == NOW + 8
    assert queue.next(NOW - 3600) == MemberKey(1, 0)


@pytest.mark.parametrize("policy", BOTH)
def test_a_gated_job_gets_no_slot_until_it_is_put_without(policy: Policy) -> None:
    gated = job(1, P, P)
    queue = queue_of(gated, policy=policy)
    queue.put(gated, gated=True)
    queue.put(job(2, submitted_at=9.0, work=0.1))
    assert queue.next(NOW) == MemberKey(2, 0)
    assert queue.next(NOW) is None
    queue.put(gated)
    assert drained(queue) == [(1, 0), (1, 1)]


def test_what_a_gated_job_uses_counts_for_its_team() -> None:
    queue = queue_of(job(3, slot_seconds=5.0), job(2, team="a", revision=2))
    queue.put(job(1, R, P, team="a", slot_seconds=50.0), gated=True)
    assert drained(queue) == [(3, 0), (2, 0)]
