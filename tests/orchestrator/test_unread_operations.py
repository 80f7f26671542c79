"""`gamectl suspend` and its like are performed as a whole where nobody reads what they say."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import StoreUnavailable
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.store import Ledger, Store
from orchestrator.store.values import Altered
from tests.orchestrator.cohorts import controller_elsewhere, new_job, submit
from tests.orchestrator.commands import gamectl

TEAMS = ("apes", "baboons", "colobus", "drills")


@pytest.fixture
def game(home: Path) -> Iterator[Store]:
    """The store that the commands use, with the jobs of four teams."""
    store = Store(Settings().store_url)
    submit(store, *map(new_job, TEAMS))
    yield store
    store.close()


@pytest.fixture
def controller(game: Store) -> Ledger:
    """A controller elsewhere that is at work on the cohort."""
    return controller_elsewhere(game)


def unread(*words: str, full: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs `gamectl WORDS...` with nobody at the other end of stdout, or on a full disk."""
    if full:
        stdout = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, stdout = os.pipe()
        os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(stdout)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["suspend", "--all"], {(Phase.PENDING, True)}),
        (["cancel", "--all"], {(Phase.CANCELLED, False)}),
        (["withdraw", *TEAMS], {(Phase.SUPERSEDED, False)}),
    ],
)
def test_what_cannot_be_said_is_done_for_every_team(
    game: Store, words: list[str], wanted: set[tuple[Phase, bool]], full: bool
) -> None:
    done = unread(*words, full=full)
    assert {(job.phase, job.suspended) for job in game.jobs("small")} == wanted
    assert done.returncode == 1
    assert ("No space left on device" in done.stderr) is full


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("command", ["resume", "retry"])
def test_what_was_queued_is_run_although_it_could_not_be_said(
    game: Store, controller: Ledger, command: str, full: bool
) -> None:
    for team in TEAMS:
        (game.suspend if command == "resume" else game.cancel)("small", team, 200.0)
    done = unread(command, "--all", full=full)
    assert {(job.phase, job.suspended) for job in game.jobs("small")} == {(Phase.PENDING, False)}
    assert done.returncode == 1
    assert "controller elsewhere:1 is at work" in done.stderr  # who runs it was asked
    assert ("No space left on device" in done.stderr) is full


def test_what_was_refused_is_said_although_the_rest_could_not_be(game: Store) -> None:
    done = unread("suspend", "apes", "apse", full=True)
    assert "no team 'apse'; did you mean 'apes'?" in done.stderr
    assert done.returncode == 1


def test_what_was_done_is_said_where_the_store_goes_away_after_it(
    game: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspend = Store.suspend

    def only_apes(store: Store, cohort: str, team: str, at: float) -> Altered:
        if team != "apes":
            raise StoreUnavailable("the store does not answer")
        return suspend(store, cohort, team, at)

    monkeypatch.setattr(Store, "suspend", only_apes)
    done = gamectl("suspend", "--all")
    assert (done.exit_code, done.stdout) == (1, "apes: suspended\n")
    assert "the store does not answer" in done.stderr
