"""A cohort watched while it runs: a live table in a terminal, plain lines anywhere else.

In: the jobs after every round of the controller. Out: text on stderr, through rich. Used by
`cli.submit`; results go to stdout, which stays free.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.plan import EpochReport
from orchestrator.console import printable
from orchestrator.phases import Phase
from orchestrator.state import Job, Member, newest_revisions

STYLES = {
    Phase.PENDING: "dim",
    Phase.RUNNING: "cyan",
    Phase.SUCCEEDED: "green",
    Phase.FAILED: "red",
    Phase.CANCELLED: "yellow",
    Phase.SUPERSEDED: "dim",
}
ORDER = [Phase.RUNNING, Phase.PENDING, Phase.FAILED, Phase.SUCCEEDED]
MEMBERS_SHOWN = 3
ROWS_RESERVED = 6
"""Lines of the terminal that the table leaves free: its header, the summary, the prompt."""


class LiveView:
    """A context whose `show` draws the state of a cohort."""

    def __init__(self, num_slots: int, clock: Callable[[], float] = time.time) -> None:
        self._num_slots = num_slots
        self._clock = clock
        self._started_at = clock()
        self._work_at_start: float | None = None
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4)
        self._seen: dict[object, str] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, jobs: Sequence[Job]) -> None:
        """Draws each team's newest job in a terminal, and what is new anywhere else."""
        jobs = newest_revisions(jobs)
        if self._work_at_start is None:
            self._work_at_start = _work_done(jobs)
        if self._console.is_terminal:
            self._live.update(self._table(jobs))
        else:
            self._print_changes(jobs)

    def _table(self, jobs: Sequence[Job]) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("team", max_width=24, overflow="ellipsis", no_wrap=True)
        table.add_column("phase")
        table.add_column("epochs", no_wrap=True)
        table.add_column("validation", justify="right")
        ranked = sorted(jobs, key=lambda j: ORDER.index(j.phase) if j.phase in ORDER else 9)
        room = max(3, self._console.height - ROWS_RESERVED)
        for job in ranked[:room]:
            table.add_row(
                printable(job.team),
                Text(job.phase, style=STYLES[job.phase]),
                _epochs(job),
                _accuracy(job),
            )
        hidden = len(ranked) - room
        more = [Text(f"... and {hidden} more", style="dim")] if hidden > 0 else []
        done, total = _work_done(jobs), _work(jobs)
        bar = ProgressBar(total=max(total, 1), completed=done, width=30)
        return Group(table, *more, Text(self._summary(jobs)), bar)

    def _summary(self, jobs: Sequence[Job]) -> str:
        ended = sum(job.phase.terminal for job in jobs)
        running = sum(m.phase is Phase.RUNNING for job in jobs for m in job.members)
        text = f"{ended} of {len(jobs)} jobs done, {running} of {self._num_slots} slots busy"
        eta_s = self._eta_s(jobs)
        return f"{text}, about {_duration(eta_s)} left" if eta_s is not None else text

    def _eta_s(self, jobs: Sequence[Job]) -> float | None:
        """Time left at the speed since the start; None until there is a speed."""
        done = _work_done(jobs) - (self._work_at_start or 0)
        if done <= 0:
            return None
        left = _work(jobs) - _work_done(jobs)
        return left * (self._clock() - self._started_at) / done

    def _print_changes(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            for member in job.members:
                where = f" on {member.slot}" if member.phase is Phase.RUNNING else ""
                line = f"{member.phase}{where}{_because(member.phase, member.message)}"
                if len(job.members) > 1 and member.phase is not Phase.PENDING:
                    self._print_once(member.key, f"{job.team}, member {member.index}", line)
            if job.phase is Phase.SUCCEEDED:
                line = f"{job.phase}, validation accuracy {_accuracy(job)}"
            else:
                line = f"{job.phase}{_because(job.phase, job.message)}"
            if job.phase is not Phase.PENDING:
                self._print_once(job.id, job.team, line)

    def _print_once(self, key: object, who: str, line: str) -> None:
        if self._seen.get(key) != line:
            self._seen[key] = line
            stamp = time.strftime("%H:%M:%S", time.localtime(self._clock()))
            self._console.print(printable(f"{stamp} {who}: {line}"), markup=False, soft_wrap=True)


def _because(phase: Phase, message: str) -> str:
    return f": {message}" if phase is Phase.FAILED and message else ""


def _epochs(job: Job) -> Text:
    shown = [_member_epochs(member) for member in job.members[:MEMBERS_SHOWN]]
    more = len(job.members) - len(shown)
    parts = [*shown, Text(f"+{more}", style="dim")] if more > 0 else shown
    return Text("  ").join(parts)


def _member_epochs(member: Member) -> Text:
    return Text(f"{member.epoch}/{member.epochs}", style=STYLES[member.phase])


def _accuracy(job: Job) -> str:
    """The job's accuracy once it is known, until then the mean of its members' newest."""
    if job.val_accuracy is not None:
        return f"{job.val_accuracy:.1%}"
    known = [m.val_accuracy for m in job.members if m.val_accuracy is not None]
    return f"{sum(known) / len(known):.1%}" if known else ""


def _work(jobs: Sequence[Job]) -> float:
    return sum(member.work for job in jobs for member in job.members)


def _work_done(jobs: Sequence[Job]) -> float:
    return sum(
        member.work * (1.0 if member.phase.terminal else member.epoch / member.epochs)
        for job in jobs
        for member in job.members
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total), drawn as a bar; one line without a terminal."""
    console = Console(stderr=True)
    with _bars(console) as bars:
        task = bars.add_task(label, total=None, visible=False)

        def update(done: int, total: int) -> None:
            if not console.is_terminal and done == 1:
                console.print(f"{label}: {total}")
            bars.update(task, completed=done, total=total, visible=True)

        yield update


@contextmanager
def epoch_progress(label: str, num_epochs: int) -> Iterator[Callable[[EpochReport], None]]:
    """A function to call with every epoch, drawn as a bar; a line an epoch without a terminal."""
    console = Console(stderr=True)
    with _bars(console) as bars:
        task = bars.add_task(label, total=num_epochs)

        def update(report: EpochReport) -> None:
            said = f"{label}: {report.val_accuracy:.1%} on validation images"
            if not console.is_terminal:
                console.print(f"epoch {report.epoch} of {num_epochs}, {said}", highlight=False)
            bars.update(task, completed=report.epoch, description=said)

        yield update
