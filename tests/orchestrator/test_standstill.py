"""Time in which members wait for their workers: whose it is, whatever happens meanwhile."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator import lifecycle, operations
from orchestrator.admission.cohort import Retry
from orchestrator.cluster.updates import Failed, Update
from orchestrator.errors import StoreUnavailable
from orchestrator.lifecycle import WAITS_FOR_WORKERS
from orchestrator.phases import Phase
from orchestrator.state import Job, MemberKey
from orchestrator.store import Ledger, Store
from tests.orchestrator.cohorts import new_job
from tests.orchestrator.job_states import NOW, job, member
from tests.orchestrator.pretended import LOST, Clock, PretendedSlots, Run, hand_in, phases, trains

P, R, S = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED
KEY = MemberKey(1, 0)
LIMIT = {"activeDeadlineSeconds": 60.0}


def waited(before: Job, index: int, until: float, waits: bool = True) -> Job:
    """The job after one of its members has waited until then."""
    key = MemberKey(1, index)
    return lifecycle.waited(before, {key: until}, {key} if waits else ()).job


def on_slots(*since: float) -> Job:
    """A job with a member on a slot since each of these times."""
    members = [member(1, index, R, started_at=at) for index, at in enumerate(since)]
    return job(1, *members, active_since=min(since))


# --- a job by itself ------------------------------------------------------------------------------


def test_a_member_begins_when_it_has_its_workers() -> None:
    waits = waited(job(1, R), 0, NOW)
    assert waits.members[0].message == WAITS_FOR_WORKERS
    assert (waits.active_seconds_at(NOW), waits.slot_seconds_at(NOW)) == (0.0, 0.0)
    begun = waited(waits, 0, NOW, waits=False)
    assert begun.members[0].message == ""
    assert (begun.active_seconds_at(NOW + 5), begun.slot_seconds_at(NOW + 5)) == (5.0, 5.0)


def test_a_job_waits_as_long_as_no_other_member_of_it_trains() -> None:
    one_trains = waited(on_slots(0, 0), 1, NOW)
    assert (one_trains.active_seconds_at(NOW), one_trains.slot_seconds_at(NOW)) == (NOW, NOW)
    it_is_done = lifecycle.trained(one_trains, 0, NOW + 10).job
    other_waits = waited(it_is_done, 1, NOW + 30)
    assert other_waits.active_seconds_at(NOW + 30) == NOW + 10
    assert other_waits.slot_seconds_at(NOW + 30) == NOW + 10


def test_what_has_left_its_slot_waits_for_nothing_there() -> None:
    was = job(1, P, S)
    keys = [member.key for member in was.members]
    assert lifecycle.waited(was, dict.fromkeys(keys, NOW), keys).job == was


def test_a_job_that_is_over_keeps_the_time_it_has_used() -> None:
    used = waited(lifecycle.trained(waited(on_slots(0, 0), 1, 40.0), 0, 40.0).job, 1, 41.0)
    over = operations.cancelled(used, 41.0).job
    stopped = lifecycle.halted(waited(over, 1, 71.0), 1, 71.0).job
    assert stopped.active_seconds == over.active_seconds_at(41.0) == 40.0


def test_what_the_cluster_lost_is_no_time_of_a_job_whose_others_only_waited() -> None:
    lost = lifecycle.failed(waited(on_slots(0, 0), 1, 40.0), 0, LOST, Retry(), 40.0).job
    assert waited(lost, 1, 60.0).active_seconds_at(60.0) == 0.0


def test_nor_is_the_part_of_it_before_another_member_began() -> None:
    lost = lifecycle.failed(on_slots(0, 30), 0, LOST, Retry(), 40.0).job
    assert lifecycle.trained(lost, 1, 60.0).job.active_seconds == 30.0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_order_in_which_slots_are_lost_decides_nothing(order: tuple[int, int]) -> None:
    left = waited(on_slots(0, 0), 1, 30.0)
    for index in order:
        left = lifecycle.failed(left, index, LOST, Retry(), 40.0).job
    assert (left.active_seconds, left.slot_seconds) == (0.0, 0.0)


def test_a_sleep_is_accounted_for_once_and_not_to_a_retry() -> None:
    before = on_slots(5, 10)
    slept = lifecycle.stood_still(before, before, 100.0).job
    assert [m.started_at for m in slept.members] == [105.0, 110.0]
    assert slept.active_since == 105.0
    assert lifecycle.stood_still(slept, before, 100.0).job == slept
    retried = replace(before, active_since=50.0)
    assert lifecycle.stood_still(retried, before, 100.0).job.active_since == 50.0


# --- a controller and its store -------------------------------------------------------------------


def goes_on(times: int) -> Any:
    """An outcome that comes after so many polls of members that have begun."""
    ends = iter([None] * times)
    return lambda key, attempt: next(ends, trains(key, attempt))


def test_waiting_for_workers_is_not_the_teams_time(store: Store, run: Run) -> None:
    """On a cluster that others use, workers of a group may wait long for CPUs."""
    hand_in(store, new_job("a"), limits=LIMIT)
    told: list[str] = []

    def on_poll(poll: int) -> None:
        told.extend({member.message for job in store.jobs("small") for member in job.members})
        if poll == 500:  # the clock goes on by half a second each time it is read
            pool.waiting.clear()

    pool = PretendedSlots(outcome=goes_on(8), waiting={KEY}, on_poll=on_poll)
    clock = Clock()
    (job,) = run(pool, clock=clock)
    assert clock.now > 1000 + 240
    assert job.phase is Phase.SUCCEEDED
    assert 0 < job.active_seconds < 60
    assert 0 < job.slot_seconds < 60
    assert told[0] == told[-1] == ""
    assert WAITS_FOR_WORKERS in told


def test_the_store_is_not_written_to_at_every_look(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))
    ledger = store.acquire("small", "test", 1000.0, 1e9)
    looks: list[int] = []

    class Counting(Ledger):
        def waited(self, *given: Any) -> tuple[Job, ...]:
            looks.append(pool.polls)
            return super().waited(*given)

    def on_poll(poll: int) -> None:
        if poll == 100:
            pool.waiting.clear()

    pool = PretendedSlots(waiting={KEY}, on_poll=on_poll)
    counting = Counting(**{name.lstrip("_"): value for name, value in vars(ledger).items()})
    run(pool, counting)
    assert 1 < len(looks) < 70  # the clock goes on by some seconds a poll


def test_a_retry_while_a_member_waits_has_its_whole_time(store: Store, run: Run) -> None:
    hand_in(store, new_job("a", num_members=2), limits=LIMIT)
    clock, retried = Clock(), list[int]()

    def on_poll(poll: int) -> None:
        (job,) = store.jobs("small")
        if job.phase is Phase.FAILED and phases(job)[0] is not R and not retried:
            store.retry("small", "a", clock.now)
            retried.append(poll)
        if retried and poll == retried[0] + 3:
            pool.waiting.clear()

    def outcome(key: MemberKey, attempt: int) -> Update | None:
        return trains(key, attempt) if retried else None

    pool = PretendedSlots(outcome=outcome, waiting={MemberKey(1, 1)}, on_poll=on_poll)
    (job,) = run(pool, clock=clock)
    assert retried
    assert job.phase is Phase.SUCCEEDED


def test_a_store_that_is_away_while_a_member_begins_is_not_the_teams(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"), limits=LIMIT)
    clock, ledger = Clock(), store.acquire("small", "test", 1000.0, 1e9)
    away = False

    class Away(Ledger):
        def waited(self, *given: Any) -> tuple[Job, ...]:
            if away:
                raise StoreUnavailable("the store did not answer")
            return super().waited(*given)

    def on_poll(poll: int) -> None:
        nonlocal away
        away = 10 <= poll < 21
        clock.now += 300.0 * (poll == 11)
        if poll == 20:
            pool.waiting.clear()

    pool = PretendedSlots(outcome=goes_on(8), waiting={KEY}, on_poll=on_poll)
    ours = Away(**{name.lstrip("_"): value for name, value in vars(ledger).items()})
    (job,) = run(pool, ours, clock=clock)
    assert job.phase is Phase.SUCCEEDED
    assert 0 < job.slot_seconds < 60


def test_a_start_that_the_store_had_although_it_went_away_costs_nothing(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"), limits=LIMIT)
    clock, ledger = Clock(), store.acquire("small", "test", 1000.0, 1e9)
    starts: list[Job] = []

    class Broken(Ledger):
        def start(self, *given: Any) -> Job:
            starts.append(super().start(*given))
            if len(starts) == 1:
                clock.now += 300.0
                raise StoreUnavailable("broke in the commit")
            return starts[-1]

    ours = Broken(**{name.lstrip("_"): value for name, value in vars(ledger).items()})
    (job,) = run(PretendedSlots(), ours, clock=clock)
    assert (job.phase, len(starts)) == (Phase.SUCCEEDED, 2)
    assert job.slot_seconds < 60


def test_lost_attempts_beside_a_member_that_waits_end_no_job(store: Store, run: Run) -> None:
    hand_in(store, new_job("a", num_members=2), limits=LIMIT)
    clock, lost = Clock(), list[int]()

    def outcome(key: MemberKey, attempt: int) -> Update | None:
        if key.index == 1 or attempt > 2:
            return trains(key, attempt)
        (job,) = store.jobs("small")
        if clock.now - (job.members[0].started_at or 0) < 35:
            return None
        lost.append(attempt)
        return Failed(key, attempt, LOST)

    def on_poll(_: int) -> None:
        if len(lost) == 2 or store.jobs("small")[0].phase.terminal:
            pool.waiting.clear()

    pool = PretendedSlots(outcome=outcome, waiting={MemberKey(1, 1)}, on_poll=on_poll)
    (job,) = run(pool, clock=clock)
    assert (job.phase, lost) == (Phase.SUCCEEDED, [1, 2])
