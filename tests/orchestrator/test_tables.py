"""Where tables take their width from: the terminal they are shown in, and nothing where none is."""

import re
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.admission.cohort import CohortSpec
from orchestrator.forecasting.outlook import outlook
from orchestrator.settings import Settings
from orchestrator.state import newest_revisions
from orchestrator.store import Store
from orchestrator.terminal import display
from orchestrator.terminal.live_table import live_table
from orchestrator.terminal.receipt import print_receipt
from tests.orchestrator.commands import gamectl
from tests.orchestrator.screens import drawn, in_terminal, screen
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


# --- little room ----------------------------------------------------------------------------------


def narrow(monkeypatch: pytest.MonkeyPatch, *words: str, columns: int = 40) -> list[str]:
    """The lines of a command in a terminal of so many columns, none of them longer."""
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = gamectl(*words)
    assert shown.exit_code == 0, shown.output
    return shown.stdout.splitlines()


@pytest.mark.parametrize("columns", [40, 30])
def test_jobs_in_little_room_keep_phases_and_epochs_whole(
    game: Game, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    heads, *lines = narrow(monkeypatch, "get", "jobs", columns=columns)
    assert max(map(len, [heads, *lines])) <= columns
    words = " ".join(lines).split()
    for word in ("Succeeded", "Suspended", "Cancelled", "20/20", "✗4/20"):
        assert word in words
    assert "expected" not in heads


def test_a_job_in_little_room_breaks_no_word(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = narrow(monkeypatch, "describe", "job", "howling-pixels")
    members, attempts = lines.index("Members (3 of 4 must be trained):"), lines.index("Attempts:")
    assert max(map(len, lines[lines.index("Receipt:") : lines.index("Loadout:")])) <= 40
    assert lines[members + 1].split() == ["member", "phase", "epochs", "val"]
    assert lines[members + 4].split() == ["2", "Failed", "3/20", "36.0%"]
    reason = " ".join(lines[members + 6 : attempts]).strip()
    assert reason == f"member 2: Diverged: {DIVERGED.message}"
    assert lines[attempts + 1].split() == ["member", "attempt", "took", "epochs", "ended"]
    assert [line.split()[3:5] for line in lines[attempts + 2 : attempts + 5]] == [
        ["20", "Completed"],
        ["20", "Completed"],
        ["3", "Diverged"],
    ]


@pytest.mark.parametrize("columns", [40, 53, 80])
def test_a_receipt_fits_and_its_prices_stand_below_each_other(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    bought = [("Flip Trick", 1, 5), ("Need for Shift: Tokyo Data Drift", 12, 1_000_000)]
    print_receipt("Bought", bought, 1_000_005, 99)
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    assert "Need for Shift: Tokyo Data Drift x 12" in " ".join(text.replace("1000000", "").split())
    prices = [found for line in lines if (found := re.search(r"\d+(?=( of 99)? B NN)", line))]
    assert [found[0] for found in prices] == ["5", "1000000", "1000005"]
    assert len({found.end() for found in prices}) == 1


@pytest.mark.parametrize("later_s", [0, 7 * display.DAY_S])
@pytest.mark.parametrize("width", [30, 40, 49, 50, 60, 80, 200])
def test_the_live_table_cuts_no_number_but_names(game: Game, width: int, later_s: float) -> None:
    jobs, now = newest_revisions(game.store.jobs("small")), time.time()
    ahead = outlook(jobs, CohortSpec(), now, 5)
    console = screen(width, 40)
    console.print(live_table(jobs, ahead, 5, now + later_s, width, 40))
    heads, *lines = drawn(console).splitlines()[: len(jobs) + 1]
    assert max(map(len, lines)) <= width
    shown = [" ".join(line.split()) for line in lines]
    epochs = [
        {display.epochs(job, number) for number in (1, display.MEMBERS_SHOWN)} for job in jobs
    ]
    for each in epochs:
        assert any(f"{text} " in f"{line} " for text in each for line in shown), each
    assert sum(" Succeeded" in line or " Suspended" in line for line in lines) == 2
    assert ("expected" in heads) == (width >= (60 if later_s else 50))  # dates take more room
    if "expected" in heads:
        for job in jobs:
            told = display.expected(job, ahead, now + later_s)
            assert any(line.endswith(told) for line in shown)


@pytest.mark.parametrize("words", [["get", "events"], ["describe", "job", "wild"]])
def test_events_in_little_room_break_no_reason(
    game: Game, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    lines = narrow(monkeypatch, *words)
    assert all(len(line) <= 40 for line in lines if not line.startswith("Reason:"))
    text = " ".join(" ".join(lines).split())
    about = "wild/0" if words[0] == "get" else "member 0"
    assert f" {about} Diverged {DIVERGED.message} " in text
    assert f" MemberFailed {DIVERGED.message} " in text
