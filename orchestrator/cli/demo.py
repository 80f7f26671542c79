"""`gamectl demo`: a whole game with the embedded data set, from loadouts to leaderboard.

In: the loadouts in `loadouts/demo` of the checkout. Out: a trained, scored and published cohort.
"""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import click

import orchestrator
from orchestrator import console
from orchestrator.admission.files import Reading, read_paths
from orchestrator.admission.items.losses import WisdomExtractor
from orchestrator.errors import NoTeacher, NotFound
from orchestrator.settings import Settings

LOADOUTS = Path(orchestrator.__file__).parent.parent / "loadouts" / "demo"


@click.command(
    "demo",
    epilog="""\b
    Example:
      gamectl demo""",
)
def command() -> None:
    """Play a whole game with the embedded data set.

    Draws the data, submits loadouts/demo, trains, scores, publishes, and prints the leaderboard.
    """
    if not LOADOUTS.is_dir():
        raise NotFound(f"no folder {LOADOUTS}; run `gamectl demo` from a checkout")

    from orchestrator.opening import open_store
    from orchestrator.results.leaderboard import leaderboard
    from orchestrator.results.scorebook import read_scores
    from orchestrator.terminal.ranking import print_leaderboard
    from orchestrator.workflows.scoring import score_and_publish
    from orchestrator.workflows.submitting import run_cohort

    settings = Settings()
    reading = _with_safe_code(read_paths([LOADOUTS]), settings)
    try:
        name, _ = run_cohort(reading, None, False, None, settings)
    except NoTeacher as error:
        # On another kind of processor the monkeys may be drawn with other bits than the teacher's.
        console.print_note(f"the demo goes on without the teams that have a teacher: {error}")
        name, _ = run_cohort(without_students(reading), None, False, None, settings)
    score_and_publish(name, True, None, settings)
    book = read_scores(settings.scores, name)
    assert book is not None, "it has just written it"
    with open_store(settings) as store:
        board = leaderboard(store.jobs(name), book)
    console.print_text("")
    print_leaderboard(board)
    gamectl = _as_called()
    console.print_note(
        f"""
What next:
  {gamectl} report            all of this as one page for the projector
  {gamectl} ui                curves, receipts and confusion matrices, in MLflow
  {gamectl} classify IMAGE    ask the best network which monkey is in a picture
  {gamectl} shop              what there is to buy
  {gamectl} validate FILE     check a loadout of your own"""
    )


def without_students(reading: Reading) -> Reading:
    """Leave out the loadouts that distil."""
    stay = [
        file
        for file in reading.files
        if file.loadout is None
        or not any(item.item == WisdomExtractor.key() for item in file.loadout.spec.purchases)
    ]
    return replace(reading, files=tuple(stay))


def _with_safe_code(reading: Reading, settings: Settings) -> Reading:
    """Leave out the loadouts that bring code, where this machine has no sandbox for it."""
    from orchestrator.submission import no_sandbox

    if settings.ray_address is not None:  # of another cluster only its controller knows
        return reading
    reason = no_sandbox(reading.cohort.spec.sandbox_rules)
    if reason is None:
        return reading
    console.print_note(f"the demo goes on without the teams that bring code: {reason}")
    return without_code(reading)


def without_code(reading: Reading) -> Reading:
    """Leave out the loadouts that bring code of their own."""
    stay = [file for file in reading.files if file.loadout is None or file.loadout.code is None]
    return replace(reading, files=tuple(stay))


def _as_called() -> str:
    """The words that start this program: after `make demo` it is not on the PATH."""
    return "gamectl" if shutil.which("gamectl") else os.path.relpath(sys.argv[0])
