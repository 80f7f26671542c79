"""The database under the store: what cannot be opened, durability, and a server that goes away."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from orchestrator.errors import StoreError, StoreUnavailable
from orchestrator.store import Store
from orchestrator.store.database import NOT_STUCK
from orchestrator.store.writes import lock_cohort
from tests.orchestrator.cohorts import epoch, new_job, start, submit, take
from tests.orchestrator.postgres import Server
from tests.orchestrator.test_detached import until
from tests.orchestrator.test_lease import KEY, LEASE_WRITES, WRITES


def test_opening_a_store_again_keeps_what_is_in_it(store_url: str, each_store: Store) -> None:
    submit(each_store, new_job("a"))
    again = Store(store_url)
    assert [job.team for job in again.jobs("small")] == ["a"]
    again.close()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite://",
        "sqlite:////proc/no/store.db",
        "postgresql+nodriver://localhost/x",
        "postgresql+psycopg://localhost:port/x",
    ],
)
def test_a_store_that_cannot_be_opened_says_what_to_do(url: str) -> None:
    with pytest.raises(StoreError, match="GAME_STORE"):
        Store(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+nodriver://me:secret@localhost/x",
        "postgresql+nodriver://localhost/x?user=me&password=secret",
        "postgresql+psycopg://me:secret@localhost:port/x",
        "postgresql psycopg://me:secret@localhost/x",
        "postgresql+psycopg:/me:secret@localhost/x",
        "postgresql+psycopg//me:secret@localhost/x",
        "postgresql+psycopg://me:half@secret@localhost/x",
    ],
)
def test_a_password_is_not_repeated_in_an_error(url: str) -> None:
    with pytest.raises(StoreError, match="localhost") as caught:
        Store(url)
    assert "secret" not in str(caught.value)


def test_a_server_that_says_nothing_any_more_is_given_up(postgres: Server) -> None:
    postgres.execute("CREATE DATABASE silent TEMPLATE template")
    url = f"{postgres.url('silent')}&connect_timeout=7"
    store = Store(url)
    with store._database.reading() as connection:
        driver: Any = connection.connection.driver_connection
        told = driver.info.get_parameters()
    store.close()
    assert (told["connect_timeout"], told["tcp_user_timeout"]) == ("7", "25000")


def test_a_client_that_freezes_in_a_transaction_holds_nobody_up_for_long(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.execute("CREATE DATABASE frozen TEMPLATE template")
    monkeypatch.setitem(NOT_STUCK, "lock_timeout", "200ms")
    monkeypatch.setitem(NOT_STUCK, "idle_in_transaction_session_timeout", "5s")
    store, frozen = Store(postgres.url("frozen")), Store(postgres.url("frozen"))
    submit(store, new_job("a"))

    def handed_in() -> bool:
        with suppress(StoreUnavailable):
            submit(store, new_job("b"))
        return len(store.jobs("small")) == 2

    with pytest.raises(StoreUnavailable), frozen._database.writing() as connection:  # noqa: PT012
        lock_cohort(connection, "small")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            submit(store, new_job("b"))
        until(handed_in)  # the server has closed the frozen session
        connection.execute(text("SELECT 1"))
    store.close()
    frozen.close()


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("my notes, not a database, and long enough to be read as one" * 20)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a database"):
        Store(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_store_of_a_newer_release_is_left_alone(store_url: str, each_store: Store) -> None:
    engine = create_engine(store_url)

    def set_version(version: str) -> str:
        """Writes the schema's version; returns what it was."""
        with engine.begin() as connection:
            query = "SELECT version_num FROM game_schema_version"
            before: str = connection.execute(text(query)).scalar_one()
            statement = "UPDATE game_schema_version SET version_num = :version"
            connection.execute(text(statement), {"version": version})
        return before

    ours = set_version("9999")
    try:
        with pytest.raises(StoreError, match="written by a newer release"):
            Store(store_url)
    finally:
        assert set_version(ours) == "9999"  # other tests go on with this database
        engine.dispose()


def test_the_store_is_durable_and_in_write_ahead_mode(tmp_path: Path, store: Store) -> None:
    submit(store, new_job("a"))
    with sqlite3.connect(tmp_path / "store.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_watchers_wait_for_a_query_on_an_index(tmp_path: Path, store: Store) -> None:
    submit(store, new_job("a"))
    with sqlite3.connect(tmp_path / "store.db") as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT id, job_id FROM events WHERE cohort = 'small' AND id > 7"
        ).fetchall()
    connection.close()
    assert "USING INDEX ix_events_cohort (cohort=? AND id>?)" in str(plan)


def test_a_server_that_goes_away_is_an_error_of_the_store_and_no_harm(postgres: Server) -> None:
    postgres.execute("CREATE DATABASE away TEMPLATE template")
    store = Store(postgres.url("away"))
    submit(store, new_job("a"))
    ledger = take(store)
    start(ledger, KEY)
    before = store.jobs("small")
    postgres.stop()
    try:
        for call in (
            lambda: store.jobs("small"),
            lambda: store.changes("small", 1),
            lambda: store.lease("small"),
            lambda: store.cancel("small", "a", 152.0),
            lambda: submit(store, new_job("b")),
            lambda: store.acquire("other", "host:2", 152.0, 30),
        ):
            with pytest.raises(StoreUnavailable, match="the store did not answer"):
                call()
        for write in (WRITES | LEASE_WRITES).values():
            with pytest.raises(StoreUnavailable, match="the store did not answer"):
                write(ledger)
    finally:
        postgres.start()
    assert store.jobs("small") == before
    ledger.record_epochs([(KEY, 1, epoch(1), 110.0)])
    assert store.job(1).members[0].epoch == 1
    store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO game_schema_version VALUES (NULL)",
        "SELECT no_such_column FROM jobs",
        "SELECT 1 FROM no_such_table",
        "SELEC 1",
    ],
)
def test_what_a_store_refuses_is_not_called_a_store_that_is_away(
    each_store: Store, statement: str
) -> None:
    with pytest.raises(StoreError, match="the store refused: ") as caught:  # noqa: SIM117
        with each_store._database.writing() as connection:
            connection.execute(text(statement))
    assert not isinstance(caught.value, StoreUnavailable)


def _deleting(store: Store, pragma: str) -> None:
    with store._database.reading() as connection:
        connection.execute(text(f"PRAGMA {pragma}"))
        connection.execute(text("DELETE FROM jobs"))


def test_a_file_that_may_only_be_read_and_one_that_is_locked_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(f"sqlite:///{path}")
    with pytest.raises(StoreError, match=r"refused: .*readonly") as refused:
        _deleting(store, "query_only = ON")
    assert not isinstance(refused.value, StoreUnavailable)
    store.close()
    store = Store(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            _deleting(store, "busy_timeout = 1")
    store.close()


def test_a_server_that_was_restarted_between_two_calls_goes_unnoticed(postgres: Server) -> None:
    postgres.execute("CREATE DATABASE restarted TEMPLATE template")
    store = Store(postgres.url("restarted"))
    submit(store, new_job("a"))
    postgres.stop()
    postgres.start()
    assert [job.team for job in store.jobs("small")] == ["a"]
    store.close()


def test_a_transaction_that_the_server_ends_is_undone(postgres: Server) -> None:
    postgres.execute("CREATE DATABASE ended TEMPLATE template")
    store = Store(postgres.url("ended"))

    class Receipt(dict[str, object]):
        """A receipt during whose reading the server ends every connection to the store."""

        def __getitem__(self, key: str) -> object:
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'ended'"
            )
            return super().__getitem__(key)

    submit(store, new_job("a"))
    broken = new_job("b")
    object.__setattr__(broken, "receipt", Receipt(broken.receipt))
    with pytest.raises(StoreUnavailable, match="the store did not answer"):
        submit(store, new_job("c"), broken)
    assert [job.team for job in store.jobs("small")] == ["a"]
    store.close()
