"""A cohort that is to be run, by whomever: here, by a controller at work, in background, elsewhere.

In: the name of a cohort whose jobs are in the store. Out: jobs that are over, and people who were
told; or another process that sees to it. Clients write to the store first and look for a controller
afterwards: one that holds the lease then sees what they wrote, because it gives the lease up only
where nothing is left to do. Next on the path: `run`, `launch` for another process, or `live.watch`
where one is at work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

from orchestrator import console
from orchestrator.control.holders import CONTROLLER_S, at_work_note, settled_controller
from orchestrator.control.launch import Launcher, LocalLauncher, launched
from orchestrator.errors import INTERRUPTED, ClusterError, CohortBusy, GameError
from orchestrator.phases import Phase, Reason
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions
from orchestrator.terminal.lookup import controller_of

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store

NONE_STARTED = "stopped; no controller was started"
ENDING = b"\nending ...\n"
ENDS_WITHIN_S = 10.0
"""Within which it does no good to ask for the end again."""


def attend(
    name: str,
    store: Store,
    settings: Settings,
    cpus: int | None,
    elsewhere: Launcher | None = None,
) -> list[Job]:
    """Stays with the cohort until nothing is left to do, and shows it; returns the newest jobs.

    Where a controller is at work it is watched, and replaced should it end too soon; where none is,
    this process is the controller, or one is started `elsewhere`, and not replaced. Ctrl-C ends the
    process with exit code 130. Raises `ClusterError` where Ray does not start, `GameError` where a
    controller elsewhere ends too soon, and `NotFound` for an unknown cohort.
    """
    tracking_error = None
    holder: str | None = None
    starting, side = False, store.cohort(name).side

    def on_start() -> None:
        nonlocal starting
        starting = True

    def farewell() -> str:
        if holder is None and elsewhere is not None:
            return _still_starting(name) if starting else NONE_STARTED
        if holder is None:
            return _queued_again(name, side)
        return (
            f"stopped watching; controller {holder} goes on. "
            f"Watch again with: gamectl get jobs --watch --cohort {name}"
        )

    with interruptible(farewell):
        while True:
            holder = controller_of(store, name)
            if holder is None and elsewhere is not None:
                holder = _at_work(name, store, elsewhere, cpus, on_start)
                if holder is None or _watch(name, store, holder, cpus):
                    break
                raise GameError(
                    f"controller {holder} has ended, and something is left to do; "
                    f"`gamectl resume --cohort {name}` starts another one"
                )
            if holder is None:
                with contextlib.suppress(CohortBusy):  # somebody was faster, and is watched
                    tracking_error = _control(name, side, store, settings, cpus)
                    break
            elif _watch(name, store, holder, cpus):
                break
            else:
                next_one = "this process goes on" if elsewhere is None else "another one goes on"
                console.print_note(f"controller {holder} has ended; {next_one} in its place")
    jobs = newest_revisions(store.jobs(name))
    say_how_it_ended(name, jobs, tracking_error)
    return jobs


def control_here(name: str, store: Store, settings: Settings, cpus: int | None) -> GameError | None:
    """Is the cohort's controller until nothing is left to do.

    Returns why MLflow is not up to date, or None where it is. Ctrl-C queues again what is running
    and ends the process with exit code 130. Raises `CohortBusy` where another one is at work.
    """
    side = store.cohort(name).side
    with interruptible(lambda: _queued_again(name, side)):
        return _control(name, side, store, settings, cpus)


def detach(
    name: str,
    store: Store,
    settings: Settings,
    cpus: int | None,
    elsewhere: Launcher | None = None,
) -> None:
    """Makes sure that a controller is at work which outlives this process, and says which.

    Where nothing is left to do none is started. Raises `GameError` with the last lines of its log
    where one does not come up.
    """
    launcher = LocalLauncher(settings, cpus) if elsewhere is None else elsewhere
    farewell = NONE_STARTED

    def on_start() -> None:
        nonlocal farewell
        farewell = _still_starting(name)

    with interruptible(lambda: farewell):
        if _at_work(name, store, launcher, cpus, on_start) is not None:
            console.print_note(f"watch with: gamectl get jobs --watch --cohort {name}")


def _at_work(
    name: str,
    store: Store,
    launcher: Launcher,
    cpus: int | None,
    on_start: Callable[[], None] = lambda: None,
) -> str | None:
    """Who is at work on the cohort, started where nobody was; None where nothing is left to do.

    `on_start` is called before one is started.
    """
    if not store.is_left(name):
        console.print_note(f"cohort {name}: nothing is left to run, so no controller is started")
        return None
    holder = settled_controller(name, store)
    if holder is not None:
        console.print_note(at_work_note(name, holder, cpus))
        return holder
    while store.is_left(name):  # again after one that was about to end when we came
        from orchestrator.terminal.progress_bars import waiting

        on_start()
        with waiting("starting a controller", CONTROLLER_S):
            controller, holder = launched(name, store, launcher)
        if holder is not None:
            place = controller.place(holder)
            console.print_note(f"cohort {name}: controller {holder} runs it {place}")
            return holder
    console.print_note(f"cohort {name}: a controller has done what was left")
    return None


def say_how_it_ended(
    name: str, jobs: Sequence[Job], tracking_error: GameError | None, sent: bool = False
) -> None:
    """Says on stderr what became of each team's newest job, and of MLflow.

    Where the controller was `sent` to a cluster none is sent for MLflow alone: it is written from
    wherever the user is.
    """
    words = Counter(Reason.SUSPENDED if _held_back(job) else job.phase for job in jobs)
    counts = ", ".join(f"{n} {word}" for word, n in words.items())
    counts = counts or "every team was withdrawn"
    console.print_note(f"cohort {name}: {counts}")
    for job in jobs:
        if job.phase is Phase.FAILED:
            console.print_note(f"  {job.team}: {job.message}")
    held = [job.team for job in jobs if _held_back(job)]
    if held:
        stay = "1 job stays" if len(held) == 1 else f"{len(held)} jobs stay"
        who = held[0] if len(held) == 1 else "--all"
        console.print_note(f"{stay} suspended: gamectl resume {who} --cohort {name}")
    if jobs and all(job.phase is Phase.CANCELLED for job in jobs):
        console.print_note(f"all were cancelled: gamectl retry --all --cohort {name}")
    if tracking_error is not None:
        here = " --cluster local" if sent else ""
        console.print_note(
            f"warning: {tracking_error}\nNothing is lost: once MLflow answers, `gamectl resume "
            f"--cohort {name}{here}` writes what it lacks; nothing is trained twice."
        )


def _held_back(job: Job) -> bool:
    return job.suspended and not job.phase.terminal


@contextlib.contextmanager
def interruptible(farewell: Callable[[], str]) -> Iterator[None]:
    """Within the block Ctrl-C, SIGTERM and a terminal that hangs up end the process in order.

    The block is left by a `KeyboardInterrupt`, which asking again repeats only where the end takes
    long; then the `farewell` is said, and `SystemExit` raised with exit code 130. A SIGHUP that is
    ignored already, as under `nohup`, stays ignored.
    """
    asked_at = float("-inf")

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked_at
        if time.monotonic() - asked_at < ENDS_WITHIN_S:
            return
        asked_at = time.monotonic()
        # Not through `console`: the same stream may be in the midst of a line.
        with contextlib.suppress(OSError):
            os.write(2, ENDING)
        raise KeyboardInterrupt

    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    previous = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    except KeyboardInterrupt:
        console.print_note(f"\n{farewell()}")
        raise SystemExit(INTERRUPTED) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _queued_again(name: str, side: bool) -> str:
    stopped = "stopped; what was running is queued again."
    if side:
        return f"{stopped} Run the same command again: it goes on from here."
    return f"{stopped} `gamectl resume --cohort {name}` goes on from here."


def _still_starting(name: str) -> str:
    return (
        "stopped waiting; a controller that was started goes on. "
        f"Look for it with: gamectl get jobs --watch --cohort {name}"
    )


def _control(
    name: str, side: bool, store: Store, settings: Settings, cpus: int | None
) -> GameError | None:
    # Imported here: whoever only watches waits for no Ray.
    from orchestrator.control.run import control

    try:
        return control(name, store, settings, cpus)
    except ClusterError as error:
        own = f"`gamectl resume --cohort {name}`"
        again = "the same command" if side else own
        raise type(error)(f"{error}; {again} then runs what is left") from error


def _watch(name: str, store: Store, holder: str, cpus: int | None) -> bool:
    """Shows what the controller does; returns False where it ended with something left to do."""
    from orchestrator.terminal.live import watch

    console.print_note(f"{at_work_note(name, holder, cpus)}; Ctrl-C ends only the watching")
    return watch(name, store)
