"""`gamectl doctor` on disks that take nothing: what is wrong, and what helps."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.doctor import Level, machine


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB without a free byte."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAME_HOME", str(full_disk / "game"))
    found = next(iter(machine.disk()))
    assert (found.level, found.found) == (
        Level.PROBLEM,
        f"{full_disk / 'game'} (games): No space left on device",
    )
    assert found.advice.startswith("free some room, or name another folder in GAME_HOME")


def test_a_disk_that_may_not_be_written_needs_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAME_HOME", "/proc")
    found = next(iter(machine.disk()))
    assert (found.level, found.found[:14]) == (Level.PROBLEM, "/proc (games):")
    assert found.advice == "make it one that you may write, or name another folder in GAME_HOME"


def test_a_file_where_games_should_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "game").write_text("")
    monkeypatch.setenv("GAME_HOME", str(tmp_path / "game"))
    found = next(iter(machine.disk()))
    assert (found.level, found.found) == (Level.PROBLEM, f"{tmp_path / 'game'} (games) is a file")
    assert "GAME_HOME" in found.advice
