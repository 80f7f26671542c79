"""Where tables take their width from: the terminal they are shown in, and nothing where none is."""

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.orchestrator.commands import gamectl
from tests.orchestrator.screens import in_terminal
from tests.orchestrator.states import DIVERGED, LONG_NAME, Game, every_state

GAMECTL = (sys.executable, "-m", "orchestrator")


@pytest.fixture
def game(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Game]:
    """A cohort in every state, whatever the tests' own terminal is."""
    monkeypatch.delenv("COLUMNS", raising=False)
    store = Store(Settings().store_url)
    yield every_state(store, time.time() - 100)
    store.close()


def test_a_table_in_a_pipe_has_a_line_for_each_row(game: Game) -> None:
    heads, *lines = gamectl("get", "jobs").stdout.splitlines()
    assert heads.split() == ["team", "phase", "reason", "epochs", "val", "expected", "took"]
    assert len(lines) == 12
    assert any(line.startswith(f"{LONG_NAME} ") for line in lines)
    events = gamectl("get", "events").stdout.splitlines()
    assert len(events) - 1 == len(game.store.events("small"))
    lost = f"3 of 4 members; lost member 2: {DIVERGED.message}; validation accuracy 61.3%"
    assert any(line.endswith(lost) for line in events)


def test_lines_of_a_table_end_without_blanks(game: Game) -> None:
    lines = gamectl("get", "events").stdout.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("variables", ["", "COLUMNS= "])
def test_a_file_has_no_width_whatever_terminal_stdin_is(
    game: Game, tmp_path: Path, variables: str
) -> None:
    file = tmp_path / "jobs.txt"
    command = f"{variables}{shlex.join([*GAMECTL, 'get', 'jobs'])} > {shlex.quote(str(file))}"
    in_terminal(["sh", "-c", command], width=40)
    assert any(line.startswith(f"{LONG_NAME} ") for line in file.read_text().splitlines())


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_columns_that_are_set_go_before(
    game: Game, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = in_terminal([*GAMECTL, "get", "jobs"], width=90, env={"TERM": term, "COLUMNS": "50"})
    assert max(map(len, shown.splitlines())) <= 50
    monkeypatch.setenv("COLUMNS", "50")
    assert max(map(len, gamectl("get", "jobs").stdout.splitlines())) <= 50


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_in_a_terminal_a_table_is_as_wide_as_that(game: Game, term: str) -> None:
    shown = in_terminal([*GAMECTL, "get", "events"], width=100, env={"TERM": term})
    assert 80 < max(map(len, shown.splitlines())) <= 100
