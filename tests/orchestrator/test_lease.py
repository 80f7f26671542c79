"""A cohort's lease: one controller at a time, fencing, and what a controller leaves behind."""

import os
import socket
import time
from collections.abc import Callable
from functools import partial

import pytest

from orchestrator.admission.cohort import Retry
from orchestrator.errors import CohortBusy, LeaseLost
from orchestrator.lease import hold_lease, holder_name, is_gone
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, MemberKey
from orchestrator.store import JobResult, Ledger, Store
from orchestrator.store.values import Lease
from orchestrator.terminal.lookup import controller_of, lease_of
from tests.orchestrator.cohorts import TRAINED, epoch, new_job, start, submit, take
from tests.orchestrator.racing import at_once

KEY = MemberKey(1, 0)
FAULT = Fault(Reason.SLOT_LOST, "gone", Blame.CLUSTER)


@pytest.fixture
def store(each_store: Store) -> Store:
    return each_store


WRITES: dict[str, Callable[[Ledger], object]] = {
    "start": lambda ledger: ledger.start(KEY, "slot-0", "node", 152.0),
    "record_epochs": lambda ledger: ledger.record_epochs([(KEY, 1, epoch(1), 152.0)]),
    "succeed": lambda ledger: ledger.succeed(KEY, 1, TRAINED, 152.0),
    "fail": lambda ledger: ledger.fail(KEY, 1, FAULT, Retry(), 152.0),
    "halt": lambda ledger: ledger.halt(KEY, 1, 152.0),
    "finish": lambda ledger: ledger.finish(1, JobResult(0.5), 152.0),
    "give_up": lambda ledger: ledger.give_up(1, FAULT, 152.0),
    "recover": lambda ledger: ledger.recover(152.0),
    "train_again": lambda ledger: ledger.train_again(KEY, "gone", Retry(), 152.0),
    "release_if_done": lambda ledger: ledger.release_if_done(),
}
LEASE_WRITES: dict[str, Callable[[Ledger], object]] = {
    "renew": lambda ledger: ledger.renew(152.0),
    "release": lambda ledger: ledger.release(),
}


def holder(store: Store, cohort: str, now: float) -> str | None:
    """Who holds a cohort's lease at this moment."""
    lease = store.lease(cohort)
    return lease.holder if lease is not None and lease.expires_at > now else None


def test_a_second_controller_is_refused_until_the_lease_has_run_out(store: Store) -> None:
    first = store.acquire("small", "host:1", 100.0, ttl_s=30)
    with pytest.raises(CohortBusy, match=r"host:1.*runs out in 20 s"):
        store.acquire("small", "host:2", 110.0, ttl_s=30)
    first.renew(120.0)
    lease = store.lease("small")
    assert lease is not None
    assert (lease.holder, lease.expires_at, lease.renewed_at) == ("host:1", 150.0, 120.0)
    with pytest.raises(CohortBusy):
        store.acquire("small", "host:2", 140.0, ttl_s=30)
    store.acquire("small", "host:2", 151.0, ttl_s=30)
    assert holder(store, "small", 152.0) == "host:2"
    assert store.lease("unknown") is None


def test_a_controller_that_was_replaced_can_write_nothing(store: Store) -> None:
    submit(store, new_job("a"))
    first = take(store)
    start(first, KEY)
    store.acquire("small", "host:2", 151.0, ttl_s=30)
    before = store.job(1), store.events("small"), store.lease("small")
    for write in (WRITES | LEASE_WRITES).values():
        with pytest.raises(LeaseLost, match="another controller has taken over cohort 'small'"):
            write(first)
    assert (store.job(1), store.events("small"), store.lease("small")) == before


def test_a_lease_that_was_given_up_is_not_taken_back(store: Store) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    ledger.release()
    for write in LEASE_WRITES.values():
        write(ledger)  # as the thread that renews may do a moment later
    assert holder(store, "small", 101.0) is None
    for write in WRITES.values():
        with pytest.raises(LeaseLost, match="was given up"):
            write(ledger)


def test_a_released_or_orphaned_lease_is_free_at_once(store: Store) -> None:
    store.acquire("small", "host:1", 100.0, ttl_s=30).release()
    store.acquire("small", "host:2", 101.0, ttl_s=30)
    store.acquire("small", "host:3", 102.0, 30, is_gone=lambda holder: holder == "host:2")
    with pytest.raises(CohortBusy):
        store.acquire("small", "host:4", 103.0, 30, is_gone=lambda holder: holder == "host:2")


def test_of_controllers_that_start_at_once_one_gets_the_lease(store: Store) -> None:
    for name in ("small", "other", "third"):
        holders = [f"host:{number}" for number in range(6)]
        refused = at_once(*(partial(store.acquire, name, each, 100.0, 30) for each in holders))
        assert [type(error) for error in refused] == [CohortBusy] * 5


# --- what a controller leaves behind --------------------------------------------------------------


def test_what_a_dead_controller_left_is_queued_and_ends_when_it_was_seen_last(store: Store) -> None:
    submit(store, new_job("a", num_members=2), new_job("b"))
    dead = take(store)
    for key in (KEY, MemberKey(1, 1), MemberKey(2, 0)):
        start(dead, key, at=110.0)
    store.cancel("small", "b", 115.0)
    dead.renew(120.0)
    ledger = store.acquire("small", "host:2", 501.0, ttl_s=30)
    left, cancelled = store.jobs("small")
    assert (left.phase, left.reason) == (Phase.PENDING, Reason.INTERRUPTED)
    assert [m.reason for m in left.members] == [Reason.INTERRUPTED] * 2
    assert [m.cluster_failures for m in left.members] == [0, 0]
    assert (left.slot_seconds, left.active_seconds, left.active_since) == (20.0, 10.0, None)
    assert [a.ended_at for a in store.attempts(1)] == [120.0, 120.0]
    assert cancelled.members[0].phase is Phase.CANCELLED
    assert {e.at for e in store.events("small") if e.reason == Reason.INTERRUPTED} == {501.0}
    assert ledger.recover(502.0) == 0, "it was done with the lease"


def test_who_takes_the_lease_and_ends_at_once_charges_nobody_for_the_time_between(
    store: Store,
) -> None:
    submit(store, new_job("a"))
    dead = take(store)
    start(dead, KEY, at=110.0)
    dead.renew(120.0)
    store.acquire("small", "host:2", 216_000.0, ttl_s=30).release()
    store.acquire("small", "host:3", 216_010.0, ttl_s=30).recover(216_011.0)
    assert (store.job(1).slot_seconds, store.job(1).active_seconds) == (10.0, 10.0)
    assert [attempt.ended_at for attempt in store.attempts(1)] == [120.0]


def test_what_a_dead_controller_left_ends_by_its_own_clock(store: Store) -> None:
    """An hour ahead of the database's, say; attempts are told by the controller's."""
    submit(store, new_job("a"))
    dead = store.acquire("small", "host:1", 100.0, 30.0, ahead_s=3600.0)
    start(dead, KEY, at=3710.0)
    dead.renew(120.0)
    store.acquire("small", "host:2", 500.0, 30.0, ahead_s=3600.0)
    assert store.job(1).reason == Reason.INTERRUPTED
    assert [attempt.ended_at for attempt in store.attempts(1)] == [3720.0]
    assert store.job(1).active_seconds == 10.0


def test_an_attempt_that_began_after_the_last_renewal_took_no_time(store: Store) -> None:
    submit(store, new_job("a"))
    start(take(store), KEY, at=104.0)
    store.acquire("small", "host:2", 500.0, ttl_s=30)
    assert store.job(1).reason == Reason.INTERRUPTED
    assert (store.job(1).slot_seconds, store.job(1).active_seconds) == (0.0, 0.0)


def test_a_controller_that_ends_in_order_accounts_for_all_its_time(store: Store) -> None:
    submit(store, new_job("a"))
    take(store).release()
    ledger = store.acquire("small", "host:2", 200.0, ttl_s=30)
    start(ledger, KEY, at=210.0)
    assert ledger.recover(250.0) == 1
    assert store.job(1).slot_seconds == 40.0


def test_a_lease_is_given_up_when_nothing_is_left_to_do(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"))
    ledger = take(store)
    assert not ledger.release_if_done(), "two jobs wait"
    start(ledger, KEY)
    store.suspend("small", "b", 105.0)
    assert store.is_left("small")
    store.cancel("small", "a", 105.0)
    assert not store.is_left("small")
    assert not ledger.release_if_done(), "a member of the cancelled job is still on its slot"
    assert holder(store, "small", 110.0) == "host:1"
    ledger.halt(KEY, 1, 106.0)
    for _ in range(2):  # once more where the store could not say how the first time ended
        assert ledger.release_if_done()
        assert holder(store, "small", 110.0) is None


def test_a_submission_is_seen_by_the_controller_or_sees_that_there_is_none(store: Store) -> None:
    for number in range(8):
        ledger, team = take(store), f"team-{number}"
        said: dict[str, bool] = {}

        def hand_in(team: str = team, said: dict[str, bool] = said) -> None:
            submit(store, new_job(team))
            said["at work"] = holder(store, "small", 110.0) is not None

        def end(ledger: Ledger = ledger, said: dict[str, bool] = said) -> None:
            said["ended"] = ledger.release_if_done()

        assert at_once(hand_in, end) == []
        assert said["at work"] is not said["ended"]
        ledger.release()
        store.cancel("small", team, 111.0)


def test_a_cohorts_first_submission_is_seen_or_sees_that_there_is_no_controller(
    store: Store,
) -> None:
    for number in range(8):
        cohort = f"cohort-{number}"
        ledger = store.acquire(cohort, "host:1", 100.0, ttl_s=1e9)
        said: dict[str, bool] = {}

        def hand_in(cohort: str = cohort, said: dict[str, bool] = said) -> None:
            submit(store, new_job("a"), name=cohort)
            said["at work"] = holder(store, cohort, 110.0) is not None

        def end(ledger: Ledger = ledger, said: dict[str, bool] = said) -> None:
            said["ended"] = ledger.release_if_done()

        assert at_once(hand_in, end) == []
        assert said["at work"] is not said["ended"]


# --- the process that holds it --------------------------------------------------------------------


def test_a_holder_is_gone_when_its_process_is() -> None:
    assert not is_gone(holder_name())
    assert not is_gone("elsewhere:1")
    assert not is_gone("no number")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    here = holder_name().rpartition(":")[0]
    assert is_gone(f"{here}:{child}")
    # A machine of the same name that shares the store; its processes are not ours.
    assert here.startswith(f"{socket.gethostname()}-")
    assert not is_gone(f"{socket.gethostname()}-abcdef:{child}")


def test_process_numbers_of_another_container_say_nothing() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    here = holder_name().rpartition(":")[0].partition("/")[0]
    assert not is_gone(f"{here}/4026599999:{child}")


def test_the_slots_of_a_controller_are_told_and_forgotten_with_its_lease(store: Store) -> None:
    first = store.acquire("small", "here:1", 100.0, 30.0)
    assert store.lease("small") == Lease("here:1", 130.0, 100.0, slots=None)
    first.tell_slots(3)
    assert store.lease("small") == Lease("here:1", 130.0, 100.0, slots=3)
    store.acquire("small", "here:2", 131.0, 30.0)
    with pytest.raises(LeaseLost):
        first.tell_slots(4)
    assert store.lease("small") == Lease("here:2", 161.0, 131.0, slots=None)


def test_a_lease_is_held_for_a_block_and_free_after_it(store: Store) -> None:
    with hold_lease(store, "small"):
        assert controller_of(store, "small") == holder_name()
        with pytest.raises(CohortBusy), hold_lease(store, "small"):
            pass
    assert controller_of(store, "small") is None
    with hold_lease(store, "small"):
        pass


def test_a_block_may_give_its_lease_up_itself(store: Store) -> None:
    with hold_lease(store, "small") as ledger:
        assert ledger.release_if_done()
        with hold_lease(store, "small"):
            pass


def test_leases_are_judged_by_the_clock_of_the_database(store_url: str, store: Store) -> None:
    """One that all share: a laptop that is fast takes nobody's lease, a slow one waits for none."""
    assert store.now() == pytest.approx(time.time(), abs=60)
    now = 100.0
    timed = Store(store_url, clock=lambda: now)
    with hold_lease(timed, "small"):
        assert lease_of(timed, "small") == Lease(holder_name(), 130.0, 100.0, slots=None)
        now = 131.0
        assert lease_of(timed, "small") is None
        with hold_lease(timed, "small"):
            assert lease_of(timed, "small") == Lease(holder_name(), 161.0, 131.0, slots=None)
    timed.close()
