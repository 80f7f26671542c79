"""A cohort while it runs: plain lines where there is no terminal, a table where there is one."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.admission.cohort import CohortSpec
from orchestrator.forecasting.outlook import Outlook, outlook
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, Job, newest_revisions
from orchestrator.store import Store
from orchestrator.terminal.live import MOST_MEMBERS, LiveView
from orchestrator.terminal.live_table import live_table, summarize
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.job_states import job
from tests.orchestrator.screens import drawn, lines_of, screen
from tests.orchestrator.states import DIVERGED, SLOT_LOST, Game, every_state

SPEC = CohortSpec()
BEGAN_AT = 1_000_000.0
NOW = BEGAN_AT + 100


def table(jobs: Sequence[Job], width: int = 80, height: int = 24, slots: int = 5) -> list[str]:
    """The lines of the live table in such a terminal."""
    console = screen(width, height)
    newest = newest_revisions(jobs)
    ahead = outlook(jobs, SPEC, NOW, slots)
    console.print(live_table(newest, ahead, slots, NOW, width, height))
    return [line.rstrip() for line in drawn(console).splitlines()]


# --- plain lines ----------------------------------------------------------------------------------


def test_plain_lines_say_each_change_once(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    submit(store, new_job("apes", epochs=4), new_job("trio", num_members=3, epochs=4))
    game = Game(store, BEGAN_AT)
    with LiveView(SPEC, 2, clock=lambda: NOW) as view:
        view.show(store.jobs("small"))
        game.start("apes")
        game.start("trio", 1)
        for _ in range(3):
            view.show(store.jobs("small"))
        game.fail("apes", DIVERGED)
        view.show(store.jobs("small"))
    out, err = capsys.readouterr()
    assert out == ""
    assert lines_of(err) == [
        "apes: Running",
        "trio, member 1: Running on slot-1",
        "trio: Running",
        f"apes: Failed: {DIVERGED.message}",
    ]


def test_plain_lines_tell_of_retries_wishes_and_lost_members(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(store, new_job("apes", epochs=4), new_job("trio", 3, 4, min_members=2))
    game = Game(store, BEGAN_AT)
    with LiveView(SPEC, 2, clock=lambda: NOW) as view:

        def said() -> list[str]:
            view.show(store.jobs("small"))
            return lines_of(capsys.readouterr().err)

        game.start("apes")
        assert said() == ["apes: Running"]
        game.fail("apes", SLOT_LOST)
        assert said() == [f"apes: BackOff: {SLOT_LOST.message}"]
        game.start("apes", at_s=30)
        assert said() == ["apes: Running on slot-0, attempt 2"]
        store.suspend("small", "apes", NOW)
        assert said() == ["apes: is being suspended"]
        game.ledger.halt(game.job("apes").members[0].key, 2, NOW)
        assert said() == ["apes: Suspended"]
        store.resume("small", "apes", NOW)
        assert said() == ["apes: Queued"]
        game.start("trio", 2)
        game.fail("trio", DIVERGED, 2)
        assert said() == [
            f"trio, member 2: Failed: {DIVERGED.message}",
            "trio: Running, goes on with 2 of 3 members; lost: 2",
        ]
        store.cancel("small", "apes", NOW)
        assert said() == ["apes: Cancelled: cancelled by the organizer"]
        for index in (0, 1):
            game.start("trio", index)
            game.train("trio", index)
        game.finish("trio", 0.5)
        (degraded,) = said()
        assert degraded.startswith("trio: Succeeded (Degraded: 2 of 3 members; lost member 2: ")
        assert degraded.endswith("), validation accuracy 50.0%")
        submit(store, new_job("apes", epochs=4, seed=7), at=NOW)
        game.start("apes")
        assert said() == ["apes r2: Running"]


def test_what_had_ended_before_is_no_news(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    submit(store, new_job("apes"), new_job("bees"), new_job("trio"))
    game = Game(store, BEGAN_AT)
    for team in ("apes", "bees"):
        game.start(team)
        game.fail(team, DIVERGED)
    with LiveView(SPEC, 2, clock=lambda: NOW) as view:
        view.show(store.jobs("small"))
        game.start("trio")
        view.show(store.jobs("small"))
        store.retry("small", "bees", NOW)
        game.start("bees")
        view.show(store.jobs("small"))
    said = lines_of(capsys.readouterr().err)
    assert said[:2] == ["2 jobs had ended before", "trio: Running"]
    assert all(line.startswith("bees: Running") for line in said[2:])


def test_trouble_is_said_once_until_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView(SPEC, 1, clock=lambda: NOW) as view:
        for _ in range(2):
            view.say("the store did not answer")
        view.show([job(1)])
        view.say("the store did not answer")
    assert lines_of(capsys.readouterr().err) == ["the store did not answer"] * 2


def test_what_keeps_it_from_going_on_is_said_once_however_long_it_lasts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with LiveView(SPEC, 0, clock=lambda: NOW) as view:
        for note in ("waiting for nodes", "waiting for nodes", "", "waiting for nodes"):
            view.show([job(1)], note=note)
    assert lines_of(capsys.readouterr().err) == ["waiting for nodes"] * 2


def test_what_a_terminal_would_act_on_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    fault = Fault(Reason.ERROR, "boom \x1b[2J", Blame.TEAM)
    failed = replace(job(1), phase=Phase.FAILED, reason=fault.reason, message=fault.message)
    with LiveView(SPEC, 1, clock=lambda: NOW) as view:
        view.show([failed])
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert r"boom \x1b[2J" in err


# --- the table ------------------------------------------------------------------------------------


@pytest.fixture
def jobs(store: Store) -> tuple[Job, ...]:
    """A cohort in every state."""
    every_state(store, BEGAN_AT)
    return store.jobs("small")


def test_the_table_has_what_runs_first_then_failures_the_queue_and_what_ended(
    jobs: tuple[Job, ...],
) -> None:
    lines = table(jobs)
    assert [line.split()[0] for line in lines[1:13]] == [
        "flaky",
        "banana-republic",
        "a-team-wit…on-and-on",
        "slow",
        "wild",
        "tree-huggers",
        "swing-state",
        "revised",
        "sleepy",
        "howling-pixels",
        "quiet-apes",
        "gone",
    ]
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:13]}
    assert rows["banana-republic"][:5] == ["Running", "7/20", "12/20", "0/20", "49.0%"]
    assert rows["tree-huggers"][:3] == ["Pending", "0/20", "#1,"]
    assert rows["revised"][:2] == ["r2", "Pending"]
    assert rows["howling-pixels"] == ["Degraded", "20/20", "20/20", "✗3/20", "+1", "61.3%"]
    assert rows["flaky"][0] == "BackOff"
    assert rows["sleepy"][0] == "Suspended"
    assert rows["wild"][:2] == ["Failed", "✗4/20"]
    summary = " ".join(lines[13:15])
    assert summary.startswith("5 of 12 jobs ended (2 failed), 5 of 5 slots busy, 1 suspended, ")
    assert " left (~" in summary


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 24), (80, 10), (40, 8), (200, 50)])
def test_the_table_fits_the_terminal(jobs: tuple[Job, ...], width: int, height: int) -> None:
    lines = table(jobs, width, height)
    assert all(len(line) <= width for line in lines)
    assert len(lines) < height
    assert any(line.startswith("5 of 12 jobs ended") for line in lines)
    hidden = [line for line in lines if line.startswith("... and ")]
    assert (
        len([line for line in lines if "/20" in line])
        + sum(int(line.split()[2]) for line in hidden)
        == 12
    )


def test_after_the_end_nothing_is_left() -> None:
    some = [job(1, Phase.SUCCEEDED, phase=Phase.SUCCEEDED), job(2, Phase.RUNNING)]
    ahead = Outlook(end=NOW + 5)
    assert " left (~" in summarize(some, ahead, 1, NOW)
    assert summarize(some[:1], ahead, 1, NOW) == "1 of 1 jobs ended, 0 of 1 slots busy"


def test_names_that_differ_at_their_ends_do_not_look_alike() -> None:
    names = [f"the-quite-long-winded-team-of-group-{n}" for n in (11, 12)]
    lines = table([job(n, team=name) for n, name in enumerate(names, start=1)], 60)
    shown = [line.split()[0] for line in lines[1:3]]
    assert shown == ["the-quite-…-group-11", "the-quite-…-group-12"]


def test_a_summary_that_is_too_long_goes_on_in_the_next_line(jobs: tuple[Job, ...]) -> None:
    summary = next(line for line in table(jobs, 100) if line.startswith("5 of 12 jobs ended"))
    assert len(summary) > 60
    assert summary in " ".join(table(jobs, 60))


@pytest.mark.parametrize("width", [80, 60, 40])
def test_what_to_do_stands_whole_on_lines_of_its_own(width: int) -> None:
    console = screen(width)
    note = "no controller is at work on cohort monday: `gamectl resume --cohort monday` starts one"
    console.print(live_table([job(1)], Outlook(), 1, NOW, width, 24, [note]))
    lines = drawn(console).splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("no controller"))
    assert " ".join(line.strip() for line in lines[begin:]).split() == note.split()


def test_no_time_is_promised_before_there_is_a_speed() -> None:
    assert " left" not in "".join(table([job(1), job(2)]))


def test_colours_only_where_they_are_wanted(
    jobs: tuple[Job, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def colours() -> bool:
        console = Console(
            file=io.StringIO(), width=80, force_terminal=True, color_system="standard"
        )
        console.print(live_table(newest_revisions(jobs), Outlook(), 5, NOW, 80, 24))
        assert isinstance(console.file, io.StringIO)
        return re.search(r"\x1b\[[0-9;]*3[0-7]m", console.file.getvalue()) is not None

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours()


def test_a_terminal_shows_the_last_state_even_if_it_came_too_soon_to_be_drawn() -> None:
    console = screen()
    with LiveView(SPEC, 1, clock=lambda: NOW, console=console) as view:
        view.show([job(1)])
        view.show([replace(job(1), phase=Phase.CANCELLED, reason=Reason.CANCELLED_BY_ORGANIZER)])
    assert "Cancelled" in drawn(console)
    assert "1 of 1 jobs ended" in drawn(console)


def test_trouble_stands_under_the_table_until_it_is_over() -> None:
    console = screen()
    with LiveView(SPEC, 1, clock=lambda: NOW, console=console) as view:
        view.show([job(1)])
        view.say("the store did not answer")
        view.show([job(1)])
    frames = drawn(console).split("team ")
    assert "the store did not answer" in "".join(frames[:-1])
    assert "the store did not answer" not in frames[-1]


def test_a_forecast_that_would_take_too_long_is_left_to_get(
    jobs: tuple[Job, ...],
) -> None:
    crowd = [replace(job(1, *[Phase.PENDING] * (MOST_MEMBERS + 1)), team="crowd")]
    console = screen()
    with LiveView(SPEC, 5, clock=lambda: NOW, console=console) as view:
        view.show([*jobs, *crowd])
    assert "#1" not in drawn(console)
    console = screen()
    with LiveView(SPEC, 5, clock=lambda: NOW, console=console) as view:
        view.show(jobs)
    assert "#1" in drawn(console)


def test_drawing_takes_a_small_share_of_the_time() -> None:
    """A clock on which every look takes a second: drawing must become rare."""
    ticks = iter(range(10_000))
    console = screen()
    with LiveView(SPEC, 1, clock=lambda: float(next(ticks)), console=console) as view:
        for _ in range(50):
            view.show([job(1)])
    assert drawn(console).count("team ") < 10
