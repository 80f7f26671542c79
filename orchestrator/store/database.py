"""The database under the store: SQLite and PostgreSQL opened alike, the schema up to date.

In: an SQLAlchemy URL. Out: a `Database` with reading and writing transactions that mean the same on
both. Next on the path: `store` and `ledger`.

SQLite runs in write-ahead mode with full synchronisation, so that what a transaction wrote survives
a power cut. A transaction that will write must say so before it reads: with a deferred BEGIN two
writers that have both read deadlock, and one fails with "database is locked" without waiting.
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    String,
    column,
    create_engine,
    event,
    exc,
    func,
    inspect,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from orchestrator.errors import StoreError, StoreUnavailable
from orchestrator.store.urls import SECRET_OPTIONS

DATABASE_ERROR: type[Exception] = SQLAlchemyError
"""What a database raises, for those who use one through MLflow: it lets some of it through."""
MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "game_schema_version"
"""Our own: MLflow has one of the usual name, perhaps in the same database."""
NEWEST = "0004"
"""The revision of the schema that this release reads and writes."""
BUSY_TIMEOUT_MS = 30_000
LIBPQ_DRIVERS = ("psycopg", "psycopg2")
NOTICING = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds, all others seconds
}
"""Its defaults wait for two minutes to connect, and for two hours for an answer: a controller whose
lease lasts 30 s would not even know that it has lost it."""
NOT_STUCK = {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "60s"}
"""Without them a client that freezes in the middle of a transaction, a laptop whose lid is closed,
holds up everybody for as long as its connection looks alive: hours."""
SQLITE_AWAY = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
})  # fmt: skip
POSTGRESQL_STATE = "25"
"""The class of errors of a transaction's state: a server that fails over is read-only meanwhile."""
MIGRATION_LOCK = 20_261_123
"""Any number, as long as nobody else locks the same."""


class Database:
    """An open database. Safe to share between threads."""

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self._engine = _open_engine(url)
        self._clock = clock
        self._writing = self._engine.execution_options(writes=True)
        # SQLite's transactions do so anyway; PostgreSQL's default shows a new moment each query.
        is_sqlite = self._engine.dialect.name == "sqlite"
        isolation = {} if is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self._engine.execution_options(**isolation)

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one moment's state.

        Raises `StoreUnavailable` where the database does not answer, and `StoreError` where it
        refuses.
        """
        with _as_store_error(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is committed at the end, or undone on any error; as `reading`."""
        with _as_store_error(), self._writing.begin() as connection:
            yield connection

    def now(self) -> float:
        """Seconds since the epoch, by the one clock that all who use the database share.

        The server's; of a file this machine's, as all who use it are there. For tests, the one
        that was given.
        """
        if self._clock is not None:
            return self._clock()
        if self._engine.dialect.name == "sqlite":
            return time.time()
        with self.reading() as connection:
            query = select(func.extract("epoch", func.clock_timestamp()))
            return float(connection.scalars(query).one())


def _open_engine(url: str) -> Engine:
    """An engine on an up-to-date schema; the database's folder is made where it is missing.

    Raises `StoreError` where the URL is no database or the database can't be reached.
    """
    try:
        engine = _engine(url)
        try:
            if not _is_newest(engine):
                _migrate(engine, url)
        except BaseException:
            engine.dispose()
            raise
    except (SQLAlchemyError, ImportError, OSError, ValueError) as error:
        raise StoreError(
            f"cannot open the store {_without_password(url)}: {_first_line(error)}. "
            "Check GAME_HOME (a folder that can be written) and GAME_STORE (an SQLAlchemy URL)."
        ) from error
    return engine


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if "@" in (parsed.host or ""):
        raise StoreError(
            f"GAME_STORE is {_without_password(url)}, with an @ in its user or password: write it "
            "as %40"
        )
    if parsed.get_backend_name() != "sqlite":
        # Asking first costs one round trip, and spares the first query after the server was
        # restarted an error.
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=_noticing(parsed))
        if engine.dialect.name == "postgresql":
            event.listen(engine, "connect", _configure_postgresql)
        return engine
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError(
            f"GAME_STORE is {url}, a store in memory, which is gone with its process: "
            "name a file, as in sqlite:///store.db"
        )
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _noticing(url: URL) -> dict[str, int]:
    """What makes libpq notice a server that went away without a word; the URL's own words win."""
    libpq = url.get_backend_name() == "postgresql" and url.get_driver_name() in LIBPQ_DRIVERS
    return {name: n for name, n in NOTICING.items() if libpq and name not in url.query}


def _is_newest(engine: Engine) -> bool:
    """Whether there is nothing to migrate, as nearly always: Alembic takes 0.3 s to say so."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(VERSION_TABLE):
            return False
        query = select(column("version_num", String)).select_from(table(VERSION_TABLE))
        return bool(connection.scalar(query) == NEWEST)


def _migrate(engine: Engine, url: str) -> None:
    """Brings the schema to the newest revision, in one transaction; harmless when it is there.

    Raises `StoreError` where it is of a newer release.
    """
    import alembic.command
    import alembic.config
    from alembic.util import CommandError

    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            # Several processes may open an empty database at once; SQLite's BEGIN sees to it there.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(
                f"the store {_without_password(url)} was written by a newer release "
                f"({_first_line(error)}): use that one, or name another store in GAME_STORE."
            ) from error


def _configure_postgresql(connection: Any, _record: ConnectionPoolEntry) -> None:
    # Not as options of the connection, which a pooler in front of the server may refuse.
    cursor = connection.cursor()
    for name, value in NOT_STUCK.items():
        cursor.execute(f"SET {name} = '{value}'")
    cursor.close()
    connection.commit()


def _configure_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: _begin_sqlite says how.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _without_password(url: str) -> str:
    try:
        parsed = make_url(url).difference_update_query(SECRET_OPTIONS)
        if parsed.host is not None:  # a password's second half, where an @ stands in it
            parsed = parsed.set(host=parsed.host.rpartition("@")[2])
        return parsed.render_as_string()
    except (SQLAlchemyError, ValueError):  # it may have a password all the same
        return repr(re.sub(r"^.*@", "***@", url))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@contextmanager
def _as_store_error() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        if _is_away(error):
            raise StoreUnavailable(f"the store did not answer: {_cause(error)}") from error
        raise StoreError(f"the store refused: {_cause(error)}") from error


def _is_away(error: SQLAlchemyError) -> bool:
    """Whether asking again may help: against lost connections, locks, full disks, a server that is
    starting. What remains are rights, damage and mistakes of ours."""
    driver = getattr(error, "orig", None)
    if isinstance(driver, sqlite3.Error):
        return getattr(driver, "sqlite_errorcode", -1) & 0xFF in SQLITE_AWAY
    if isinstance(error, exc.InternalError):
        return str(getattr(driver, "sqlstate", "")).startswith(POSTGRESQL_STATE)
    return isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError)


def _cause(error: SQLAlchemyError) -> str:
    return _first_line(getattr(error, "orig", None) or error)
