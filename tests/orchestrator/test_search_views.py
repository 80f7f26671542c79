"""A search while it runs and afterwards: lines, a bar, the table, the picture."""

import io
from collections.abc import Callable
from dataclasses import replace
from errno import EPIPE
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image
from rich.console import Console

from orchestrator.admission.files import read_paths
from orchestrator.errors import TrackingError
from orchestrator.search.candidates import candidates, plan_of
from orchestrator.search.picture import picture
from orchestrator.search.run import Desk, Done
from orchestrator.search.space import knobs_of
from orchestrator.search.table import figures, note, summary, table
from orchestrator.search.trials import Outcome, Search
from orchestrator.search.view import SearchView
from tests.orchestrator.cohorts import epoch
from tests.orchestrator.commands import gamectl
from tests.orchestrator.screens import drawn, screen

WriteCohort = Callable[..., Path]
LOADOUT = "epochs: 2\npurchases: [{item: rate-rollercoaster}, {item: whirl-and-swirl, degrees: 7}]"
# Accuracies after each epoch, of candidates 0 to 5
LEARNT = [(0.2, 0.4), (0.3,), (0.3, 0.5), (), (0.1,), ()]
DIVERGED = "the loss is no number"
NAMES = ("better.yaml", "tuning.png")


@pytest.fixture
def begun(write_cohort: WriteCohort) -> Search:
    """A search of six candidates with two epochs each, before any trial has ended."""
    reading = read_paths([write_cohort({"apes": LOADOUT})])
    file = next(file for file in reading.files if file.loadout is not None)
    assert file.loadout is not None
    knobs = knobs_of(file.loadout, reading.cohort, 0, ["epochs"])
    tried = candidates(file, reading.cohort, knobs, 0, len(LEARNT), 0)
    outcomes = [Outcome(each, plan_of(each, reading.cohort, 0)) for each in tried]
    return Search(
        team="apes", cohort="small", experiment="small-apes-tuning", member=None, knobs=knobs,
        own_candidate=tried[0], num_candidates=len(tried), num_images=219,
        outcomes=tuple(outcomes),
    )  # fmt: skip


class Kept:
    """Where trials are kept, until it breaks."""

    def __init__(self, works_for: int = 100) -> None:
        self.numbers: list[int] = []
        self._works_for = works_for

    def trial(self, outcome: Outcome, began_at: float, ended_at: float) -> None:
        if len(self.numbers) == self._works_for:
            raise TrackingError("MLflow: gone")
        assert began_at <= ended_at
        self.numbers.append(outcome.number)


def play(begun: Search, console: Console, kept: Kept) -> tuple[Search, Desk]:
    """Everything that `LEARNT` says; trial 4 fails, trial 2 is the last to report."""
    given = begun.outcomes
    with SearchView([each.plan.epochs for each in given], console) as view:
        desk = Desk([each.candidate for each in given], [e.plan for e in given], view, kept)
        for number in (0, 1, 4, 2):
            for at, accuracy in enumerate(LEARNT[number], start=1):
                desk.on_epoch(number, epoch(at, accuracy))
            if number != 1:
                desk.on_end(number, DIVERGED if number == 4 else None)
        desk.on_end(3, None)  # stopped before it had begun
        outcomes = desk.close()
    return Search(**{**vars(begun), "outcomes": outcomes}), desk


def test_outcomes_are_told_apart_and_ranked(begun: Search) -> None:
    found, _ = play(begun, Console(file=io.StringIO()), Kept())
    states = {each.number: each.state for each in found.outcomes}
    assert states == {0: "complete", 1: "stopped", 2: "complete", 4: "failed"}
    assert [each.number for each in found.ranked] == [2, 0]
    assert found.own is found.outcomes[0]
    assert figures(found) == {
        "num_trials": 4, "best_val_accuracy": 0.5, "own_val_accuracy": 0.4
    }  # fmt: skip
    assert found.to_dict("x")["best"] == 2
    assert f"1 failed. Trial 4 failed: {DIVERGED}." in summary(found)


def test_what_was_found_is_kept_also_where_nobody_reads_it(
    begun: Search, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = play(begun, Console(file=io.StringIO()), Kept())
    done = Done(replace(found, experiment=None), True, None, None)
    monkeypatch.setattr("orchestrator.cli.tune._search", lambda *_: done)
    loadout, better, image = (Path(found.own_candidate.file.path), *(tmp_path / n for n in NAMES))
    words = ["tune", loadout, "-o", better, "--picture", image]
    said = gamectl(*words)
    assert said.exit_code == 0, said.output
    assert "MLflow's experiment" not in said.stderr
    kept = better.read_bytes(), image.read_bytes()
    better.unlink()
    image.unlink()
    monkeypatch.setattr(
        "orchestrator.console.print_table", Mock(side_effect=BrokenPipeError(EPIPE, "gone"))
    )
    assert gamectl(*words).exit_code != 0
    assert (better.read_bytes(), image.read_bytes()) == kept


def test_each_trial_has_a_line_where_there_is_no_terminal(begun: Search) -> None:
    lines = io.StringIO()
    kept = Kept()
    play(begun, Console(file=lines, width=60), kept)
    assert lines.getvalue().splitlines() == [
        "trial 0 of 6: 40.0%, complete after 2 of 2 epochs",
        f"trial 4 of 6: failed: {DIVERGED}",
        "trial 2 of 6: 50.0%, complete after 2 of 2 epochs",
        "trial 1 of 6: 30.0%, stopped after 1 of 2 epochs",
    ]
    assert kept.numbers == [0, 4, 2, 1]


def test_nothing_is_drawn_into_a_pipe_even_with_colours(
    begun: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    lines = io.StringIO()
    with SearchView([2], Console(file=lines, force_terminal=True)) as view:
        view.end(replace(begun.outcomes[0], fault="\x1b[2J"))
    assert lines.getvalue() == "trial 0 of 1: failed: \\x1b[2J\n"


def test_a_terminal_shows_the_best_so_far(begun: Search) -> None:
    console = screen(70)
    play(begun, console, Kept())
    assert "4 of 6 trials, best 50.0% (trial 2)" in drawn(console)
    assert max(map(len, drawn(console).splitlines())) <= 70


def test_where_trials_cannot_be_kept_the_search_goes_on(begun: Search) -> None:
    kept = Kept(works_for=1)
    found, desk = play(begun, Console(file=io.StringIO()), kept)
    assert kept.numbers == [0]
    assert str(desk.log_error) == "MLflow: gone"
    assert len(found.outcomes) == 4


def test_the_table_compares_the_best_with_the_loadouts_own(begun: Search) -> None:
    found, _ = play(begun, Console(file=io.StringIO()), Kept())
    columns, rows = table(found)
    assert columns == ["", "yours", "best", "second"]
    cells = {row[0]: row[1:] for row in rows}
    assert cells["validation accuracy"] == ["40.0%", "50.0%", "40.0%"]
    assert cells["trial"] == ["0", "2", "0"]
    assert cells["whirl-and-swirl.degrees"][0] == "7"
    # The loadout's schedule is cosine, which has no use for it.
    assert cells["rate-rollercoaster.factor"][0] == "-"
    text = summary(found)
    assert text.startswith("4 of 6 trials begun: 2 complete, 1 stopped early, 1 failed.")
    assert "on 219 validation images may be off by 7 points" in text
    assert "50.0% with trial 2, 40.0% before" in note(found, "spec: {}\n")
    assert "```yaml\nspec: {}\n```" in note(found, "spec: {}\n")
    assert "no trial did better than the loadout's own 50.0%" in note(found, None)


@pytest.mark.parametrize("trials", ["all", "none"])
def test_the_picture_is_drawn_of_whatever_there_is(begun: Search, trials: str) -> None:
    found, _ = play(begun, Console(file=io.StringIO()), Kept())
    if trials == "none":
        found = Search(**{**vars(begun), "outcomes": ()})
        assert summary(found) == "0 of 6 trials begun: none."
        assert "no trial came to its last epoch" in note(found, None)
    with Image.open(io.BytesIO(picture(found))) as image:
        assert image.size == (1920, 1080)
