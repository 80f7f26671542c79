"""Connecting to MLflow, and the experiment that holds a cohort's runs.

In: the tracking URI of the settings. Out: an `Experiment`, which `projection`, `model` and
`publish` write through. Next on the path: `projection`.
"""

import importlib
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from orchestrator.errors import NotFound, TrackingAway, TrackingError
from orchestrator.loading import loading
from orchestrator.settings import sqlite_url

# Read by MLflow when it is imported. Sending usage figures home is not ours to decide, and a
# server that is away is better found out by the next sync than waited for in this one.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

KEY_TAG = "game.key"
"""Says which job (its uid) or member a run shows; how runs are found again after a restart."""
METRICS_A_CALL = 1000
SQLITE = "sqlite:///"
ARTIFACT_STORES = ("boto3", "botocore", "azure", "google")
"""Packages with errors that are no MLflow's and no system's."""

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it the UI opens on pages for language models."""


@dataclass(frozen=True)
class Experiment:
    """An experiment and the client to write it with."""

    client: Any
    id: str
    tracking_uri: str

    def files(self, artifact_uri: str) -> Any:
        """Where a run's artifacts go; the client would ask for the whole run to learn it."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return get_artifact_repository(artifact_uri, tracking_uri=self.tracking_uri)

    def runs_by_key(self, also: str = "") -> dict[str, Any]:
        """All runs that this project wrote, by the job or member they show.

        `also` is a filter in MLflow's language, for some of them.
        """
        wanted = f"tags.`{KEY_TAG}` != ''" + (f" and {also}" if also else "")
        runs: dict[str, Any] = {}
        token = None
        while True:
            page = self.client.search_runs([self.id], filter_string=wanted, page_token=token)
            for run in page:
                runs.setdefault(run.data.tags[KEY_TAG], run)
            token = page.token
            if not token:
                return runs


def without_user(text: str) -> str:
    """The text without the user and password that URLs in it may hold."""
    return re.sub(r"://[^/\s@]*@", "://", text)


@contextmanager
def mlflow_errors() -> Iterator[None]:
    """Turns MLflow's exceptions, and those of what lies under it, into `TrackingError`."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    from orchestrator.store.database import DATABASE_ERROR

    try:
        yield
    except (MlflowException, RequestException, DATABASE_ERROR, ImportError, OSError) as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        request, unanswered, _ = text.partition(" failed with exception")
        if unanswered:
            raise TrackingAway(
                f"MLflow: does not answer: {without_user(request)[:300]} failed"
            ) from error
        raise TrackingError(f"MLflow: {without_user(text)[:300]}") from error
    except Exception as error:
        # The client hands on what the artifacts' store raises.
        if type(error).__module__.partition(".")[0] not in ARTIFACT_STORES:
            raise
        raise TrackingError(f"MLflow's artifacts: {without_user(str(error))[:300]}") from error


def connect(tracking_uri: str, artifacts: Path | None, name: str, create: bool) -> Experiment:
    """The experiment of that name.

    `artifacts` is the folder for its files, or None where a tracking server decides that. Raises
    `TrackingError` where MLflow can't be reached and `NotFound` where there is no such experiment
    and `create` is False.
    """
    if "://" not in tracking_uri:  # MLflow would take it for a folder, and say something else
        raise TrackingError(
            f"MLFLOW_TRACKING_URI is {tracking_uri!r}; wanted is http(s)://HOST:PORT or "
            "sqlite:///FILE"
        )
    with loading():
        import mlflow
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with mlflow_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if tracking_uri.startswith(SQLITE):
            with loading():  # the client would do it itself
                importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
            _make_database(Path(unquote(tracking_uri.removeprefix(SQLITE))))
        client = mlflow.MlflowClient(tracking_uri)
        experiment = client.get_experiment_by_name(name)
        there = experiment is not None and experiment.lifecycle_stage != "deleted"
        if experiment is None or not (there or create):
            if not create:
                raise NotFound(
                    f"MLflow at {without_user(tracking_uri)} has no experiment {name!r}; "
                    f"`gamectl resume --cohort {name}` writes it, and trains nothing"
                )
            location = (artifacts / name).as_uri() if artifacts is not None else None
            experiment_id = _created(client, name, location)
        elif _was_moved(tracking_uri, artifacts, experiment.artifact_location):
            raise TrackingError(
                f"MLflow keeps the files of cohort {name!r} at {experiment.artifact_location}, "
                "where this home was before it was moved: move it back; or remove mlflow.db and "
                f"mlartifacts from this one, run `gamectl resume --cohort {name}`, which trains "
                "nothing, and publish again"
            )
        elif not there:
            client.restore_experiment(experiment.experiment_id)
            experiment_id = experiment.experiment_id
        else:
            experiment_id = experiment.experiment_id
    return Experiment(client, str(experiment_id), tracking_uri)


def _created(client: Any, name: str, location: str | None) -> str:
    """The id of a new experiment, or of the one that another process has just made."""
    from mlflow.exceptions import MlflowException

    try:
        made = client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS)
    except MlflowException:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        made = found.experiment_id
    return str(made)


def _was_moved(tracking_uri: str, artifacts: Path | None, location: str) -> bool:
    """Whether a database lies beside `artifacts`, and has an experiment's files elsewhere."""
    if artifacts is None or tracking_uri != sqlite_url(artifacts.with_name("mlflow.db")):
        return False  # one that several homes may share
    folder = Path(unquote(urlsplit(location).path)).parent
    return folder.resolve() != artifacts.resolve()


def _make_database(path: Path) -> None:
    """Makes MLflow's SQLite file where there is none, whole or not at all.

    MLflow makes its tables one after the other: killed in between, it would find a half-made file
    the next time and never recover from it.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
        made = Path(folder) / path.name
        store = SqlAlchemyStore(sqlite_url(made), folder)
        with store.engine.connect() as connection:
            # Kept in the file: a write costs one sync of the disk, and readers wait for nobody.
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        store.engine.dispose()
        try:
            path.hardlink_to(made)
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                made.rename(path)
