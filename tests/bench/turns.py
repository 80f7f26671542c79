"""Two sides that take turns on a machine, some seconds each, so that its moods fall on both alike.

In: sides, each a generator that starts processes and yields between looks at them. Out: what they
return, and a clock for each that stands still while it is the other's turn. Used by `end_to_end`.

While one side runs, the other's processes, with all that they started, are stopped (SIGSTOP).
Machines are shared: the same epochs took 1.0 to 1.3 times as long from one minute to the next, in
both of two processes at once, which is more than what is to be measured. What a side only waits
for, such as a timer, may go by in the other's turn: it is shorter than without turns, and what is
due every ten seconds of the day comes more often. A cohort without turns takes as long.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests.bench import processes

LOOK_EVERY_S = 2.0
TURN_S = 2 * LOOK_EVERY_S
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

Result = TypeVar("Result")
Other = TypeVar("Other")
Running = Generator[Sequence[int], None, Result]
"""A side at work: it yields its own processes after every look, and returns its result."""


class RunClock:
    """For how long a side has run, and how much all processors worked meanwhile."""

    def __init__(self) -> None:
        self._turns: list[tuple[float, float]] = []
        self._since: tuple[float, float] | None = None
        self._busy_s = 0.0

    def start(self) -> None:
        """Its turn begins."""
        self._since = time.time(), _busy_s()

    def stop(self) -> None:
        """Its turn ends."""
        assert self._since is not None
        started_at, busy_s = self._since
        self._turns.append((started_at, time.time()))
        self._busy_s += _busy_s() - busy_s
        self._since = None

    def ran_s(self, at: float) -> float:
        """Seconds that it had run for at this time of day."""
        turns = [*self._turns, *([] if self._since is None else [(self._since[0], time.time())])]
        return sum(max(0.0, min(ended_at, at) - started_at) for started_at, ended_at in turns)

    @property
    def busy_s(self) -> float:
        """CPU seconds in its turns, of whatever process."""
        return self._busy_s + (0.0 if self._since is None else _busy_s() - self._since[1])


class Side(Generic[Result]):
    """One of those that take turns; nothing of it is started before its first one."""

    result: Result

    def __init__(self, run: Callable[[RunClock], Running[Result]]) -> None:
        self.ended = False
        self._clock = RunClock()
        self._running = run(self._clock)
        self._roots: Sequence[int] = ()
        self._stopped: list[int] = []

    def turn(self, seconds: float) -> None:
        """Lets it run so long, or to its end."""
        self._resume()
        self._clock.start()
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                self._roots = next(self._running)
        except StopIteration as end:
            self.result = end.value
            self.ended = True
        self._stopped = [] if self.ended else processes.stop(self._roots)
        self._clock.stop()

    def close(self) -> None:
        """Ends it, whatever it was about to do."""
        self._resume()
        self._running.close()

    def _resume(self) -> None:
        processes.resume(self._stopped)
        self._stopped = []


def alone(run: Callable[[RunClock], Running[Result]]) -> Result:
    """Runs one side to its end, without a pause."""
    with contextlib.closing(Side(run)) as side:
        side.turn(float("inf"))
        return side.result


def in_turns(
    run: Callable[[RunClock], Running[Result]], other: Callable[[RunClock], Running[Other]]
) -> tuple[Result, Other]:
    """Runs both sides to their ends; raises what they raise."""
    with contextlib.closing(Side(run)) as one, contextlib.closing(Side(other)) as two:
        while not (one.ended and two.ended):
            for side in (one, two):
                if not side.ended:
                    side.turn(TURN_S)
        return one.result, two.result


def until_ended(
    started: Sequence[subprocess.Popen[bytes]], look: Callable[[], Any] = lambda: None
) -> Running[None]:
    """Looks at processes now and then until all have ended; closed before that, it ends them.

    Raises `subprocess.CalledProcessError` where one fails.
    """
    pids = [process.pid for process in started]
    try:
        for process in started:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_EVERY_S)
                look()
                yield pids
    except BaseException:
        for process in started:
            process.terminate()
        raise
    for process in started:
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, process.args)


def _busy_s() -> float:
    """Seconds that this machine's processors have worked since it was started, for whomever."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _waiting, irq, softirq, _stolen = map(int, words)
    return (user + nice + system + irq + softirq) / TICKS_A_SECOND
