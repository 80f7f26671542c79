"""Progress of one long step, such as decoding images: a bar in a terminal, lines anywhere else.

In: a label, and how much of the step is done. Out: text on stderr, through rich; stdout stays free
for results. Used by the commands and by `inputs`; a whole cohort is watched in `live`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from jobs.plan import EpochReport


@cache
def stderr_console() -> Console:
    """The console that all progress is drawn on: two of them would overwrite each other."""
    return Console(stderr=True)


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
    console = stderr_console()
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
    console = stderr_console()
    with _bars(console) as bars:
        task = bars.add_task(label, total=num_epochs)

        def update(report: EpochReport) -> None:
            said = f"{label}: {report.val_accuracy:.1%} on validation images"
            if not console.is_terminal:
                console.print(f"epoch {report.epoch} of {num_epochs}, {said}", highlight=False)
            bars.update(task, completed=report.epoch, description=said)

        yield update
