"""Where things are kept, for the environments that people have."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from orchestrator.settings import Settings

VARIABLES = ("GAME_HOME", "GAME_STORE", "GAME_ARTIFACTS", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_everything_is_in_the_current_folder_by_default(tmp_path: Path) -> None:
    settings = Settings()
    assert settings.root == tmp_path / ".game"
    assert settings.store_url == f"sqlite:///{tmp_path}/.game/store.db"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/.game/mlflow.db"
    assert settings.mlflow_artifacts == tmp_path / ".game" / "mlartifacts"
    assert settings.ray_address is None


@pytest.mark.parametrize("name", ["HOME", "home", "STORE", "GAME_ROOT"])
def test_other_variables_mean_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = Settings()
    monkeypatch.setenv(name, "/elsewhere")
    assert Settings() == before


@pytest.mark.parametrize("name", VARIABLES)
def test_an_empty_variable_is_one_that_is_not_set(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = Settings()
    monkeypatch.setenv(name, "")
    assert Settings() == before


def test_each_variable_moves_its_own_thing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GAME_HOME", "elsewhere")
    assert Settings().scores == tmp_path / "elsewhere" / "scores"
    monkeypatch.setenv("GAME_STORE", "postgresql://db/game")
    assert (Settings().store_url, Settings().store_file) == ("postgresql://db/game", None)
    monkeypatch.setenv("GAME_ARTIFACTS", "shared")
    assert Settings().artifacts == tmp_path / "shared"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert Settings().tracking_uri == "http://mlflow:5000"
    assert Settings().mlflow_artifacts is None
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    assert Settings().ray_address == "ray://head:10001"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("", ".game/artifacts"),
        ("kept", "kept"),
        ("file:///big/disk", Path("/big/disk")),
        ("s3://bucket/games/", "s3://bucket/games"),
    ],
)
def test_artifacts_are_in_a_folder_or_behind_a_uri(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, meant: Path | str
) -> None:
    monkeypatch.setenv("GAME_ARTIFACTS", said)
    is_uri = isinstance(meant, str) and meant.startswith("s3:")
    assert Settings().artifacts == (meant if is_uri else tmp_path / meant)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:///typo/store.db", "typo/store.db"),
        ("sqlite:////big/disk/store.db", "/big/disk/store.db"),
        ("sqlite+pysqlite:///store.db?timeout=3", "store.db"),
        ("sqlite:///what%3Fnow/100%25.db", "what?now/100%.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql:///sqlite.db", None),
    ],
)
def test_the_file_of_a_store_is_known_without_opening_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, file: str | None
) -> None:
    monkeypatch.setenv("GAME_STORE", url)
    assert Settings().store_file == (None if file is None else tmp_path / file)
    if file is not None:
        assert make_url(url).database == file


def test_a_database_of_mlflows_own_keeps_its_files_with_the_game(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    assert Settings().mlflow_artifacts == tmp_path / ".game" / "mlartifacts"


@pytest.mark.parametrize("folder", ["what?now", "100%", "a b", "ünï"])
def test_any_folder_name_leads_to_a_file_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    monkeypatch.setenv("GAME_HOME", str(tmp_path / folder))
    assert make_url(Settings().store_url).database == str(tmp_path / folder / "store.db")
