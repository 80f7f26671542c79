"""`gamectl describe job`: everything about one job, for people and for programs."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.states import DIVERGED, SLOT_LOST, Game, every_state


@pytest.fixture
def game(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Game]:
    """A cohort in every state; the commands think that their terminal has 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    store = Store(Settings().store_url)
    yield every_state(store, time.time() - 100)
    store.close()


def described(team: str, *words: object) -> str:
    shown = gamectl("describe", "job", team, *words)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


def section(text: str, title: str) -> list[list[str]]:
    """The words of each line under a title."""
    lines = text.split(f"\n{title}", 1)[1].split("\n\n", 1)[0].splitlines()
    return [line.split() for line in lines[1:]]


def test_a_degraded_job_says_so_and_shows_who_was_lost(game: Game) -> None:
    text = described("howling-pixels")
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("Reason:"))
    assert "Reason:      Degraded: 3 of 4 members; lost member 2: validation loss is nan" in text
    assert "Members (3 of 4 must be trained):" in text
    lost = section(text, "Members")[3]
    assert lost[:6] == ["2", "Failed", "Diverged", "3/20", "36.0%", "1"]
    attempts = section(text, "Attempts")
    assert [row[:4] for row in attempts[1:]] == [
        [str(index), "1", f"slot-{index}", "node-a"] for index in range(4)
    ]
    assert attempts[3][-4:] == ["10s", "3", "Diverged", "(team)"]
    assert [row[1:] for row in section(text, "Phases")[1:]] == [
        ["Pending", "Queued"],
        ["Running", "Training"],
        ["Succeeded", "Degraded"],
    ]
    for expected in ("Receipt:", "Events:", "Loadout:", "  team: howling-pixels", "61.3%"):
        assert expected in text


def test_a_narrow_terminal_breaks_no_word(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = described("howling-pixels")
    tables = text[text.index("\nMembers") : text.index("\nLoadout")]
    assert all(len(line) <= 60 for line in tables.splitlines())
    heads, *members = section(text, "Members")
    assert heads == ["member", "phase", "reason", "epochs", "val"]
    assert members[2] == ["2", "Failed", "Diverged", "3/20", "36.0%"]
    assert "\nmember 2: validation loss is nan after epoch 3\n" in text
    heads, *attempts = section(text, "Attempts")
    assert heads == ["member", "attempt", "slot", "started", "took", "epochs", "ended"]
    assert attempts[2][-3:] == ["10s", "3", "Diverged"]


def test_a_job_that_waits_shows_its_place(game: Game) -> None:
    text = described("swing-state")
    assert "Position:    2 of 3 in the queue" in text
    assert "Expected:    to end at " in text
    assert "Attempts:" not in text
    game.store.prioritize("small", "swing-state", time.time(), 300)
    text = described("swing-state")
    assert "Priority:    300" in text
    assert "Position:    1 of 3 in the queue" in text


def test_a_job_that_goes_on_without_a_member_says_so(game: Game) -> None:
    submit(game.store, new_job("pair", 2, 20, min_members=1), at=game.began_at)
    for index in (0, 1):
        game.start("pair", index)
    assert "Degraded:" not in described("pair")
    game.fail("pair", DIVERGED, 1)
    assert "Degraded:    goes on with 1 of 2 members; lost: 1\n" in described("pair")


def test_retries_are_told_attempt_by_attempt(game: Game) -> None:
    document = read_json("describe", "job", "wild")
    (member,) = document["members"]
    assert (member["attempt"], member["team_failures"]) == (2, 2)
    assert [
        (a["number"], a["slot"], a["node"], a["epoch"], a["reason"], a["blame"])
        for a in member["attempts"]
    ] == [
        (1, "slot-0", "node-a", 3, "Diverged", "team"),
        (2, "slot-0", "node-a", 4, "Diverged", "team"),
    ]
    assert [(p["phase"], p["reason"]) for p in document["phases"]] == [
        ("Pending", "Queued"),
        ("Running", "Training"),
        ("Failed", "MemberFailed"),
    ]
    assert document["phases"][-1]["at"] == document["ended_at"]
    assert {e["team"] for e in document["events"]} == {"wild"}
    assert document["loadout"] == "team: wild\nseed: 0\n"
    assert document["plans"][0]["epochs"] == 20
    assert document["receipt"]["budget_bnn"] == 100


def test_an_older_revision_is_shown_when_asked_for(game: Game) -> None:
    assert "Revision:    2\n" in described("revised")
    older = described("revised", "--revision", 1)
    assert "Revision:    1 (the newest is 2)" in older
    assert "Superseded" in older
    assert read_json("describe", "job", "revised")["revision"] == 2
    missing = gamectl("describe", "job", "revised", "--revision", 3)
    assert missing.exit_code == 1
    assert "team 'revised' has no revision 3 in cohort 'small'; there are 1 to 2" in missing.stderr


def test_an_unknown_team_is_told_the_nearest(game: Game) -> None:
    unknown = gamectl("describe", "job", "howling-pixel")
    assert unknown.exit_code == 1
    assert "did you mean 'howling-pixels'?" in unknown.stderr


def test_a_back_off_says_when_it_ends(game: Game) -> None:
    game.start("flaky", at_s=99)
    game.fail("flaky", SLOT_LOST, at_s=99 + 3600)
    text = described("flaky")
    assert "BackOff" in text
    assert "again in" in text
