"""Watching a cohort that another process runs: what is read from the store, and when it ends."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.admission.cohort import CohortSpec
from orchestrator.lease import holder_name
from orchestrator.phases import Phase
from orchestrator.state import Job
from orchestrator.store import Store
from orchestrator.terminal.live import LiveView, watch
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.job_states import job
from tests.orchestrator.pretended import hand_in
from tests.orchestrator.screens import drawn, lines_of, screen
from tests.orchestrator.states import Game

BEGAN_AT = 1_000_000.0
NOW = BEGAN_AT + 100


def test_watching_ends_when_every_job_is_over(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(store, new_job("apes", epochs=2), at=BEGAN_AT)
    game = Game(store, BEGAN_AT)
    steps = iter(
        [
            lambda: game.start("apes"),
            lambda: game.train("apes"),
            lambda: game.finish("apes", 0.5),
        ]
    )
    assert watch("small", store, clock=lambda: NOW, pause=lambda _: next(steps)())
    assert lines_of(capsys.readouterr().err) == [
        "apes: Running",
        "apes: Succeeded, validation accuracy 50.0%",
    ]
    assert next(steps, None) is None


def test_epochs_are_seen_although_they_are_no_events(store: Store) -> None:
    submit(store, new_job("apes", epochs=20), at=BEGAN_AT)
    game = Game(store, BEGAN_AT)
    game.start("apes")
    console = screen()
    ticks = iter(range(100))
    steps = iter([lambda: game.report("apes", epochs=7)])

    def seven(jobs: Sequence[Job]) -> bool:
        return jobs[0].members[0].epoch == 7

    watch(
        "small", store, seven, console=console, clock=lambda: NOW + next(ticks),
        pause=lambda _: next(steps)(),
    )  # fmt: skip
    assert "7/20" in drawn(console)


def test_rules_that_change_meanwhile_change_the_queue_that_is_shown(store: Store) -> None:
    jobs = (new_job("apes", work=1.0), new_job("bees", work=100.0))
    submit(store, *jobs, at=BEGAN_AT)
    console, now = screen(), [NOW]
    places: list[list[str]] = []

    def places_of_both(_: Sequence[Job]) -> bool:
        table = drawn(console).splitlines()
        last = {row.split()[0]: row.split()[-1] for row in table if "#" in row}
        places.append([last["apes"], last["bees"]])
        return len(places) == 3

    def change(_: float) -> None:
        hand_in(store, *jobs, queue={"policy": "longest-first"})
        now[0] += 100

    watch(
        "small", store, places_of_both, console=console, clock=lambda: now[0], patient=True,
        pause=change,
    )  # fmt: skip
    assert places[0] == ["#1", "#2"]
    assert places[-1] == ["#2", "#1"]


def test_a_suspended_job_that_was_trained_is_watched_until_it_has_its_result(store: Store) -> None:
    submit(store, new_job("apes"), at=BEGAN_AT)
    game = Game(store, BEGAN_AT)
    game.start("apes")
    store.suspend("small", "apes", BEGAN_AT + 1)
    game.train("apes")
    game.ledger.release()
    assert store.is_left("small")
    assert not watch("small", store, pause=lambda _: None), "somebody has to go on"


def test_watching_without_a_controller_says_how_to_start_one(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(store, new_job("apes"))
    assert not watch("small", store, clock=lambda: NOW)
    assert lines_of(capsys.readouterr().err) == [
        "no controller is at work on cohort small: `gamectl resume --cohort small` starts one"
    ]


def test_a_patient_watcher_waits_for_a_controller_to_come(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(store, new_job("apes", epochs=2), at=BEGAN_AT)

    def come() -> None:
        game = Game(store, BEGAN_AT)
        game.start("apes")
        game.train("apes")
        game.finish("apes", 0.5)

    steps = iter([lambda: None, come])
    assert watch("small", store, patient=True, clock=lambda: NOW, pause=lambda _: next(steps)())
    lines = lines_of(capsys.readouterr().err)
    assert [line.split()[0] for line in lines] == ["no", "apes:"]


def test_suspended_jobs_keep_nobody_watching_once_the_controller_has_ended(store: Store) -> None:
    submit(store, new_job("apes"))
    store.suspend("small", "apes", BEGAN_AT)
    assert watch("small", store, clock=lambda: NOW)


def test_a_controller_that_died_on_this_machine_is_not_waited_for(store: Store) -> None:
    submit(store, new_job("apes"))
    host = holder_name().rpartition(":")[0]
    store.acquire("small", f"{host}:{2**22 + 1}", NOW, ttl_s=1e12)
    assert not watch("small", store, clock=lambda: NOW)


@pytest.mark.parametrize("jump_s", [-3600.0, 8 * 3600.0])
@pytest.mark.parametrize("before", range(1, 10))
def test_a_clock_that_jumps_does_not_freeze_the_table(jump_s: float, before: int) -> None:
    """It was set back, or the machine slept, between any two looks at it."""
    console, looks, later_s = screen(), 0, 0.0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return 1e6 + later_s + looks / 1000 + (jump_s if looks > before else 0.0)

    with LiveView(CohortSpec(), 1, clock, console) as view:
        view.show([job(1)])
        later_s = 60.0
        view.show([replace(job(1), phase=Phase.CANCELLED)])
        assert "Cancelled" in drawn(console)
