"""Stores of older schemas, opened by this version with what is in them."""

import json
from pathlib import Path

import alembic.command
import alembic.config
import pytest
from sqlalchemy import column, create_engine, insert, table

from orchestrator.phases import Phase
from orchestrator.state import MemberKey
from orchestrator.store import FittedStacker, JobResult, Store, TrainedWeights
from orchestrator.store.database import MIGRATIONS
from tests.orchestrator.cohorts import new_job, submit

DATA = {"source": "drawn", "fingerprint": "f", "test_fingerprint": "t", "classes": ["n0", "n1"]}
PLAN = {
    "data": {"fingerprint": "f", "classes": ["n0", "n1"], "image_size_px": 16},
    "model": {"turbo_blocks": 1},
    "augment": {"flip_horizontal_p": 0.2},
    "epochs": 2,
}
ROWS = {
    "cohorts": {"name": "small", "spec": "{}", "data": json.dumps(DATA), "submitted_at": 1},
    "jobs": {
        "id": 1,
        "uid": "u",
        "cohort": "small",
        "team": "old",
        "revision": 1,
        "digest": "d",
        "data_fingerprint": "f",
        "loadout": "team: old",
        "receipt": json.dumps({"lines": [], "total_bnn": 0}),
        "spent_bnn": 0,
        "combine": "mean",
        "phase": "Succeeded",
        "reason": "Completed",
        "submitted_at": 1,
        "started_at": 2,
        "ended_at": 3,
        "val_accuracy": 0.75,
    },
    "members": {
        "job_id": 1,
        "idx": 0,
        "plan": json.dumps(PLAN),
        "work": 1,
        "epochs": 2,
        "phase": "Succeeded",
        "reason": "Completed",
    },
}


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def first_schema(tmp_path: Path) -> None:
    """A store as the first release left it: one job that has ended, with its member."""
    engine = create_engine(url(tmp_path))
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
        for name, row in ROWS.items():
            columns = [column(key) for key in row]
            connection.execute(insert(table(name, *columns)).values(row))
    engine.dispose()


@pytest.mark.usefixtures("first_schema")
def test_a_store_of_the_first_release_is_brought_up_to_date_with_its_rows(tmp_path: Path) -> None:
    store = Store(url(tmp_path))
    (old,) = store.jobs("small")
    assert (old.team, old.phase, old.val_accuracy) == ("old", Phase.SUCCEEDED, 0.75)
    assert old.val_accuracy_refit is None
    assert store.stacker(old.id) is None
    assert store.plans(old.id)[0].epochs == 2

    submit(store, new_job("new"))
    new = store.jobs("small")[-1]
    ledger, key = store.acquire("small", "test", 100.0, 1e9), MemberKey(new.id, 0)
    number = ledger.start(key, "slot-0", "node", 101.0)
    result = JobResult(0.5, 0.75, FittedStacker("stack.safetensors", "0" * 64))
    ledger.succeed(key, number, TrainedWeights("m0", "0" * 64, "m0-val.npy"), 110.0, result)
    new = store.jobs("small")[-1]
    assert (new.val_accuracy, new.val_accuracy_refit) == (0.5, 0.75)
    assert store.stacker(new.id) == result.stacker
    store.close()
