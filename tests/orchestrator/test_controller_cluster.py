"""The cluster under a cohort that runs: lost, away with the store, or wanted otherwise."""

from typing import Any

import pytest

from orchestrator.admission.cohort import Resources
from orchestrator.cluster.updates import Failed, Update
from orchestrator.errors import ClusterLost, ResourcesChanged, StoreUnavailable
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job
from orchestrator.store import Ledger, Store
from tests.orchestrator.cohorts import new_job
from tests.orchestrator.pretended import (
    LOST,
    Clock,
    PretendedSlots,
    Run,
    hand_in,
    phases,
    trains,
)


class Gone(PretendedSlots):
    """Slots of a cluster that is lost at the third poll."""

    def poll(self, timeout_s: float) -> list[Update]:
        if self.polls == 2:
            raise ClusterLost("Ray is gone")
        return super().poll(timeout_s)

    def abandon(self) -> list[Update]:
        ended = [Failed(key, attempt, LOST) for key, attempt, _ in self.busy.values()]
        return [*super().abandon(), *ended]


def test_a_lost_cluster_ends_the_round_and_nothing_else(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))
    with pytest.raises(ClusterLost):
        run(Gone(outcome=lambda _key, _attempt: None))
    (job,) = store.jobs("small")
    assert (job.phase, phases(job)) == (Phase.PENDING, [Phase.PENDING])
    (job,) = run(PretendedSlots())
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, 2)


def test_a_store_that_is_away_with_the_cluster_is_waited_for(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"), new_job("b"))

    class Away(Ledger):
        """A ledger whose network is gone for a moment, as its cluster's is."""

        calls = 0

        def fail(self, *given: object) -> Job:
            Away.calls += 1
            if Away.calls == 1:
                raise StoreUnavailable("the store did not answer")
            return super().fail(*given)

    ledger = store.acquire("small", "test", 1000.0, 1e9)
    away = Away(**{name.lstrip("_"): value for name, value in vars(ledger).items()})
    trouble: list[str] = []
    with pytest.raises(ClusterLost):
        run(Gone(outcome=lambda _key, _attempt: None), away, on_trouble=trouble.append)
    assert trouble == ["the store did not answer; trying again"]
    assert [phases(job) for job in store.jobs("small")] == [[Phase.PENDING], [Phase.PENDING]]
    assert [job.members[0].attempt for job in store.jobs("small")] == [1, 1]


def test_other_resources_take_other_slots_and_what_trains_goes_on_in_them(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"))
    calls = {3: lambda: hand_in(store, new_job("a"), at=1100.0, resources={"cpus": 2})}
    pool = PretendedSlots(
        outcome=lambda _key, _attempt: None, on_poll=lambda n: calls.get(n, lambda: None)()
    )
    with pytest.raises(ResourcesChanged):
        run(pool, resources=Resources())
    (job,) = store.jobs("small")
    assert (job.phase, phases(job)) == (Phase.PENDING, [Phase.PENDING])
    (job,) = run(PretendedSlots(), resources=Resources(cpus=2))
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, 2)


@pytest.mark.parametrize("queue", [{}, {"policy": "longest-first"}, {"maxWaitSeconds": 7.0}])
def test_rules_that_change_while_the_cohort_runs_hold_from_then_on(
    queue: dict[str, Any], store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"))
    stricter = {"limits": {"activeDeadlineSeconds": 30.0}, "queue": queue}
    calls = {3: lambda: hand_in(store, new_job("a"), at=1100.0, **stricter)}
    pool = PretendedSlots(
        outcome=lambda _key, _attempt: None, on_poll=lambda n: calls.get(n, lambda: None)()
    )
    (job,) = run(pool)
    assert (job.phase, job.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_time_in_which_the_machine_slept_is_not_the_teams(
    jump_s: float, store: Store, run: Run
) -> None:
    """A closed lid, a paused virtual machine, or a clock that somebody sets, either way."""
    hand_in(store, new_job("a"), limits={"activeDeadlineSeconds": 60.0})
    clock, steady = Clock(), Clock()

    def sleep(poll: int) -> None:
        if poll == 4:
            clock.now += jump_s

    ends = iter([None] * 8)
    pool = PretendedSlots(
        outcome=lambda key, attempt: next(ends, trains(key, attempt)), on_poll=sleep
    )
    (job,) = run(pool, clock=clock, steady=steady)
    assert job.phase is Phase.SUCCEEDED
    assert 1 < job.active_seconds < 60
    assert 1 < job.slot_seconds < 60, "nor of their share of the slots"


def test_while_the_store_is_away_nobody_pays_for_slots_that_are_free(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"))
    clock, ledger = Clock(), store.acquire("small", "test", 1000.0, 1e9)
    trouble: list[str] = []

    class Away(Ledger):
        def succeed(self, *given: Any) -> Job:
            if len(trouble) < 2:
                clock.now += 600.0
                raise StoreUnavailable("the store did not answer")
            return super().succeed(*given)

    away = Away(**{name.lstrip("_"): value for name, value in vars(ledger).items()})
    (job,) = run(PretendedSlots(), away, clock=clock, on_trouble=trouble.append)
    assert (job.phase, len(trouble)) == (Phase.SUCCEEDED, 2)
    assert 0 < job.slot_seconds < 60
    assert 0 < job.active_seconds < 60


@pytest.mark.parametrize("asleep_at", [1, 2])
def test_nor_does_sleep_count_where_the_store_is_away_before_it_or_after(
    asleep_at: int, store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"))
    clock, steady = Clock(), Clock()
    ledger = store.acquire("small", "test", 1000.0, 1e9)
    trouble: list[str] = []

    class Away(Ledger):
        def succeed(self, *given: Any) -> Job:
            if len(trouble) < 2:
                raise StoreUnavailable("the store did not answer")
            return super().succeed(*given)

    def say(text: str) -> None:
        trouble.append(text)
        clock.now += 3600.0 * (len(trouble) == asleep_at)

    away = Away(**{name.lstrip("_"): value for name, value in vars(ledger).items()})
    (job,) = run(PretendedSlots(), away, clock=clock, steady=steady, on_trouble=say)
    assert (job.phase, len(trouble)) == (Phase.SUCCEEDED, 2)
    assert 0 < job.slot_seconds < 60
    assert 0 < job.active_seconds < 60


def test_nor_is_it_where_the_cluster_was_lost_meanwhile(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"), limits={"activeDeadlineSeconds": 60.0})
    clock, steady = Clock(), Clock()

    class Asleep(Gone):
        def poll(self, timeout_s: float) -> list[Update]:
            clock.now += 3600.0 * (self.polls == 2)
            return super().poll(timeout_s)

    with pytest.raises(ClusterLost):
        run(Asleep(outcome=lambda _key, _attempt: None), clock=clock, steady=steady)
    (job,) = run(PretendedSlots(), clock=clock, steady=steady)
    assert job.phase is Phase.SUCCEEDED
    assert job.active_seconds < 60
