"""A ranking as a table.

In: a `Leaderboard`. Out: lines for people. Used by the commands that rank, and by whoever scores.
"""

from collections.abc import Sequence

from orchestrator import console
from orchestrator.results.leaderboard import Leaderboard, Row
from orchestrator.widths import GAP

COLUMNS = ["rank", "team", "accuracy", "95 % interval", "recall", "spent", "members"]
RIGHT = ["rank", "accuracy", "recall", "spent", "members"]
TEAM = COLUMNS.index("team")
SPARE = ["spent", "members", "95 % interval"]
"""What is left out, in this order, before a name is cut shorter than `LEAST_NAME`."""
LEAST_NAME = 8


def print_leaderboard(board: Leaderboard, was_published: bool = False) -> None:
    """Prints the ranking as a table.

    Where there is little room it has no recall, then names are cut, then it has no `SPARE` columns.

    `was_published` says that others see an older one.
    """
    table = [list(COLUMNS), *map(_cells, board.rows)]
    room, longest = console.room(), max(len(row[TEAM]) for row in table)
    if _team_room(table, room) < longest:
        table = _without(table, "recall")
    for spare in SPARE:
        if _team_room(table, room) < min(longest, LEAST_NAME):
            table = _without(table, spare)
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
        see = ": see `members`" if "members" in heads else ""
        console.print_note(f"{teams} scored without members that were lost{see}")


def images_in_words(num_used: int, num_left_out: int) -> str:
    """In words, which test images a score rests on."""
    if num_left_out == 0:
        return f"{num_used} test images"
    total = num_used + num_left_out
    return f"{num_used} of {total} test images ({num_left_out} leaked ones left out)"


def _without(table: Sequence[Sequence[str]], column: str) -> list[list[str]]:
    """The table with a column less."""
    at = table[0].index(column)
    return [[*row[:at], *row[at + 1 :]] for row in table]


def _team_room(table: Sequence[Sequence[str]], room: int) -> int:
    """How wide the column of teams may be, so that the table fits."""
    others = [column for at, column in enumerate(zip(*table, strict=True)) if at != TEAM]
    return room - sum(max(map(len, column)) + GAP for column in others)


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
