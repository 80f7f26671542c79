"""`gamectl leaderboard`: who won.

In: jobs and scores. Out: a ranking as a table or JSON.
"""

import click

from orchestrator import console
from orchestrator.cli.common import cohort_option, output_option
from orchestrator.errors import NotFound
from orchestrator.opening import open_store, pick_cohort
from orchestrator.phases import Phase
from orchestrator.results.leaderboard import Leaderboard, Row, leaderboard
from orchestrator.results.scorebook import read_scores
from orchestrator.settings import Settings


@click.command(
    "leaderboard",
    epilog="""\b
    Example:
      gamectl leaderboard --cohort demo
      gamectl leaderboard --cohort demo -o json""",
)
@cohort_option
@output_option
def command(cohort: str | None, output: str) -> None:
    """Rank a cohort's scored teams by accuracy on the test set.

    Of each team its newest revision counts, whatever became of it. Ties go to the team that spent
    less, then to the earlier submission. The interval is Wilson's, at 95 %.
    """
    settings = Settings()
    with open_store(settings) as store:
        name = pick_cohort(store, cohort).name
        book = read_scores(settings.scores, name)
        if book is None:
            raise NotFound(
                f"cohort {name!r} has no scores yet; `gamectl score --cohort {name}` makes them"
            )
        board = leaderboard(store.jobs(name), book)
    if output == "json":
        console.print_json(board.to_dict())
    else:
        print_leaderboard(board)


def print_leaderboard(board: Leaderboard) -> None:
    """Prints the ranking as a table."""
    console.print_table(
        ["rank", "team", "accuracy", "95 % interval", "recall", "spent", "members"],
        [_cells(row) for row in board.rows],
        right=["rank", "accuracy", "recall", "spent", "members"],
    )
    state = "published" if board.published else "not published: only you see this"
    images = images_in_words(board.test_images, board.test_images_left_out)
    console.print_note(f"\ncohort {board.cohort}, {images}, {state}")
    late = sum(row.accuracy is None and row.phase is Phase.SUCCEEDED for row in board.rows)
    if late:
        teams = "1 team has" if late == 1 else f"{late} teams have"
        console.print_note(
            f"{teams} a network without a score: gamectl score --cohort {board.cohort}"
        )
    degraded = sum(row.degraded for row in board.rows)
    if degraded:
        teams = "1 team is" if degraded == 1 else f"{degraded} teams are"
        console.print_note(f"{teams} scored without members that were lost: see `members`")


def images_in_words(num_used: int, num_left_out: int) -> str:
    """In words, which test images a score rests on."""
    if num_left_out == 0:
        return f"{num_used} test images"
    total = num_used + num_left_out
    return f"{num_used} of {total} test images ({num_left_out} leaked ones left out)"


def _cells(row: Row) -> list[object]:
    trained = f"{row.num_members_trained} of " if row.degraded else ""
    bought = [f"{row.spent_bnn:g}", f"{trained}{row.num_members}"]
    if row.accuracy is None or row.accuracy_low is None or row.accuracy_high is None:
        return ["-", row.team, "-", row.phase, "-", *bought]
    interval = f"{row.accuracy_low:.1%} - {row.accuracy_high:.1%}"
    recall = f"{row.macro_recall:.1%}"
    return [row.rank, row.team, f"{row.accuracy:.1%}", interval, recall, *bought]
