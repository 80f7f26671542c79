"""Folders that cannot be used, and a port that is taken: one line each, no traceback."""

import errno
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from orchestrator.cli.common import write_result
from orchestrator.settings import Settings
from tests.orchestrator.commands import gamectl

NOBODY = "~nobody-of-this-name/x"
UNKNOWN = f"{NOBODY}: there is no user nobody-of-this-name here; write the whole path"


@pytest.mark.parametrize("home", ["{tmp}/a-file", "/proc/nope"])
def test_a_home_that_cannot_be_made(
    write_cohort: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    (tmp_path / "a-file").write_text("")
    monkeypatch.setenv("GAME_HOME", home.format(tmp=tmp_path))
    done = CliRunner().invoke(main, ["submit", str(write_cohort({"apes": "epochs: 1"}))])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: cannot keep a game in ")
    assert "GAME_HOME" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_home_of_nobody_is_said_with_the_variable_that_names_it(
    write_cohort: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAME_HOME", NOBODY)
    for words in (["get", "jobs"], ["submit", write_cohort({"apes": "epochs: 1"})]):
        done = gamectl(*words)
        assert (done.exit_code, done.stderr) == (1, f"error: GAME_HOME: {UNKNOWN}\n")
    assert f"GAME_HOME: {UNKNOWN}" in gamectl("doctor").stdout


def test_artifacts_of_nobody_are_said_with_the_variable_that_names_them(
    home: Path, write_cohort: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAME_ARTIFACTS", NOBODY)
    done = gamectl("submit", write_cohort({"apes": "epochs: 1"}))
    assert (done.exit_code, done.stderr) == (1, f"error: GAME_ARTIFACTS: {UNKNOWN}\n")


def test_images_of_nobody(home: Path, write_cohort: Callable[..., Path]) -> None:
    cohort = write_cohort({"apes": "epochs: 1"})
    assert gamectl("data", "check", NOBODY).stderr == f"error: {UNKNOWN}\n"
    assert gamectl("submit", cohort, "--data", NOBODY).stderr == f"error: {UNKNOWN}\n"
    rules = cohort / "cohort.yaml"
    rules.write_text(f"{rules.read_text()}\n  data: {{source: {NOBODY}}}\n")
    for command in ("plan", "submit"):
        done = gamectl(command, cohort)
        assert done.exit_code == 1
        assert done.stderr.endswith(f"error: {UNKNOWN}\n")


def test_images_whose_folder_is_not_named_in_utf_8(
    home: Path, write_cohort: Callable[..., Path]
) -> None:
    done = gamectl("submit", write_cohort({"apes": "epochs: 1"}), "--data", "/ph\udcffotos")
    assert done.exit_code == 1
    assert done.stderr.endswith(
        "error: the data's folder /ph\\udcffotos is not named in UTF-8; rename it\n"
    )
    assert "there is no store in" in gamectl("get", "jobs").stderr


@pytest.mark.parametrize(
    ("at_home", "advice"), [(True, "; GAME_HOME names another folder"), (False, "")]
)
def test_a_folder_of_the_home_that_is_read_only_is_said_with_the_variable(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_home: bool, advice: str
) -> None:
    place = home / "cache" if at_home else tmp_path / "elsewhere"

    def refused() -> Settings:
        raise OSError(errno.EROFS, "Read-only file system", str(place))

    monkeypatch.setattr("orchestrator.cli.leaderboard.Settings", refused)
    done = gamectl("leaderboard")
    assert done.exit_code == 1
    assert done.stderr == f"error: Read-only file system: {place}{advice}\n"


def test_a_home_that_takes_no_artifacts_is_said_with_the_variable(
    write_cohort: Callable[..., Path], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAME_HOME", "/proc")
    done = gamectl("submit", write_cohort({"apes": "epochs: 1"}), "--data", photos)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: /proc cannot be written: ")
    assert done.stderr.endswith("; name another folder in GAME_HOME\n")


def test_a_file_that_cannot_take_its_place_is_said_by_its_own_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.html").mkdir()

    def write() -> Settings:
        write_result(tmp_path / "page.html", b"")
        raise AssertionError("there is a folder")

    monkeypatch.setattr("orchestrator.cli.leaderboard.Settings", write)
    done = gamectl("leaderboard")
    assert done.stderr == f"error: Is a directory: {tmp_path / 'page.html'}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["init", ""],
        ["validate", ""],
        ["submit", ""],
        ["submit", ".", "--data", ""],
        ["data", "check", ""],
        ["preview", "apes.yaml", "-o", ""],
        ["shop", "--cohort-file", ""],
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = gamectl(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "it is empty; the current folder is ." in done.stderr
    assert not list(Path().iterdir())


def test_weights_of_nobody(home: Path) -> None:
    done = gamectl("teacher", "train", "--weights", NOBODY)
    assert done.exit_code == 1
    assert f"error: cannot read the weights {UNKNOWN}; --weights is" in done.stderr


def test_a_port_that_is_taken(home: Path) -> None:
    home.mkdir()
    (home / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = CliRunner().invoke(main, ["ui", "--port", str(port)])
    assert done.exit_code == 1
    assert f"port {port}: " in done.stderr
    assert f"--port {port + 1}" in done.stderr
