"""What all games of a session of tests share, because it takes each of them long to make.

Exports by one process: torch and MLflow take it seconds to import. And the schema of fresh SQLite
files, copied from what real migrations made once: each takes half a second. What is no empty SQLite
file is migrated as ever, and what other processes do is all their own.
"""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator.settings import Settings
from orchestrator.store import database
from orchestrator.store.database import Database
from orchestrator.tracking import client
from orchestrator.tracking.exporter import Exporter

MIGRATE = database._migrate
MAKE_MLFLOW = client._make_database
TRANSACTION = {"BEGIN TRANSACTION;", "COMMIT;"}


class LastingExporter:
    """An exporter whose process goes on when a game ends: it takes seconds to start."""

    def __init__(self) -> None:
        self._exporter = Exporter()
        self._turn = threading.Lock()

    def export(self, architecture: dict[str, object], into: Path) -> None:
        with self._turn:
            self._exporter.export(architecture, into)

    def close(self) -> None:
        """Nothing: `end` does."""

    def end(self) -> None:
        self._exporter.close()


@contextmanager
def one_exporter(templates: Path) -> Iterator[None]:
    """Within it, games keep their templates in that folder and export with one process."""
    exporter = LastingExporter()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Settings, "model_templates", property(lambda _self: templates))
        patched.setattr("orchestrator.tracking.templates.Exporter", lambda: exporter)
        try:
            yield
        finally:
            exporter.end()


@contextmanager
def copied_schemas(folder: Path) -> Iterator[None]:
    """Within it, this process migrates one SQLite file of each kind, in that folder."""

    store = folder / "store.db"
    Database(f"sqlite:///{store}").close()

    def migrate(engine: Engine, url: str) -> None:
        if engine.dialect.name == "sqlite":
            with engine.execution_options(writes=True).begin() as connection:
                if connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first() is None:
                    for statement in _dump(store):
                        connection.exec_driver_sql(statement)
        if not database._is_newest(engine):
            MIGRATE(engine, url)

    def make_mlflow(path: Path) -> None:
        if not path.exists():
            mlflow = folder / "mlflow.db"
            MAKE_MLFLOW(mlflow)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(mlflow, path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database, "_migrate", migrate)
        patched.setattr(client, "_make_database", make_mlflow)
        yield


def _dump(path: Path) -> list[str]:
    """The statements that make a file like this one, without their transaction."""
    with closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if line not in TRANSACTION]
