"""A search watched while it runs: a bar with an ETA in a terminal, a line a trial anywhere else.

In: epochs and ends of trials, as `tuner` tells them. Out: text on stderr. The bar counts epochs;
those that a trial is spared are taken off, so that the ETA follows what ASHA stops.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from orchestrator.console import printable
from orchestrator.search.trials import Outcome, rank
from orchestrator.terminal.progress_bars import bars, draws, stderr_console

BAR_CHARS = 14


class SearchView(AbstractContextManager["SearchView"]):
    """A context in which trials are shown."""

    def __init__(self, epochs: Sequence[int], console: Console | None = None) -> None:
        """`epochs` are those of each candidate, by its number."""
        self._console = console or stderr_console()
        self._left = list(epochs)
        self._num_ended = 0
        self._best: Outcome | None = None
        self._bars = bars(
            self._console,
            BarColumn(bar_width=BAR_CHARS),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
        )
        self._task = self._bars.add_task(self._words(), total=sum(epochs))

    def __enter__(self) -> "SearchView":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def epoch(self, number: int) -> None:
        """A trial has trained one more epoch."""
        self._left[number] -= 1
        self._bars.update(self._task, advance=1)

    def end(self, outcome: Outcome) -> None:
        """A trial has ended."""
        self._num_ended += 1
        if outcome.state == "complete" and (self._best is None or rank(outcome) < rank(self._best)):
            self._best = outcome
        self._left[outcome.number] = 0
        done = self._bars.tasks[0].completed
        self._bars.update(self._task, total=done + sum(self._left), description=self._words())
        if not draws(self._console):
            line = f"trial {outcome.number} of {len(self._left)}: {outcome.describe()}"
            self._console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def _words(self) -> str:
        best = ""
        if self._best is not None:
            best = f", best {self._best.accuracy:.1%} (trial {self._best.number})"
        return f"{self._num_ended} of {len(self._left)} trials{best}"
