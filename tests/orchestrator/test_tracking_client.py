"""Connecting to MLflow's own database: what is wrong with it is said in a line."""

import shutil
from pathlib import Path

import pytest

from orchestrator.errors import TrackingAway, TrackingError
from orchestrator.settings import sqlite_url
from orchestrator.tracking.client import Experiment, connect, mlflow_errors
from orchestrator.tracking.failures import Failures


def connected(home: Path, create: bool = False) -> Experiment:
    """As a command of a game in `home` does."""
    return connect(sqlite_url(home / "mlflow.db"), home / "mlartifacts", "small", create)


@pytest.fixture
def home(tmp_path: Path, empty_mlflow: Path) -> Path:
    """A home with MLflow's database, and the cohort's experiment in it."""
    (tmp_path / "home").mkdir()
    shutil.copy(empty_mlflow, tmp_path / "home" / "mlflow.db")
    connected(tmp_path / "home", create=True)
    return tmp_path / "home"


class UploadFailed(Exception):
    """As boto3's, which is neither MLflow's nor the system's."""

    __module__ = "boto3.exceptions"


def test_what_the_artifacts_store_raises_is_told_as_any_trouble_with_mlflow() -> None:
    with pytest.raises(TrackingError, match="no such bucket"), mlflow_errors():
        raise UploadFailed("no such bucket")
    with pytest.raises(KeyError), mlflow_errors():
        raise KeyError("a fault of ours")


def test_a_server_that_has_not_answered_is_asked_at_once_whether_it_does(home: Path) -> None:
    experiment = connected(home)
    assert not Failures(experiment).add(TrackingAway("a file is too large for it"))
    experiment.client.get_experiment = unanswered
    assert not Failures(experiment).add(TrackingError("refused"))
    assert Failures(experiment).add(TrackingAway("does not answer"))


def unanswered(_id: str) -> None:
    raise OSError("connection refused")


def test_a_home_that_was_moved_is_said_before_anything_is_written_to_where_it_was(
    home: Path,
) -> None:
    assert connected(home).id
    moved = home.rename(home.with_name("moved"))
    with pytest.raises(TrackingError, match="before it was moved: move it back; or remove"):
        connected(moved)
    (moved.parent / "link").symlink_to(moved.rename(home))
    assert connected(home.with_name("link")).id
    assert connect(sqlite_url(home / "mlflow.db"), Path("/elsewhere"), "small", False).id


def test_a_database_that_is_none_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(bytes(range(256)) * 80)
    with pytest.raises(TrackingError, match="file is not a database"):
        connected(tmp_path)


def test_a_tracking_uri_that_is_none_is_named_with_what_is_wanted(tmp_path: Path) -> None:
    wanted = r"^MLFLOW_TRACKING_URI is 'foo'; wanted is http\(s\)://HOST:PORT or sqlite:///FILE$"
    with pytest.raises(TrackingError, match=wanted):
        connect("foo", None, "small", create=True)
    assert list(tmp_path.iterdir()) == []


def test_a_database_can_be_made_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hardlink_to(_self: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    assert connected(tmp_path, create=True).id == connected(tmp_path).id
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
