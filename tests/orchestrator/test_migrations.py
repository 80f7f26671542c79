"""Stores of older schemas, opened by this version with what is in them."""

import json
import subprocess
import sys
from typing import Any

import alembic.autogenerate
import alembic.command
import alembic.config
import alembic.migration
import alembic.script
import pytest
from sqlalchemy import column, create_engine, insert, table

from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import MemberKey
from orchestrator.store import FittedStacker, JobResult, Lease, Store
from orchestrator.store.database import MIGRATIONS, NEWEST
from orchestrator.store.tables import metadata
from tests.orchestrator.cohorts import TRAINED, new_job, start, submit
from tests.orchestrator.postgres import Server

DATA = {"source": "drawn", "fingerprint": "f", "test_fingerprint": "t", "classes": ["n0", "n1"]}
PLAN = {
    "data": {"fingerprint": "f", "classes": ["n0", "n1"], "image_size_px": 16},
    "model": {"turbo_blocks": 1},
    "augment": {"flip_horizontal_p": 0.2},
    "epochs": 3,
}
RELEASES = ["0001", "0002"]


def job(job_id: int, team: str, phase: str, reason: str, **more: Any) -> dict[str, Any]:
    return {
        "id": job_id,
        "uid": f"u{job_id}",
        "cohort": "small",
        "team": team,
        "revision": 1,
        "digest": "d",
        "data_fingerprint": "f",
        "loadout": f"team: {team}",
        "receipt": json.dumps({"lines": [], "total_bnn": 0}),
        "spent_bnn": 0,
        "combine": "mean",
        "phase": phase,
        "reason": reason,
        "submitted_at": 100,
        "started_at": 110,
        "ended_at": None,
        "val_accuracy": None,
        "blame": None,
        **more,
    }


def member(job_id: int, index: int, phase: str, reason: str) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "idx": index,
        "plan": json.dumps(PLAN),
        "work": 5,
        "epochs": 3,
        "phase": phase,
        "reason": reason,
    }


def attempt(
    job_id: int, index: int, number: int, span: tuple[float, float | None], reason: str, **more: str
) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "idx": index,
        "number": number,
        "slot": f"slot-{number}",
        "node": "node",
        "started_at": span[0],
        "ended_at": span[1],
        "reason": reason,
        "blame": None,
        "weights": None,
        "weights_sha256": None,
        "val_probs": None,
        **more,
    }


def epoch(job_id: int, index: int, attempt: int, number: int, at: float) -> dict[str, Any]:
    rest = ("train_loss", "train_accuracy", "val_loss", "learning_rate", "images_per_second")
    ids = {"job_id": job_id, "idx": index, "attempt": attempt, "epoch": number}
    return {**ids, "at": at, "val_accuracy": number / 10, **dict.fromkeys(rest, 0.5)}


RESULTS = {"weights": "w", "weights_sha256": "s", "val_probs": "p"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "cohorts": [{"name": "small", "spec": "{}", "data": json.dumps(DATA), "submitted_at": 100}],
    "jobs": [
        job(1, "done", "Succeeded", "Completed", ended_at=180, val_accuracy=0.75),
        job(2, "failed", "Failed", "MemberFailed", ended_at=150, blame="team"),
        job(3, "cut-short", "Running", "Training"),
        job(4, "waiting", "Pending", "Queued", started_at=None),
    ],
    "members": [
        member(1, 0, "Succeeded", "Completed"),
        member(1, 1, "Succeeded", "Completed"),
        member(2, 0, "Failed", "Diverged"),
        member(3, 0, "Running", "Training"),
        member(3, 1, "Pending", "Interrupted"),
        member(4, 0, "Pending", "Queued"),
    ],
    "attempts": [
        attempt(1, 0, 1, (110, 130), "Completed", **RESULTS),
        attempt(1, 1, 1, (120, 140), "Completed", **RESULTS),
        attempt(2, 0, 1, (110, 120), "SlotLost", blame="cluster"),
        attempt(2, 0, 2, (130, 150), "Diverged", blame="team"),
        attempt(3, 0, 1, (110, 120), "Interrupted", blame="cluster"),
        attempt(3, 1, 1, (115, 120), "Interrupted", blame="cluster"),
        attempt(3, 0, 2, (160, None), "Training"),
    ],
    "epochs": [
        *(epoch(1, 0, 1, number, 110 + 5 * number) for number in (1, 2, 3)),
        epoch(2, 0, 1, 1, 119),
        epoch(3, 0, 1, 1, 119),
        epoch(3, 0, 2, 1, 163),
        epoch(3, 0, 2, 2, 170),
    ],
    "events": [
        {
            "id": number, "at": 100, "job_id": job_id, "member": None, "kind": "Normal",
            "reason": "Queued", "message": "revision 1 admitted",
        }
        for number, job_id in ((1, 1), (2, 2), (3, 3), (4, 4))
    ],
    "leases": [{"cohort": "small", "holder": "host:1", "token": 7, "expires_at": 205}],
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: Server = request.getfixturevalue("postgres")
    server.execute("DROP DATABASE IF EXISTS empty")
    server.execute("CREATE DATABASE empty")
    return server.url("empty")


def made_by(url: str, release: str) -> Store:
    """A store as that release left it when its controller died, opened by this one."""
    engine = create_engine(url)
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, release)
        for name, rows in ROWS.items():
            connection.execute(insert(table(name, *map(column, rows[0]))), rows)
        if url.startswith("postgresql"):
            for name in ("jobs", "events"):  # rows with ids leave the sequence behind
                connection.exec_driver_sql(f"SELECT setval('{name}_id_seq', 4)")
    engine.dispose()
    return Store(url)


@pytest.mark.parametrize("release", RELEASES)
def test_a_store_of_an_older_release_reads_the_same(empty_url: str, release: str) -> None:
    store = made_by(empty_url, release)
    done, failed, cut_short, waiting = store.jobs("small")
    assert store.cohort("small").side is False
    assert (done.phase, done.val_accuracy, done.val_accuracy_refit) == (Phase.SUCCEEDED, 0.75, None)
    assert (done.slot_seconds, done.active_seconds, done.active_since) == (40.0, 30.0, None)
    assert (done.min_members, done.priority, done.suspended, done.queued_at) == (2, 100, False, 100)
    member = done.members[0]
    assert (member.attempt, member.slot, member.started_at, member.ended_at) == (
        1, "slot-1", 110.0, 130.0,
    )  # fmt: skip
    assert (member.epoch, member.val_accuracy, member.epoch_seconds) == (3, 0.3, 5.0)
    assert (done.members[1].epoch, done.members[1].epoch_seconds) == (0, None)
    assert set(store.weights(1)) == {0, 1}
    assert [report.seconds for _, report in store.epochs(1, 0, 1)] == [5.0] * 3
    assert store.plans(1)[0].epochs == 3
    assert store.stacker(1) is None

    lost = failed.members[0]
    assert (failed.blame, failed.slot_seconds, failed.active_seconds) == (Blame.TEAM, 30.0, 30.0)
    assert (lost.attempt, lost.team_failures, lost.cluster_failures, lost.safe_epoch) == (
        2,
        1,
        1,
        1,
    )
    assert [(a.number, a.epoch, a.reason) for a in store.attempts(2)] == [
        (1, 1, Reason.SLOT_LOST),
        (2, 0, Reason.DIVERGED),
    ]

    on_slot = cut_short.members[0]
    assert (cut_short.slot_seconds, cut_short.active_seconds) == (15.0, 10.0)
    assert cut_short.active_since == 160.0
    assert (on_slot.attempt, on_slot.cluster_failures, on_slot.epoch) == (2, 0, 2)
    assert (on_slot.epoch_seconds, on_slot.ended_at) == (5.0, None)
    assert (waiting.members[0].attempt, waiting.members[0].slot) == (0, None)
    assert [event.team for event in store.events("small")] == [
        "done", "failed", "cut-short", "waiting",
    ]  # fmt: skip
    assert store.lease("small") == Lease("host:1", 205.0, 175.0)
    assert store.measured() == (), "their work was counted in another unit"
    store.close()


@pytest.mark.parametrize("release", RELEASES)
def test_a_store_of_an_older_release_goes_on(empty_url: str, release: str) -> None:
    store = made_by(empty_url, release)
    ledger = store.acquire("small", "host:2", 501.0, 30)
    job = store.job(3)
    assert job.reason == Reason.INTERRUPTED
    assert (job.slot_seconds, job.active_seconds, job.active_since) == (30.0, 25.0, None)
    for index in range(2):
        key = MemberKey(3, index)
        number = start(ledger, key, at=510.0)
        ledger.succeed(key, number, TRAINED, 520.0)
    stacker = FittedStacker("stack.safetensors", "0" * 64)
    ledger.finish(3, JobResult(0.5, 0.6, stacker), 521.0)
    assert (store.job(3).phase, store.stacker(3)) == (Phase.SUCCEEDED, stacker)
    seen = store.changes("small", 0).last_event_id
    store.retry("small", "failed", 530.0)
    submit(store, new_job("new"))
    assert [job.team for job in store.changes("small", seen).jobs] == ["failed", "new"]
    store.close()


def test_the_migrations_lead_to_the_tables(empty_url: str) -> None:
    Store(empty_url).close()
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        context = alembic.migration.MigrationContext.configure(
            connection, opts={"version_table": "game_schema_version"}
        )
        assert alembic.autogenerate.compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_newest_revision_is_known_without_alembic():
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert alembic.script.ScriptDirectory.from_config(config).get_current_head() == NEWEST


def test_a_store_that_is_up_to_date_is_opened_without_alembic(tmp_path):
    url = f"sqlite:///{tmp_path / 'store.db'}"
    Store(url).close()
    code = (
        "import sys; from orchestrator.store import Store; Store(sys.argv[1]).close();"
        "print(*{'alembic', 'sqlalchemy.dialects.postgresql'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, check=True)
    assert done.stdout.split() == []
