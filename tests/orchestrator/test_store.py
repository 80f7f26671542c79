"""The store: submission, what slots tell, reading and watching; on SQLite and on PostgreSQL."""

from dataclasses import replace
from functools import partial

import pytest

from orchestrator.admission.cohort import Retry
from orchestrator.errors import NotFound, Refused
from orchestrator.moves import Change, Note
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, Job, MemberKey
from orchestrator.store import FittedStacker, JobResult, Store
from orchestrator.store.database import Database
from orchestrator.store.writes import write
from tests.orchestrator.cohorts import DATA, TRAINED, epoch, new_job, start, submit, take
from tests.orchestrator.racing import at_once

KEY = MemberKey(1, 0)
NAN = Fault(Reason.DIVERGED, "loss is nan", Blame.TEAM)
GONE = Fault(Reason.SLOT_LOST, "gone", Blame.CLUSTER)


@pytest.fixture
def store(each_store: Store) -> Store:
    return each_store


# --- submissions ----------------------------------------------------------------------------------


def test_a_submission_is_one_transaction(store: Store) -> None:
    broken = new_job("b")
    object.__setattr__(broken, "receipt", {"lines": []})  # no total: fails after team a is written
    with pytest.raises(KeyError):
        submit(store, new_job("a"), broken)
    with pytest.raises(NotFound, match="nothing was submitted yet"):
        store.cohort("small")
    assert store.jobs("small") == ()


def test_a_new_job_waits_with_what_was_asked_for(store: Store) -> None:
    submit(store, new_job("a", num_members=3, min_members=2, work=7.0), at=150.0)
    (job,) = store.jobs("small")
    assert (job.phase, job.reason, job.submitted_at, job.queued_at) == (
        Phase.PENDING, Reason.QUEUED, 150.0, 150.0,
    )  # fmt: skip
    assert (job.min_members, job.priority, job.suspended) == (2, 100, False)
    assert [(m.kind, m.work, m.attempt) for m in job.members] == [("base", 7.0, 0)] * 3
    assert store.job(job.id) == job
    with pytest.raises(NotFound, match="no job 99"):
        store.job(99)


def test_an_unchanged_job_is_not_submitted_twice(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"))
    again = submit(store, new_job("a"), new_job("b", seed=5), at=200.0)
    assert [(s.team, s.revision, s.created) for s in again] == [("a", 1, False), ("b", 2, True)]
    phases = {(job.team, job.revision): job.phase for job in store.jobs("small")}
    assert phases == {
        ("a", 1): Phase.PENDING,
        ("b", 1): Phase.SUPERSEDED,
        ("b", 2): Phase.PENDING,
    }


def test_another_price_changes_the_receipt_but_runs_nothing(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    dearer = new_job("a", num_members=2, min_members=1)
    dearer.receipt["total_bnn"] = 7
    submit(store, dearer)
    (job,) = store.jobs("small")
    assert (job.revision, job.spent_bnn, job.min_members) == (1, 7, 1)


def test_a_superseded_running_job_cancels_what_waits_and_keeps_what_runs(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    ledger = take(store)
    start(ledger, KEY)
    submit(store, new_job("a", num_members=2, seed=9))
    old, new = store.jobs("small")
    assert (old.phase, new.phase) == (Phase.SUPERSEDED, Phase.PENDING)
    assert [m.phase for m in old.members] == [Phase.RUNNING, Phase.CANCELLED]
    ledger.halt(KEY, 1, 105.0)
    assert [m.phase for m in store.jobs("small")[0].members] == [Phase.CANCELLED] * 2


def test_no_team_stays_behind_on_other_data(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"))
    other = replace(DATA, fingerprint="other")
    plan = new_job("a").plans[0]
    moved = plan.model_copy(update={"data": plan.data.model_copy(update={"fingerprint": "other"})})
    with pytest.raises(Refused, match="not among the files: b"):
        store.submit("small", {}, other, [replace(new_job("a"), plans=(moved,))], 200.0)
    assert [(j.team, j.revision) for j in store.jobs("small")] == [("a", 1), ("b", 1)]
    both = [replace(new_job(team), plans=(moved,)) for team in ("a", "b")]
    assert [s.revision for s in store.submit("small", {}, other, both, 300.0)] == [2, 2]
    assert store.cohort("small").data == other


def test_jobs_of_two_cohorts_have_different_names(store: Store) -> None:
    submit(store, new_job("a"))
    submit(store, new_job("a"), name="other")
    assert store.jobs("small")[0].uid != store.jobs("other")[0].uid


# --- what slots tell ------------------------------------------------------------------------------


def test_members_run_to_success_and_their_job_is_finished(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    ledger = take(store)
    for index in range(2):
        key = MemberKey(1, index)
        number = start(ledger, key, at=101.0 + 20 * index)
        ledger.record_epochs([(key, number, epoch(1), 102.0), (key, number, epoch(2, 0.75), 103.0)])
        job = ledger.succeed(key, number, TRAINED, 110.0 + 20 * index)
        assert store.job(1) == job
    stacker = FittedStacker("stack.safetensors", "0" * 64)
    job = ledger.finish(1, JobResult(0.8, 0.9, stacker), 131.0)
    assert store.jobs("small") == (job,)
    assert (job.phase, job.started_at, job.ended_at) == (Phase.SUCCEEDED, 101.0, 131.0)
    assert (job.val_accuracy, job.val_accuracy_refit) == (0.8, 0.9)
    assert (job.slot_seconds, job.active_seconds) == (9 + 9, 9 + 9)
    member = job.members[0]
    assert (member.epoch, member.epochs, member.val_accuracy) == (2, 2, 0.75)
    assert store.weights(1) == {0: TRAINED, 1: TRAINED}
    assert store.stacker(1) == stacker
    reasons = [(e.member, e.reason) for e in store.events("small")]
    assert reasons == [
        (None, Reason.QUEUED),
        (0, Reason.TRAINING),
        (0, Reason.COMPLETED),
        (1, Reason.TRAINING),
        (1, Reason.COMPLETED),
        (None, Reason.COMPLETED),
    ]
    assert ledger.finish(1, JobResult(0.1), 120.0) == job, "a second time changes nothing"


def test_a_job_is_not_finished_before_its_members(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    ledger = take(store)
    before = ledger.succeed(KEY, start(ledger, KEY), TRAINED, 110.0)
    assert ledger.finish(1, JobResult(0.8), 111.0) == before


def test_a_failed_member_waits_is_tried_again_and_then_fails_its_job(store: Store) -> None:
    submit(store, new_job("a", num_members=3))
    ledger, retry = take(store), Retry(backoff_limit=1)
    start(ledger, MemberKey(1, 1))
    job = ledger.fail(KEY, start(ledger, KEY), NAN, retry, 105.0)
    waiting = job.members[0]
    assert (waiting.phase, waiting.reason, waiting.not_before) == (
        Phase.PENDING, Reason.BACK_OFF, 106.0,
    )  # fmt: skip
    job = ledger.fail(KEY, start(ledger, KEY, at=106.0), NAN, retry, 107.0)
    assert (job.phase, job.reason, job.blame) == (Phase.FAILED, Reason.MEMBER_FAILED, Blame.TEAM)
    assert job.message == "member 0: loss is nan"
    assert [m.phase for m in job.members] == [Phase.FAILED, Phase.RUNNING, Phase.CANCELLED]
    assert store.job(1) == job
    tried = [(a.number, a.started_at, a.ended_at, a.reason, a.blame) for a in store.attempts(1)]
    assert tried == [
        (1, 101.0, 105.0, Reason.DIVERGED, Blame.TEAM),
        (2, 106.0, 107.0, Reason.DIVERGED, Blame.TEAM),
        (1, 101.0, None, Reason.TRAINING, None),
    ]


def test_a_job_that_lost_a_member_goes_on_and_only_trained_ones_have_weights(store: Store) -> None:
    submit(store, new_job("a", num_members=2, min_members=1))
    ledger, other = take(store), MemberKey(1, 1)
    ledger.fail(KEY, start(ledger, KEY), NAN, Retry(), 105.0)
    ledger.succeed(other, start(ledger, other), TRAINED, 110.0)
    assert set(store.weights(1)) == {1}
    job = ledger.finish(1, JobResult(0.6), 111.0)
    assert (job.phase, job.reason) == (Phase.SUCCEEDED, Reason.DEGRADED)


def test_a_job_that_the_cluster_failed_goes_on_when_it_is_submitted_again(store: Store) -> None:
    for blame, phase in ((Blame.CLUSTER, Phase.PENDING), (Blame.TEAM, Phase.FAILED)):
        submit(store, new_job(blame, num_members=2, min_members=2))
        ledger, job_id = take(store), store.jobs("small")[-1].id
        key, other = MemberKey(job_id, 0), MemberKey(job_id, 1)
        ledger.succeed(other, start(ledger, other), TRAINED, 104.0)
        fault = Fault(Reason.STORAGE, "disk full", blame)
        ledger.fail(key, start(ledger, key), fault, Retry(cluster_retries=0), 105.0)
        ledger.release()
        dearer = {"lines": [], "total_bnn": 30, "budget_bnn": 100}
        job = replace(new_job(blame, num_members=2, min_members=1), receipt=dearer)
        (again,) = submit(store, job, at=200.0)
        assert (again.revision, again.created) == (1, False)
        assert again.retried is (blame is Blame.CLUSTER)
        after = store.job(job_id)
        assert after.phase is phase
        assert [each.phase for each in after.members] == [phase, Phase.SUCCEEDED]
        assert after.min_members == 1
    assert [job.spent_bnn for job in store.jobs("small")] == [30, 30]
    assert "handed in again" in [event.message for event in store.events("small")]


def test_a_job_is_given_up_once(store: Store) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    start(ledger, KEY)
    job = ledger.give_up(1, Fault(Reason.DEADLINE_EXCEEDED, "too long", Blame.TEAM), 200.0)
    assert (job.phase, job.reason, job.ended_at) == (Phase.FAILED, "DeadlineExceeded", 200.0)
    assert ledger.give_up(1, GONE, 201.0) == job == store.job(1)
    assert ledger.halt(KEY, 1, 202.0).members[0].phase is Phase.CANCELLED


def test_the_last_epochs_are_written_with_the_result(store: Store) -> None:
    submit(store, new_job("a", epochs=2))
    ledger = take(store)
    number = start(ledger, KEY)
    ledger.record_epochs([(KEY, number, epoch(1), 102.0)])
    job = ledger.succeed(KEY, number, TRAINED, 104.0, [(KEY, number, epoch(2, 0.75), 103.0)])
    assert (job.members[0].phase, job.members[0].epoch) == (Phase.SUCCEEDED, 2)
    assert job.members[0].val_accuracy == 0.75
    assert [report.epoch for _, report in store.epochs(1, 0, number)] == [1, 2]


def test_updates_that_come_too_late_change_nothing(store: Store) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    first = start(ledger, KEY)
    job = ledger.fail(KEY, first, GONE, Retry(), 105.0)
    for _ in range(2):  # once while the member waits, once with its next attempt under way
        num_events = len(store.events("small"))
        assert ledger.succeed(KEY, first, TRAINED, 106.0) == job
        assert ledger.fail(KEY, first, NAN, Retry(), 106.0) == job
        assert ledger.halt(KEY, first, 106.0) == job
        late = [(KEY, first, epoch(1), 106.0)]
        ledger.record_epochs(late)
        assert ledger.succeed(KEY, first, TRAINED, 106.0, late) == job
        assert (store.job(1), len(store.events("small"))) == (job, num_events)
        if job.members[0].phase is Phase.PENDING:
            job = ledger.start(KEY, "slot-1", "node", 107.0)
    assert store.epochs(1, 0, first) == []
    assert store.weights(1) == {}


def test_a_forbidden_move_is_our_own_error_and_undoes_its_transaction(
    store: Store, store_url: str
) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    ledger.succeed(KEY, start(ledger, KEY), TRAINED, 110.0)
    job = ledger.finish(1, JobResult(0.5), 110.0)
    num_events = len(store.events("small"))
    again = replace(job, phase=Phase.RUNNING)
    told = Change(again, (Note(None, Reason.TRAINING, "again"),))
    stale = replace(job, phase=Phase.PENDING)
    database = Database(store_url)

    def move(before: Job) -> None:
        with database.writing() as connection:
            write(connection, job, Change(replace(job, val_accuracy=0.9)), 111.0)
            write(connection, before, told, 111.0)

    for before, problem in ((job, "Succeeded to Running"), (stale, "not Pending any more")):
        with pytest.raises(AssertionError, match=problem):
            move(before)
    database.close()
    assert store.job(1) == job
    assert len(store.events("small")) == num_events


def test_no_member_is_on_two_slots(store: Store) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    start(ledger, KEY)
    with pytest.raises(AssertionError, match="on a slot already"):
        start(ledger, KEY)


def test_messages_may_contain_what_no_database_takes(store: Store) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    fault = Fault(Reason.ERROR, "cannot read 'caf\udce9\0.png'", Blame.TEAM)
    ledger.fail(KEY, start(ledger, KEY), fault, Retry(), 105.0)
    shown = "cannot read 'caf?\ufffd.png'"
    assert store.job(1).message == store.attempts(1)[0].message == shown
    assert store.events("small")[-1].message == shown


def test_writers_wait_for_each_other(store: Store) -> None:
    """With a deferred BEGIN, threads that read before they write fail as "database is locked"."""

    def hand_in(thread: int) -> None:
        for number in range(5):
            submit(store, new_job(f"team-{thread}-{number}"), new_job("all", seed=thread))

    assert at_once(*(partial(hand_in, thread) for thread in range(8))) == []
    jobs = store.jobs("small")
    assert sum(job.team != "all" for job in jobs) == 40
    shared = [job for job in jobs if job.team == "all"]
    assert [job.revision for job in shared] == list(range(1, len(shared) + 1))
    assert [job.phase for job in shared[:-1]] == [Phase.SUPERSEDED] * (len(shared) - 1)
