"""Who is at work on a cohort: a controller that was started, one that is silent, one that looks."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.control.holders import (
    FINDS_WITHIN_S,
    SILENT_S,
    settled_controller,
)
from orchestrator.control.launch import first_holder
from orchestrator.errors import GameError
from orchestrator.lease import TTL_S
from orchestrator.opening import make_home
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.store.values import Lease
from tests.orchestrator.cohorts import new_job, submit


@pytest.fixture
def game(home: Path) -> Iterator[Store]:
    """The store of a game."""
    make_home(Settings())
    store = Store(Settings().store_url)
    yield store
    store.close()


def wait_for(leases: list[Lease | None], exit_codes: list[int | None]) -> str | None:
    return first_holder(
        iter(leases).__next__, iter(exit_codes).__next__, lambda: "no disk", lambda: None
    )


def test_a_controller_is_at_work_once_it_has_found_its_cluster() -> None:
    held, works = Lease("here:1", 9.0, 8.0), Lease("here:1", 9.0, 8.0, slots=0)
    assert wait_for([None, held, held, works], [None] * 4) == "here:1"
    with pytest.raises(GameError, match="no disk"):  # Ray did not start
        wait_for([None, held, None], [None, None, 1])


def test_of_two_that_were_started_at_once_either_will_do() -> None:
    assert wait_for([None, Lease("there:2", 9.0, 8.0)], [None, 1]) == "there:2"


def test_a_controller_that_had_nothing_to_do_is_no_failure() -> None:
    assert wait_for([None, None], [None, 0]) is None


def test_a_controller_that_does_not_come_up_is_a_failure() -> None:
    with pytest.raises(GameError, match="ended before it was at work: no disk"):
        wait_for([None, None], [None, 1])


@pytest.mark.parametrize("dies", [True, False])
def test_a_silent_lease_is_waited_for_before_its_controller_is_called_at_work(
    dies: bool, game: Store
) -> None:
    """It may have died on another machine, a moment ago."""
    submit(game, new_job("a"))
    now = 1000.0
    timed = Store(Settings().store_url, clock=lambda: now)
    ledger = timed.acquire("small", "elsewhere:7", now - SILENT_S, TTL_S)
    ledger.tell_slots(1)

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds
        if not dies and now > 1005:
            ledger.renew(now)

    assert settled_controller("small", timed, pause) == (None if dies else "elsewhere:7")
    assert now == (1020.0 if dies else 1005.5)
    timed.close()


def test_a_controller_that_finds_no_cluster_is_not_waited_for_without_end(game: Store) -> None:
    submit(game, new_job("a"))
    game.acquire("small", "elsewhere:7", time.time(), 1e6)
    pauses: list[float] = []
    assert settled_controller("small", game, pauses.append) == "elsewhere:7"
    assert sum(pauses) == FINDS_WITHIN_S


@pytest.mark.parametrize("finds", [True, False])
def test_a_controller_that_still_looks_for_its_cluster_is_not_relied_on(
    finds: bool, game: Store
) -> None:
    """It may end without a slot, and nobody would run what was handed in."""
    submit(game, new_job("a"))
    ledger = game.acquire("small", "elsewhere:7", time.time(), TTL_S)
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            ledger.tell_slots(0) if finds else ledger.release()

    assert settled_controller("small", game, pause) == ("elsewhere:7" if finds else None)
    assert len(pauses) == 3
    assert settled_controller("small", game, pause) == ("elsewhere:7" if finds else None)
    assert len(pauses) == 3
