"""The store: submission, leases and fencing, phases with their events, migrations."""

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import alembic.autogenerate
import alembic.migration
import pytest
from sqlalchemy import create_engine

from orchestrator.errors import CohortBusy, LeaseLost, NotFound, Refused, StoreError
from orchestrator.phases import TRANSITIONS, Blame, Phase, Reason
from orchestrator.state import MemberKey
from orchestrator.store import JobResult, Ledger, Store, TrainedWeights
from orchestrator.store.tables import metadata
from tests.orchestrator.cohorts import DATA, epoch, new_job, submit

TRAINED = TrainedWeights("m0.safetensors", "0" * 64, "m0-val.npy")


def take(store: Store, now: float = 100.0) -> Ledger:
    return store.acquire("small", "host:1", now, ttl_s=30)


def run_member(ledger: Ledger, key: MemberKey, at: float = 101.0) -> int:
    return ledger.start(key, "slot-0", "node", at)


def test_a_submission_is_one_transaction(store: Store) -> None:
    broken = new_job("b")
    object.__setattr__(broken, "receipt", {"lines": []})  # no total: fails after team a is written
    with pytest.raises(KeyError):
        submit(store, new_job("a"), broken)
    with pytest.raises(NotFound, match="nothing was submitted yet"):
        store.cohort("small")
    assert store.jobs("small") == ()


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
    submit(store, new_job("a"))
    dearer = new_job("a")
    dearer.receipt["total_bnn"] = 7
    submit(store, dearer)
    (job,) = store.jobs("small")
    assert (job.revision, job.spent_bnn) == (1, 7)


def test_a_superseded_running_job_cancels_what_waits_and_keeps_what_runs(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    ledger = take(store)
    run_member(ledger, MemberKey(1, 0))
    submit(store, new_job("a", num_members=2, seed=9), ledger=ledger)
    old, new = store.jobs("small")
    assert (old.phase, new.phase) == (Phase.SUPERSEDED, Phase.PENDING)
    assert [m.phase for m in old.members] == [Phase.RUNNING, Phase.CANCELLED]
    ledger.stop(MemberKey(1, 0), 1, 105.0)
    assert [m.phase for m in store.jobs("small")[0].members] == [Phase.CANCELLED] * 2


def test_a_member_runs_to_success_and_takes_its_job_along(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    ledger = take(store)
    for index in range(2):
        key = MemberKey(1, index)
        number = run_member(ledger, key, at=101.0 + index)
        ledger.record_epochs([(key, number, epoch(1), 102.0), (key, number, epoch(2, 0.75), 103.0)])
        result = JobResult(0.8) if index == 1 else None
        ledger.succeed(key, number, TRAINED, 110.0, result)
    (job,) = store.jobs("small")
    assert (job.phase, job.started_at, job.ended_at) == (Phase.SUCCEEDED, 101.0, 110.0)
    assert job.val_accuracy == 0.8
    assert job.slot_seconds == (110 - 101) + (110 - 102)
    member = job.members[0]
    assert (member.epoch, member.epochs, member.val_accuracy) == (2, 2, 0.75)
    assert set(store.weights(1)) == {0, 1}
    reasons = [(e.member, e.reason) for e in store.events("small")]
    assert reasons == [
        (None, Reason.QUEUED),
        (0, Reason.TRAINING),
        (0, Reason.COMPLETED),
        (1, Reason.TRAINING),
        (1, Reason.COMPLETED),
        (None, Reason.COMPLETED),
    ]


def test_the_same_epoch_reported_twice_is_kept_once(store: Store) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    number = run_member(ledger, MemberKey(1, 0))
    for _ in range(2):
        ledger.record_epochs([(MemberKey(1, 0), number, epoch(1), 102.0)])
    assert store.epochs(1, 0, number) == [(102.0, epoch(1))]


def test_a_failed_member_fails_its_job_with_the_reason(store: Store) -> None:
    submit(store, new_job("a", num_members=3))
    ledger = take(store)
    run_member(ledger, MemberKey(1, 0))
    number = run_member(ledger, MemberKey(1, 1))
    ledger.fail(MemberKey(1, 1), number, Reason.DIVERGED, "loss is nan", Blame.TEAM, 105.0)
    (job,) = store.jobs("small")
    assert (job.phase, job.reason, job.blame) == (Phase.FAILED, Reason.MEMBER_FAILED, Blame.TEAM)
    assert job.message == "member 1: loss is nan"
    phases = [m.phase for m in job.members]
    assert phases == [Phase.RUNNING, Phase.FAILED, Phase.CANCELLED]


def test_a_job_that_the_cluster_failed_can_be_submitted_again(store: Store) -> None:
    for blame, created in ((Blame.CLUSTER, True), (Blame.TEAM, False)):
        submit(store, new_job(blame))
        ledger, job = take(store), store.jobs("small")[-1]
        number = run_member(ledger, MemberKey(job.id, 0))
        ledger.fail(MemberKey(job.id, 0), number, Reason.SLOT_LOST, "gone", blame, 105.0)
        ledger.release()
        (again,) = submit(store, new_job(blame), at=200.0)
        assert again.created is created


def test_no_team_stays_behind_on_other_data(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"))
    other = replace(DATA, fingerprint="other")
    plan = new_job("a").plans[0]
    moved = plan.model_copy(update={"data": plan.data.model_copy(update={"fingerprint": "other"})})
    ledger = take(store)
    with pytest.raises(Refused, match="not among the files: b"):
        ledger.submit({}, other, [replace(new_job("a"), plans=(moved,))], 200.0)
    assert [(j.team, j.revision) for j in store.jobs("small")] == [("a", 1), ("b", 1)]
    both = [replace(new_job(team), plans=(moved,)) for team in ("a", "b")]
    assert [s.revision for s in ledger.submit({}, other, both, 300.0)] == [2, 2]


def test_jobs_of_two_stores_have_different_names(tmp_path: Path, store: Store) -> None:
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    for each in (store, other):
        submit(each, new_job("a"))
    assert store.jobs("small")[0].uid != other.jobs("small")[0].uid
    other.close()


def test_attempts_are_counted_by_whose_fault_they_ended(store: Store) -> None:
    submit(store, new_job("a"))
    ledger, key = take(store), MemberKey(1, 0)
    for reason, blame in [
        (Reason.SLOT_LOST, Blame.CLUSTER),
        (Reason.ERROR, Blame.TEAM),
        (Reason.SLOT_LOST, Blame.CLUSTER),
    ]:
        ledger.requeue(key, run_member(ledger, key), reason, "gone", blame, 105.0)
    run_member(ledger, key)
    ledger.recover(106.0)
    member = store.jobs("small")[0].members[0]
    assert (member.attempt, member.team_failures, member.cluster_failures) == (4, 1, 2)
    assert (member.phase, member.reason) == (Phase.PENDING, Reason.INTERRUPTED)


def test_a_terminal_phase_is_never_left(store: Store) -> None:
    submit(store, new_job("a"))
    ledger, key = take(store), MemberKey(1, 0)
    number = run_member(ledger, key)
    ledger.succeed(key, number, TRAINED, 110.0, JobResult(0.5))
    for move in (
        lambda: ledger.fail(key, number, Reason.ERROR, "late", Blame.TEAM, 111.0),
        lambda: ledger.requeue(key, number, Reason.SLOT_LOST, "late", Blame.CLUSTER, 111.0),
        lambda: run_member(ledger, key),
    ):
        with pytest.raises(AssertionError):
            move()
    (job,) = store.jobs("small")
    assert (job.phase, job.members[0].phase) == (Phase.SUCCEEDED, Phase.SUCCEEDED)
    assert len(store.events("small")) == 4


def test_every_phase_has_its_transitions_and_terminal_ones_have_none() -> None:
    assert set(TRANSITIONS) == set(Phase)
    terminal = {phase for phase in Phase if phase.terminal}
    assert terminal == {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED}


def test_a_second_controller_is_refused_until_the_lease_has_run_out(store: Store) -> None:
    submit(store, new_job("a"))
    first = store.acquire("small", "host:1", 100.0, ttl_s=30)
    with pytest.raises(CohortBusy, match=r"host:1.*runs out in 20 s"):
        store.acquire("small", "host:2", 110.0, ttl_s=30)
    first.renew(120.0)
    with pytest.raises(CohortBusy):
        store.acquire("small", "host:2", 140.0, ttl_s=30)
    second = store.acquire("small", "host:2", 151.0, ttl_s=30)
    with pytest.raises(LeaseLost):
        first.start(MemberKey(1, 0), "slot-0", "node", 152.0)
    with pytest.raises(LeaseLost):
        first.renew(152.0)
    assert second.start(MemberKey(1, 0), "slot-0", "node", 153.0) == 1


def test_a_released_or_orphaned_lease_is_free_at_once(store: Store) -> None:
    submit(store, new_job("a"))
    store.acquire("small", "host:1", 100.0, ttl_s=30).release()
    store.acquire("small", "host:2", 101.0, ttl_s=30)
    store.acquire("small", "host:3", 102.0, 30, is_gone=lambda holder: holder == "host:2")
    with pytest.raises(CohortBusy):
        store.acquire("small", "host:4", 103.0, 30, is_gone=lambda holder: holder == "host:2")


def test_writers_wait_for_each_other(store: Store) -> None:
    """With a deferred BEGIN, threads that read before they write fail as "database is locked"."""
    ledger = take(store)
    errors: list[Exception] = []

    def write(thread: int) -> None:
        try:
            for number in range(10):
                submit(store, new_job(f"team-{thread}-{number}"), ledger=ledger)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.jobs("small")) == 40


def test_the_migrations_lead_to_the_tables(tmp_path: Path, store: Store) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.connect() as connection:
        context = alembic.migration.MigrationContext.configure(
            connection, opts={"version_table": "game_schema_version"}
        )
        assert alembic.autogenerate.compare_metadata(context, metadata) == []
    engine.dispose()


def test_opening_an_old_store_again_keeps_what_is_in_it(tmp_path: Path, store: Store) -> None:
    submit(store, new_job("a"))
    again = Store(f"sqlite:///{tmp_path / 'store.db'}")
    assert [job.team for job in again.jobs("small")] == ["a"]
    again.close()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite://", "sqlite:////proc/no/store.db", "postgresql+nodriver://localhost/x"],
)
def test_a_store_that_cannot_be_opened_says_what_to_do(url: str) -> None:
    with pytest.raises(StoreError, match="GAME_STORE"):
        Store(url)


def test_a_password_is_not_repeated_in_an_error() -> None:
    with pytest.raises(StoreError) as caught:
        Store("postgresql+nodriver://me:secret@localhost/x")
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("my notes, not a database, and long enough to be read as one" * 20)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a database"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_the_store_is_durable_and_in_write_ahead_mode(tmp_path: Path, store: Store) -> None:
    submit(store, new_job("a"))
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
