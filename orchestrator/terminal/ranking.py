"""A ranking as a table.

In: a `Leaderboard`. Out: lines for people. Used by the commands that rank, and by whoever scores.
"""

from collections.abc import Sequence

from orchestrator import console
from orchestrator.results.leaderboard import Leaderboard, Row

COLUMNS = ["rank", "team", "accuracy", "95 % interval", "recall", "spent", "members"]
RIGHT = ["rank", "accuracy", "recall", "spent", "members"]
TEAM, RECALL = COLUMNS.index("team"), COLUMNS.index("recall")
LEAST_NAME = 10
"""A name is not cut shorter."""


def print_leaderboard(board: Leaderboard, was_published: bool = False) -> None:
    """Prints the ranking as a table; where there is little room without recall, and names cut.

    `was_published` says that others see an older one.
    """
    table = [list(COLUMNS), *map(_cells, board.rows)]
    room = console.room()
    if _team_room(table, room) < max(len(row[TEAM]) for row in table):
        table = [[*row[:RECALL], *row[RECALL + 1 :]] for row in table]
    most = max(LEAST_NAME, _team_room(table, room))
    for row in table:
        row[TEAM] = console.cut_inside(row[TEAM], most)
    heads, *rows = table
    console.print_table(heads, rows, right=RIGHT, whole=["95 % interval"])
    only_you = "newer than what is" if was_published else "not"
    state = "published" if board.published else f"{only_you} published: only you see this"
    images = images_in_words(board.test_images, board.test_images_left_out)
    console.print_note(f"\ncohort {board.cohort}, {images}, {state}")
    if board.newer:
        console.print_note(f"ranked by an older revision: there is {', '.join(board.newer)}")
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


def _team_room(table: Sequence[Sequence[str]], room: int) -> int:
    """How wide the column of teams may be, so that the table fits."""
    others = [column for at, column in enumerate(zip(*table, strict=True)) if at != TEAM]
    return room - sum(max(map(len, column)) + console.GAP for column in others)


def _cells(row: Row) -> list[str]:
    trained = f"{row.num_members_trained} of " if row.degraded else ""
    bought = [f"{row.spent_bnn:g}", f"{trained}{row.num_members}"]
    if row.accuracy is None or row.accuracy_low is None or row.accuracy_high is None:
        return [row.place, console.printable(row.team), "-", row.phase, "-", *bought]
    interval = f"{row.accuracy_low:.1%} - {row.accuracy_high:.1%}"
    recall = f"{row.macro_recall:.1%}"
    return [
        row.place,
        console.printable(row.team),
        f"{row.accuracy:.1%}",
        interval,
        recall,
        *bought,
    ]
