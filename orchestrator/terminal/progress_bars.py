"""Progress of one long step, such as decoding images: a bar in a terminal, lines anywhere else.

In: a label, and how much of the step is done. Out: text on stderr, through rich; stdout stays free
for results. Without a terminal a line is written where a step takes long, and now and then while it
goes on. Used by the commands; a whole cohort is watched in `live`.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from jobs.plan import EpochReport
from orchestrator.terminal.display import duration

SILENT_S = 2.0
"""A step that takes no longer needs no line of its own."""
SAY_EVERY_S = 15.0
TORCH_S = 4.0
"""About how long torch takes to load; several times that where the disk has forgotten it."""


class _Remarks:
    """stderr for rich, silent where nobody reads it any more, or where its disk is full.

    A controller whose log cannot be written, or whose terminal is gone, has members to train.
    """

    @property
    def _stream(self) -> IO[str]:
        if sys.stderr is None:  # closed by whoever started us
            return _nowhere()
        stream: IO[str] = getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # below a live view
        return stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@cache
def _nowhere() -> IO[str]:
    return Path(os.devnull).open("w", encoding="utf-8")


@cache
def stderr_console() -> Console:
    """The console that all progress is drawn on: two of them would overwrite each other."""
    return Console(file=cast(IO[str], _Remarks()))


def draws(console: Console) -> bool:
    """Whether a console is a terminal whose cursor can be moved; elsewhere lines are written.

    With FORCE_COLOR rich takes a pipe for a terminal, too: it gets colours, and no bars.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        return False
    return not os.environ.get("FORCE_COLOR") or console.file.isatty()


def bars(console: Console, *columns: ProgressColumn) -> Progress:
    """Bars that begin with their task's description; none is drawn where there is no terminal.

    They leave stdout as it is: a library that is imported below a bar may keep it, and write to it
    when the process ends.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=not draws(console),
    )


def _done_of_total(console: Console) -> Progress:
    return bars(console, BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn())


@contextmanager
def progress(
    label: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total), drawn as a bar; as `said` without a terminal."""
    console = stderr_console()
    if not draws(console):
        with said(label, clock) as say:
            yield say
        return
    with _done_of_total(console) as shown:
        task = shown.add_task(label, total=None, visible=False)
        yield lambda done, total: shown.update(task, completed=done, total=total, visible=True)


@contextmanager
def said(
    label: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total): a line is written first, and another now and then.

    For steps that go on beside others, also below a live view.
    """
    console = stderr_console()
    began = said_at = clock()
    is_new = True

    def update(done: int, total: int) -> None:
        nonlocal said_at, is_new
        now = clock()
        if is_new:
            is_new = False
            console.print(f"{label}: {total}", highlight=False)
        elif now - said_at >= SAY_EVERY_S and 0 < done < total:
            said_at = now
            left = duration((now - began) * (total - done) / done)
            console.print(f"{label}: {done} of {total}, {left} left", highlight=False)

    yield update


@contextmanager
def epoch_progress(label: str, num_epochs: int) -> Iterator[Callable[[EpochReport], None]]:
    """A function to call with every epoch, drawn as a bar; a line an epoch without a terminal."""
    console = stderr_console()
    with _done_of_total(console) as shown:
        task = shown.add_task(label, total=num_epochs)

        def update(report: EpochReport) -> None:
            said = f"{label}: {report.val_accuracy:.1%} on validation images"
            if not draws(console):
                console.print(f"epoch {report.epoch} of {num_epochs}, {said}", highlight=False)
            shown.update(task, completed=report.epoch, description=said)

        yield update


def time_left(
    took_s: float, usual_s: float | None, done: int = 0, of: int = 0, done_s: float | None = None
) -> str:
    """What can be said of the rest of a step: by what is done, or by how long it usually takes.

    `done_s` is when the last of that was done; by default it is now. Nothing is said where neither
    is known.
    """
    if done:
        at_s = took_s if done_s is None else done_s
        left_s = at_s * of / done - took_s
        left = f", {duration(left_s)} left" if left_s >= 0 else ""
        return f"{done} of {of}{left}"
    if usual_s is None:
        return ""
    if took_s < usual_s:
        return f"about {duration(usual_s - took_s)} left"
    return f"longer than the usual {duration(usual_s)}"


class _State:
    """How far a step is that has just begun, and since when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self.done, self.of = 0, 0
        self.done_s = 0.0

    @property
    def took_s(self) -> float:
        return self._clock() - self._began

    def update(self, done: int, of: int) -> None:
        if done != self.done:
            self.done_s = self.took_s
        self.done, self.of = done, of


class _TimeLeft(ProgressColumn):
    """The rest of a step that may not be able to tell how far it is."""

    def render(self, task: Task) -> Text:
        """Draw it for now."""
        left = time_left(task.elapsed or 0.0, **task.fields)
        return Text(left, style="progress.remaining")


@contextmanager
def waiting(label: str, usual_s: float | None = None) -> Iterator[Callable[[int, int], None]]:
    """A block that may take long, drawn with the time that it took and about what is left.

    Gives a function to call with (done, total), for a step that can tell; of one that cannot,
    `usual_s` is about how long it takes. Without a terminal a line is written if it takes longer
    than two seconds, and another one now and then.
    """
    console = stderr_console()
    if draws(console):
        with bars(console, SpinnerColumn(), TimeElapsedColumn(), _TimeLeft()) as shown:
            task = shown.add_task(label, total=None, usual_s=usual_s)
            state = _State()

            def show(done: int, total: int) -> None:
                state.update(done, total)
                shown.update(task, done=done, of=total, done_s=state.done_s)

            yield show
        return
    state = _State()
    ended = threading.Event()

    def say() -> None:
        if ended.wait(SILENT_S):
            return
        usually = "" if usual_s is None else f" (usually {duration(usual_s)})"
        console.print(f"{label}{usually} ...", highlight=False)
        while not ended.wait(SAY_EVERY_S):
            left = time_left(state.took_s, usual_s, state.done, state.of, state.done_s)
            console.print(f"{label}: {left}" if left else f"{label} ...", highlight=False)

    threading.Thread(target=say, name="waiting", daemon=True).start()
    try:
        yield state.update
    finally:
        ended.set()
