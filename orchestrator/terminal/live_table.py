"""The live table: a cohort's state drawn for a terminal.

In: each team's newest job, the outlook, the size of the terminal. Out: something that rich prints,
never wider or higher than the terminal: jobs that do not fit are counted. Next on the path: `live`,
which draws it again whenever something has changed.
"""

import textwrap
from collections.abc import Sequence

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
TEAM_CHARS = 20
WIDE = 80
"""A narrower terminal shows one member a job and no accuracy."""


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
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("team", no_wrap=True)
    table.add_column("phase", no_wrap=True, min_width=len(Phase.CANCELLED))
    table.add_column("epochs", no_wrap=True, overflow="ellipsis")
    if wide:
        table.add_column("val", justify="right", no_wrap=True)
    table.add_column("expected", no_wrap=True, overflow="ellipsis")
    ranked = sorted(jobs, key=lambda job: _rank(job, ahead))
    summary = summarize(jobs, ahead, num_slots, now)
    below = [summary, *notes]
    room = max(1, height - ROWS_RESERVED - sum(len(textwrap.wrap(text, width)) for text in below))
    for job in ranked[:room]:
        team = cut_inside(printable(display.team_of(job)), TEAM_CHARS)
        cells = [Text(team), _phase(job), _epochs(job, wide)]
        cells += [Text(display.accuracy(job))] if wide else []
        table.add_row(*cells, Text(display.expected(job, ahead, now)))
    hidden = len(ranked) - room
    more = [Text(f"... and {hidden} more", style="dim")] if hidden > 0 else []
    bar = ProgressBar(total=max(_work(jobs), 1e-9), completed=_work_done(jobs), width=30)
    remarks = [Text(printable(note), style="yellow") for note in notes]
    return Group(table, *more, Text(summary), Padding(bar), *remarks)  # a bar does not end its line


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


def _epochs(job: Job, wide: bool) -> Text:
    shown = job.members[: display.MEMBERS_SHOWN if wide else 1]
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
