"""The live table: a cohort's state drawn for a terminal.

In: each team's newest job, the outlook, the size of the terminal. Out: something that rich prints,
never wider or higher than the terminal: jobs that do not fit are counted. Next on the path: `live`,
which draws it again whenever something has changed.
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal

from rich.console import Group
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.console import cut_inside, printable
from orchestrator.forecasting.outlook import Outlook, busy_slots
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job
from orchestrator.terminal import display
from orchestrator.widths import GAP

STYLES = {
    Phase.PENDING: "dim",
    Phase.RUNNING: "cyan",
    Phase.SUCCEEDED: "green",
    Phase.FAILED: "red",
    Phase.CANCELLED: "yellow",
    Phase.SUPERSEDED: "dim",
}
REASON_STYLES: dict[str, str] = {
    Reason.SUSPENDED: "yellow",
    Reason.BACK_OFF: "yellow",
    Reason.INTERRUPTED: "yellow",
    Reason.SCHEDULING_GATED: "yellow",
    Reason.DEGRADED: "yellow",
}
ORDER = [Phase.RUNNING, Phase.FAILED, Phase.PENDING, Phase.SUCCEEDED, Phase.CANCELLED]
ROWS_RESERVED = 4
"""Lines of the terminal that the rows leave free: header, count, bar, prompt; not what is below."""
TEAM_CHARS, LEAST_TEAM_CHARS = 20, 8
"""A name is cut so much always, and so much at the most before a column is left out."""
WIDE, NARROW = 80, 50
"""A narrower terminal shows one member a job and no accuracy; then no time either."""


def live_table(
    jobs: Sequence[Job],
    ahead: Outlook,
    num_slots: int | None,
    now: float,
    width: int,
    height: int,
    notes: Sequence[str] = (),
) -> Group:
    """The table of `width` x `height` characters: what runs, what failed, the queue, the rest.

    `notes` are lines under the summary about what is in the way; they take rows from the table.
    """
    ranked = sorted(jobs, key=lambda job: _rank(job, ahead))
    summary = summarize(jobs, ahead, num_slots, now)
    below = [summary, *notes]
    room = max(1, height - ROWS_RESERVED - sum(len(textwrap.wrap(text, width)) for text in below))
    table = _table(ranked[:room], ahead, now, width)
    hidden = len(ranked) - room
    more = [Text(f"... and {hidden} more", style="dim")] if hidden > 0 else []
    bar = ProgressBar(total=max(_work(jobs), 1e-9), completed=_work_done(jobs), width=30)
    remarks = [Text(printable(note), style="yellow") for note in notes]
    return Group(table, *more, Text(summary), Padding(bar), *remarks)  # a bar does not end its line


def _table(jobs: Sequence[Job], ahead: Outlook, now: float, width: int) -> Table:
    """A row for each job, with as many columns and as much of the names as there is room for."""
    teams = [printable(display.team_of(job)) for job in jobs]
    longest = max((len(team) for team in teams), default=0)
    for num_members, names in _choices(width):
        columns = {
            "phase": [_phase(job) for job in jobs],
            "epochs": [_epochs(job, num_members) for job in jobs],
            "val": [Text(display.accuracy(job)) for job in jobs],
            "expected": [Text(display.expected(job, ahead, now)) for job in jobs],
        }
        columns = {name: columns[name] for name in names}
        needed = {n: max([len(n), *(c.cell_len for c in cells)]) for n, cells in columns.items()}
        needed["phase"] = max(needed["phase"], len(Phase.CANCELLED))
        left = width - sum(needed.values()) - GAP * len(needed)
        if left >= min(longest, LEAST_TEAM_CHARS):
            break
    team_chars = max(min(left, TEAM_CHARS), len("team"))
    # The last choice: phases are cut before numbers.
    needed["phase"] = max(1, needed["phase"] - max(0, team_chars - left))
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column("team", no_wrap=True)
    for name, chars in needed.items():
        side: Literal["left", "right"] = "right" if name == "val" else "left"
        table.add_column(name, justify=side, no_wrap=True, overflow="ellipsis", width=chars)
    for team, *cells in zip(teams, *columns.values(), strict=True):
        table.add_row(Text(cut_inside(team, team_chars)), *cells)
    return table


def _choices(width: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    """How many members to show and which columns, beside the team: the most first."""
    if width >= WIDE:
        yield display.MEMBERS_SHOWN, ("phase", "epochs", "val", "expected")
        yield 1, ("phase", "epochs", "val", "expected")
    if width >= NARROW:
        yield 1, ("phase", "epochs", "expected")
    yield 1, ("phase", "epochs")


def summarize(jobs: Sequence[Job], ahead: Outlook, num_slots: int | None, now: float) -> str:
    """One line on the whole cohort: jobs that are over, busy slots, when it is expected to end."""
    over = sum(job.phase.terminal for job in jobs)
    busy = busy_slots(jobs)
    slots = f"{busy} slots busy" if num_slots is None else f"{busy} of {num_slots} slots busy"
    failed = sum(job.phase is Phase.FAILED for job in jobs)
    ended = f"{over} of {len(jobs)} jobs ended"
    text = f"{ended}{f' ({failed} failed)' if failed else ''}, {slots}"
    suspended = sum(job.suspended and not job.phase.terminal for job in jobs)
    if suspended:
        text += f", {suspended} suspended"
    if ahead.end is None or over == len(jobs):
        return text
    left = display.duration(ahead.end - now)
    return f"{text}, {left} left (~{display.short_time(ahead.end, now)})"


def _rank(job: Job, ahead: Outlook) -> tuple[int, float, float]:
    """Running jobs first, then those that somebody should look at, then the queue in its order,
    then what ended, the newest first."""
    place = ahead.positions.get(job.id, len(ahead.positions) + 1)
    phase = ORDER.index(job.phase) if job.phase in ORDER else len(ORDER)
    return (phase, place if job.phase is Phase.PENDING else 0, -(job.ended_at or 0.0))


def _phase(job: Job) -> Text:
    word = display.status(job)
    return Text(word, style=REASON_STYLES.get(word, STYLES[job.phase]))


def _epochs(job: Job, num_members: int) -> Text:
    shown = job.members[:num_members]
    parts = [Text(display.member_epochs(member), style=STYLES[member.phase]) for member in shown]
    more = display.more(job, len(shown))
    return Text(" ").join([*parts, Text(more, style="dim")] if more else parts)


def _work(jobs: Sequence[Job]) -> float:
    return sum(member.work for job in jobs for member in job.members)


def _work_done(jobs: Sequence[Job]) -> float:
    """Work that is done or will not be done any more."""
    return sum(
        member.work * (1.0 if job.phase.terminal or member.phase.terminal
                       else member.epoch / max(member.epochs, 1))
        for job in jobs
        for member in job.members
    )  # fmt: skip
