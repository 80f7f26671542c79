"""Reading the store: lists, what has changed since, epochs, attempts and measured speeds."""

import pytest

from orchestrator.admission.cohort import Retry
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, MemberKey
from orchestrator.store import JobResult, Store
from orchestrator.store.reads import IDS_A_QUERY
from tests.orchestrator.cohorts import TRAINED, epoch, new_job, start, submit, take

KEY = MemberKey(1, 0)
GONE = Fault(Reason.SLOT_LOST, "gone", Blame.CLUSTER)


@pytest.fixture
def store(each_store: Store) -> Store:
    return each_store


def test_a_watcher_lists_once_and_then_reads_only_what_has_changed(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"))
    submit(store, new_job("elsewhere"), name="other")
    listed = store.changes("small", 0)
    assert listed.jobs == store.jobs("small")
    assert store.changes("small", listed.last_event_id).jobs == ()

    store.suspend("small", "b", 110.0)
    submit(store, new_job("c"))
    store.cancel("other", "elsewhere", 110.0)
    changes = store.changes("small", listed.last_event_id)
    assert [(job.team, job.suspended) for job in changes.jobs] == [("b", True), ("c", False)]
    assert changes.last_event_id > listed.last_event_id
    nothing = store.changes("small", changes.last_event_id)
    assert (nothing.jobs, nothing.last_event_id) == ((), changes.last_event_id)
    assert store.changes("unknown", 0).jobs == ()


def test_epochs_make_no_event_and_are_seen_by_who_asks_for_the_job(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"))
    ledger = take(store)
    number = start(ledger, KEY)
    seen = store.changes("small", 0).last_event_id
    ledger.record_epochs([(KEY, number, epoch(1), 102.0)])
    assert store.changes("small", seen).jobs == ()
    (job,) = store.changes("small", seen, also=[1, 99]).jobs
    assert (job.team, job.members[0].epoch) == ("a", 1)


def test_more_jobs_than_a_query_names_are_read_in_order(store: Store) -> None:
    submit(store, new_job("first"))
    seen = store.changes("small", 0).last_event_id
    num_jobs = IDS_A_QUERY + 5
    submit(store, *(new_job(f"team-{number}") for number in range(num_jobs)))
    changed = store.changes("small", seen).jobs
    assert changed == store.jobs("small")[1:]
    assert [job.team for job in changed] == [f"team-{number}" for number in range(num_jobs)]


def test_the_same_epoch_reported_twice_is_kept_once(store: Store) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    number = start(ledger, KEY)
    for at in (102.0, 103.0):
        ledger.record_epochs([(KEY, number, epoch(1), at)])
    assert store.epochs(1, 0, number) == [(102.0, epoch(1))]
    assert store.epochs(1, 0, number, after=1) == []


def test_a_member_shows_the_progress_of_its_newest_attempt(store: Store) -> None:
    submit(store, new_job("a", epochs=5))
    ledger = take(store)
    took = [epoch(n, n / 10).model_copy(update={"seconds": float(n)}) for n in range(1, 5)]
    first = start(ledger, KEY)
    ledger.record_epochs([(KEY, first, report, 102.0) for report in took[:3]])
    member = store.job(1).members[0]
    assert (member.epoch, member.val_accuracy, member.epoch_seconds) == (3, 0.3, 2.0)
    ledger.fail(KEY, first, GONE, Retry(), 105.0)

    second = start(ledger, KEY, at=110.0, slot="slot-1")
    member = store.job(1).members[0]
    assert (member.attempt, member.slot, member.epoch) == (2, "slot-1", 3)
    # It goes on from epoch 2's checkpoint, whose history it repeats.
    ledger.record_epochs([(KEY, second, report, 112.0) for report in took[:2]])
    assert store.job(1).members[0].epoch == 2
    ledger.record_epochs([(KEY, second, report, 113.0) for report in took[2:4]])
    member = store.job(1).members[0]
    assert (member.epoch, member.val_accuracy, member.epoch_seconds) == (4, 0.4, 2.5)
    assert [(a.number, a.epoch) for a in store.attempts(1)] == [(1, 3), (2, 4)]
    assert [report.epoch for _, report in store.epochs(1, 0, second)] == [1, 2, 3, 4]


def test_an_attempt_that_ends_before_it_tells_them_again_takes_no_epochs_away(
    store: Store,
) -> None:
    submit(store, new_job("a", epochs=5))
    ledger = take(store)
    first = start(ledger, KEY)
    ledger.record_epochs([(KEY, first, epoch(n), 100.0 + n) for n in range(1, 4)])
    ledger.fail(KEY, first, GONE, Retry(), 105.0)
    second = start(ledger, KEY, at=110.0)
    ledger.record_epochs([(KEY, second, epoch(1), 111.0)])
    ledger.fail(KEY, second, GONE, Retry(), 112.0)
    start(ledger, KEY, at=120.0)
    assert store.epochs(1, 0, 3) == []
    assert [at for at, _ in store.history(1, 0)] == [111.0, 102.0, 103.0]
    assert store.history(1, 0, after=2) == [(103.0, epoch(3))]


def test_epochs_without_a_duration_measure_nothing(store: Store) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    untimed = epoch(1).model_copy(update={"seconds": 0.0})
    ledger.record_epochs([(KEY, start(ledger, KEY), untimed, 102.0)])
    assert store.job(1).members[0].epoch_seconds is None


def test_events_of_a_team_and_newer_ones(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"))
    store.prioritize("small", "a", 101.0, 7)
    store.suspend("small", "b", 102.0)
    told = store.events("small")
    assert [(e.team, e.reason) for e in told] == [
        ("a", Reason.QUEUED),
        ("b", Reason.QUEUED),
        ("a", Reason.PRIORITY_CHANGED),
        ("b", Reason.SUSPENDED),
    ]
    assert store.events("small", team="b") == [told[1], told[3]]
    assert store.events("small", told[1].id, team="a") == [told[2]]


def test_measured_members_are_of_all_cohorts_and_the_newest_come_first(store: Store) -> None:
    for job_id, name in ((1, "small"), (2, "other"), (3, "third")):
        submit(store, new_job("a"), name=name)
        ledger, key = store.acquire(name, "host:1", 100.0, 30), MemberKey(job_id, 0)
        number = start(ledger, key)
        if name != "other":
            ledger.record_epochs([(key, number, epoch(1), 102.0)])
        ledger.succeed(key, number, TRAINED, 110.0 + job_id)
        ledger.finish(job_id, JobResult(0.5), 120.0)
    submit(store, new_job("running"))
    ledger, key = take(store, now=200.0), MemberKey(4, 0)
    ledger.record_epochs([(key, start(ledger, key), epoch(1), 202.0)])
    assert [m.key for m in store.measured()] == [MemberKey(3, 0), MemberKey(1, 0)]
    (newest,) = store.measured(limit=1)
    assert (newest.phase, newest.kind, newest.epoch_seconds) == (Phase.SUCCEEDED, "base", 1.0)
