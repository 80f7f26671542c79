"""A ranking as a table.

In: a `Leaderboard`. Out: lines for people. Used by the commands that rank, and by whoever scores.
"""

from orchestrator import console
from orchestrator.results.leaderboard import Leaderboard, Row


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
    if late := board.num_unscored:
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
        return [row.place, row.team, "-", row.phase, "-", *bought]
    interval = f"{row.accuracy_low:.1%} - {row.accuracy_high:.1%}"
    recall = f"{row.macro_recall:.1%}"
    return [row.place, row.team, f"{row.accuracy:.1%}", interval, recall, *bought]
