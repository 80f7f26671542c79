"""Figures for Prometheus: counted from jobs, told every now and then, retries from the store."""

from dataclasses import dataclass, field

from orchestrator.admission.cohort import Retry
from orchestrator.cluster.gauges import SET_EVERY_S, Gauges, figures
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, MemberKey
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, start, submit, take

LOST = Fault(Reason.SLOT_LOST, "gone", Blame.CLUSTER)
DIVERGED = Fault(Reason.DIVERGED, "nan", Blame.TEAM)


@dataclass
class Told:
    """A meter that keeps what it is told."""

    gauges: dict[str, float] = field(default_factory=dict)
    counters: dict[str, float] = field(default_factory=dict)

    def set(self, name: str, value: float, **tags: str) -> None:
        self.gauges[" ".join([name, *tags.values()])] = value

    def add(self, name: str, value: float, **tags: str) -> None:
        assert value > 0
        key = " ".join([name, *tags.values()])
        self.counters[key] = self.counters.get(key, 0) + value


def test_members_are_counted_by_where_they_stand(store: Store) -> None:
    submit(store, new_job("a", num_members=3), new_job("b"), new_job("c", num_members=2))
    ledger = take(store)
    start(ledger, MemberKey(1, 0))
    store.suspend("small", "c", 102.0)
    store.cancel("small", "b", 102.0)
    now = figures(store.jobs("small"))
    assert (now.queue_length, now.slots_busy) == (2, 1)
    assert now.finished == {
        Phase.SUCCEEDED: 0,
        Phase.FAILED: 0,
        Phase.CANCELLED: 1,
        Phase.SUPERSEDED: 0,
    }


def test_figures_are_told_once_in_a_while_and_counters_only_grow(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    jobs = store.jobs("small")
    now = 100.0
    retries = {Blame.CLUSTER: 2}
    told = Told()
    gauges = Gauges(told, lambda: retries, lambda: now)
    gauges.show(jobs, 4)
    assert told.gauges["queue_length"] == 2
    assert told.gauges["slots"] == 4
    assert told.gauges["members_finished Succeeded"] == 0
    assert told.counters == {"retries cluster": 2}
    retries |= {Blame.CLUSTER: 5, Blame.TEAM: 1}
    gauges.show([], 3)
    assert told.gauges["slots"] == 4, "it is too early"
    now += SET_EVERY_S
    gauges.show([], 3)
    assert (told.gauges["slots"], told.gauges["queue_length"]) == (3, 0)
    assert told.counters == {"retries cluster": 5, "retries team": 1}
    now += SET_EVERY_S
    gauges.show([], 3)
    assert told.counters == {"retries cluster": 5, "retries team": 1}


def test_retries_are_attempts_after_one_that_failed_by_its_blame(each_store: Store) -> None:
    store = each_store
    submit(store, new_job("a", num_members=2), new_job("b"))
    ledger = take(store)
    rules = Retry(backoff_limit=1)
    key, other, bad = MemberKey(1, 0), MemberKey(1, 1), MemberKey(2, 0)
    for member, fault in ((key, LOST), (key, LOST), (other, LOST), (bad, DIVERGED)):
        ledger.fail(member, start(ledger, member), fault, rules, 105.0)
    assert store.retries("small") == {Blame.CLUSTER: 1}, "nothing came after the others yet"
    start(ledger, bad)
    start(ledger, key)
    assert store.retries("small") == {Blame.CLUSTER: 2, Blame.TEAM: 1}
    assert store.retries("other") == {}
