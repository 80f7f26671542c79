"""A cohort watched while it runs: a live table in a terminal, plain lines anywhere else.

In: the jobs after every round, of the controller in this process or, for `watch`, read from the
store while another process works. Out: text on stderr, so that stdout stays free for results.
`live_table` draws the table and `display` has the words. Used by `serve`, `attend` and `get`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live

from orchestrator.admission.cohort import Cohort, CohortSpec
from orchestrator.console import printable
from orchestrator.forecasting.outlook import Outlook, busy_slots, outlook
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job, Member, newest_revisions
from orchestrator.terminal import display
from orchestrator.terminal.live_table import live_table, summarize
from orchestrator.terminal.lookup import is_over, lease_of, nobody_at_work
from orchestrator.terminal.progress_bars import draws, stderr_console

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store

Clock = Callable[[], float]
Until = Callable[[Sequence[Job]], bool]

DRAW_EVERY_S = 0.2
FORECAST_EVERY_S = 2.0
SUMMARY_EVERY_S = 60.0
"""Without a terminal: so long nothing is said at most."""
LARGEST_SHARE = 0.05
"""Of the time, that drawing and forecasting may take each: a controller has other things to do."""
MOST_BETWEEN_S = 30.0
"""What seems to have taken hours was the machine's sleep."""
MOST_MEMBERS = 3000
"""Of members that are not over, to forecast while they run: half a second. `get` has no limit."""


class LiveView:
    """A context whose `show` draws the state of a cohort.

    `spec` has the cohort's rules, and `num_slots` is how many there are, or None while that is not
    known; both may change. `console` is where it draws: stderr by default. Where it `lists`, plain
    lines begin with what had ended before, which otherwise is only counted.
    """

    def __init__(
        self,
        spec: CohortSpec,
        num_slots: int | None,
        clock: Clock = time.time,
        console: Console | None = None,
        lists: bool = False,
    ) -> None:
        self._lists = lists
        self.spec = spec
        self.num_slots = num_slots
        self._clock = clock
        self._console = console or stderr_console()
        self._drawn = draws(self._console)
        self._live = Live(console=self._console, auto_refresh=False)
        self._draw_pace = _Pace(clock, DRAW_EVERY_S)
        self._forecast_pace = _Pace(clock, FORECAST_EVERY_S)
        self._outlook = Outlook()
        self._newest: Sequence[Job] = ()
        self._note = ""
        self._known: dict[int, Job] = {}
        self._said: dict[object, str] = {}
        self._silent_since = clock()

    def __enter__(self) -> Self:
        if self._drawn:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._drawn:
            self._draw()
            self._live.stop()

    def show(self, jobs: Sequence[Job], at_work: bool = True, note: str = "") -> None:
        """Draws each team's newest job in a terminal, and says what is new anywhere else.

        `at_work` tells whether a controller works on the cohort; where none does, the view says how
        to start one and promises no time. The `note` says what keeps it from going on.
        """
        self._newest = newest_revisions(jobs)
        if at_work or not any(job.is_left for job in self._newest):
            self._set_note(note)
        else:
            self._set_note(nobody_at_work(self._newest[0].cohort))
        if not self._drawn:
            withdrawn = [job for job in jobs if job.reason == Reason.WITHDRAWN]
            self._print_changes([*self._newest, *(j for j in withdrawn if j.id in self._known)])
            self._print_summary(jobs, at_work)
            return
        if _num_left(jobs) > MOST_MEMBERS:
            self._outlook = Outlook()
        elif self._forecast_pace.due():
            slots = self.num_slots if at_work else None
            with self._forecast_pace:
                self._outlook = outlook(jobs, self.spec, self._clock(), slots)
        if self._draw_pace.due():
            with self._draw_pace:
                self._draw()

    def say(self, text: str) -> None:
        """Shows what is in the way of going on, until the next `show`; the same text only once."""
        self._set_note(text)
        if self._drawn:
            self._draw()

    def _set_note(self, text: str) -> None:
        if text and text != self._note and not self._drawn:
            self._print(text)
        self._note = text

    def _draw(self) -> None:
        width, height = self._console.size
        notes = [self._note] if self._note else []
        table = live_table(
            self._newest, self._outlook, self.num_slots, self._clock(), width, height, notes
        )
        self._live.update(table, refresh=True)

    def _print_changes(self, jobs: Sequence[Job]) -> None:
        before = [job for job in jobs if job.phase.terminal]
        if self._known or self._lists or len(before) == len(jobs):
            before = []
        if before:
            had = "1 job had" if len(before) == 1 else f"{len(before)} jobs had"
            self._print(f"{had} ended before")
        for job in before:
            self._known[job.id] = job
            self._said |= {key: line for key, _, line in _sentences(job)}
        for job in jobs:
            if self._known.get(job.id) is job:
                continue
            self._known[job.id] = job
            for key, who, line in _sentences(job):
                # A job that was never anything but queued is no news.
                if self._said.get(key, Reason.QUEUED) != line:
                    self._said[key] = line
                    self._print(f"{who}: {line}")

    def _print_summary(self, jobs: Sequence[Job], at_work: bool) -> None:
        """Says how far it all is, where nothing else was said for a while."""
        now = self._clock()
        if not at_work or now < self._silent_since + SUMMARY_EVERY_S or not _num_left(jobs):
            return
        few = _num_left(jobs) <= MOST_MEMBERS
        ahead = outlook(jobs, self.spec, now, self.num_slots) if few else Outlook()
        self._print(summarize(self._newest, ahead, self.num_slots, now))

    def _print(self, text: str) -> None:
        self._silent_since = self._clock()
        stamp = time.strftime("%H:%M:%S", time.localtime(self._clock()))
        line = printable(f"{stamp} {text}")
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def watch(
    name: str,
    store: Store,
    until: Until | None = None,
    poll_s: float = 0.5,
    *,
    patient: bool = False,
    console: Console | None = None,
    clock: Clock = time.time,
    pause: Callable[[float], None] = time.sleep,
) -> bool:
    """Shows a cohort that another process runs, until `until` is true of each team's newest job.

    By default that is when every job is over; without a controller at work, suspended jobs are over
    enough. Returns True then, and False where no controller is left to bring it about, for which
    one that is `patient` waits. Raises `NotFound` for an unknown cohort.
    """
    spec, document = Cohort.stored(store.cohort(name).spec).spec, ""
    jobs: dict[int, Job] = {}
    last_event_id = 0
    with LiveView(spec, None, clock, console, lists=patient) as view:
        while True:
            # Before the jobs are read: a controller that has ended by then has written everything.
            lease = lease_of(store, name)
            at_work = lease is not None
            view.num_slots = lease.slots if lease is not None else None
            moving = [job.id for job in jobs.values() if busy_slots([job])]
            changes = store.changes(name, last_event_id, also=moving)
            last_event_id = max(last_event_id, changes.last_event_id)
            if changes.spec != document:
                document, view.spec = changes.spec, Cohort.stored(json.loads(changes.spec)).spec
            jobs |= {job.id: job for job in changes.jobs}
            newest = newest_revisions(jobs.values())
            view.show(list(jobs.values()), at_work)
            if until(newest) if until is not None else is_over(newest, at_work):
                return True
            if not at_work and not patient:
                return False
            pause(poll_s)


def _num_left(jobs: Sequence[Job]) -> int:
    return sum(len(job.members) for job in jobs if not job.phase.terminal)


def _sentences(job: Job) -> Iterator[tuple[object, str, str]]:
    """What there is to say of a job as it stands: (what it is about, who, in words)."""
    who = display.team_of(job)
    for member in () if job.phase.terminal else job.members:
        line = _member_sentence(job, member)
        if line:
            named = f"{who}, member {member.index}" if len(job.members) > 1 else who
            yield member.key, named, line
    yield job.id, who, _job_sentence(job)


def _job_sentence(job: Job) -> str:
    because = f": {job.message}" if job.message else ""
    if job.phase is Phase.SUCCEEDED:
        degraded = f" ({job.reason}: {job.message})" if job.reason == Reason.DEGRADED else ""
        return f"{job.phase}{degraded}, validation accuracy {display.accuracy(job)}"
    if job.phase is Phase.RUNNING:
        if job.suspended:
            return "is being suspended"
        note = display.lost_note(job)
        return f"{job.phase}{f', {note}' if note else ''}"
    if job.phase is Phase.PENDING:
        return f"{job.reason}{because}"
    return f"{job.phase}{because}"


def _member_sentence(job: Job, member: Member) -> str:
    """Empty where the job's own sentence says it."""
    alone = len(job.members) == 1
    if member.phase is Phase.PENDING:
        return f"{member.reason}: {member.message}" if member.reason == Reason.BACK_OFF else ""
    if member.phase is Phase.RUNNING:
        again = f", attempt {member.attempt}" if member.attempt > 1 else ""
        waits = f", {member.message}" if member.message else ""
        told = again or waits or not alone
        return f"{member.phase} on {member.slot}{again}{waits}" if told else ""
    if alone or member.phase is Phase.CANCELLED:
        return ""
    because = f": {member.message}" if member.phase is Phase.FAILED and member.message else ""
    return f"{member.phase}{because}"


class _Pace:
    """Lets something be done at most every `least_s`, and for a small share of the time only."""

    def __init__(self, clock: Clock, least_s: float) -> None:
        self._clock = clock
        self._least_s = least_s
        self._began_at = 0.0
        self._next_at = float("-inf")

    def due(self) -> bool:
        return not self._began_at <= self._clock() < self._next_at  # a clock may be set back

    def __enter__(self) -> None:
        self._began_at = self._clock()

    def __exit__(self, *_: object) -> None:
        now = self._clock()
        rest_s = min((now - self._began_at) / LARGEST_SHARE, MOST_BETWEEN_S)
        self._next_at = now + max(self._least_s, rest_s)
