"""Progress of one long step, such as decoding images: a bar in a terminal, lines anywhere else.

In: a label, and how much of the step is done. Out: text on stderr, through rich; stdout stays free
for results. Without a terminal a line is written where a step takes long, and now and then while it
goes on. Used by the commands and by `inputs`; a whole cohort is watched in `live`.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from jobs.plan import EpochReport
from orchestrator.display import duration

SILENT_S = 2.0
"""A step that takes no longer needs no line of its own."""
SAY_EVERY_S = 15.0


@cache
def stderr_console() -> Console:
    """The console that all progress is drawn on: two of them would overwrite each other."""
    return Console(stderr=True)


def draws(console: Console) -> bool:
    """Whether a console is a terminal whose cursor can be moved; elsewhere lines are written.

    With FORCE_COLOR rich takes a pipe for a terminal, too: it gets colours, and no bars.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        return False
    return not os.environ.get("FORCE_COLOR") or console.file.isatty()


def bars(console: Console, *columns: ProgressColumn) -> Progress:
    """Bars that begin with their task's description; none is drawn where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        *columns,
        console=console,
        transient=True,
        disable=not draws(console),
    )


def _done_of_total(console: Console) -> Progress:
    return bars(console, BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn())


@contextmanager
def progress(
    label: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total), drawn as a bar; a line now and then elsewhere."""
    console = stderr_console()
    began = said_at = clock()
    with _done_of_total(console) as shown:
        task = shown.add_task(label, total=None, visible=False)

        def update(done: int, total: int) -> None:
            nonlocal said_at
            shown.update(task, completed=done, total=total, visible=True)
            if draws(console):
                return
            now = clock()
            if done == 1:
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


@contextmanager
def waiting(label: str, usual_s: float | None = None) -> Iterator[None]:
    """A block that may take long and can't tell how far it is: drawn with the time that it took.

    `usual_s` is about how long it takes. Without a terminal a line is written if it takes longer
    than two seconds.
    """
    console = stderr_console()
    text = label if usual_s is None else f"{label} (usually {duration(usual_s)})"
    if draws(console):
        with bars(console, SpinnerColumn(), TimeElapsedColumn()) as shown:
            shown.add_task(text, total=None)
            yield
        return
    say = threading.Timer(SILENT_S, lambda: console.print(f"{text} ...", highlight=False))
    say.daemon = True
    say.start()
    try:
        yield
    finally:
        say.cancel()
