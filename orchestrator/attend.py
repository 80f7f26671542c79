"""A cohort that is to be run, by whomever: here, by a controller at work, or by one in background.

In: the name of a cohort whose jobs are in the store. Out: jobs that are over, and people who were
told; or another process that sees to it. Clients write to the store first and look for a controller
afterwards: one that holds the lease then sees what they wrote, because it gives the lease up only
where nothing is left to do. Next on the path: `run`, or `live.watch` where another process works.
"""

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from orchestrator import console
from orchestrator.errors import CohortBusy, GameError
from orchestrator.lookup import controller_of, lease_of
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions
from orchestrator.store import Store
from orchestrator.store.values import Lease

INTERRUPTED = 130
"""The shell's exit code for Ctrl-C."""

LOOK_EVERY_S = 0.1
LOG_LINES_SHOWN = 10


def attend(name: str, store: Store, settings: Settings, cpus: int | None) -> list[Job]:
    """Stays with the cohort until nothing is left to do, and shows it; returns the newest jobs.

    Where a controller is at work it is watched, and replaced should it end too soon; where none is,
    this process is the controller. Ctrl-C ends the process with exit code 130. Raises
    `ClusterError` where Ray does not start, and `NotFound` for an unknown cohort.
    """
    tracking_error = None
    holder: str | None = None

    def farewell() -> str:
        if holder is None:
            return _queued_again(name)
        return (
            f"stopped watching; controller {holder} goes on. "
            f"Watch again with: gamectl get jobs --watch --cohort {name}"
        )

    with interruptible(farewell):
        while True:
            holder = controller_of(store, name, time.time())
            if holder is None:
                with contextlib.suppress(CohortBusy):  # somebody was faster, and is watched
                    tracking_error = _control(name, store, settings, cpus)
                    break
            elif _watch(name, store, holder, cpus):
                break
            else:
                console.print_note(
                    f"controller {holder} has ended; this process goes on in its place"
                )
    jobs = newest_revisions(store.jobs(name))
    say_how_it_ended(name, jobs, tracking_error)
    return jobs


def control_here(name: str, store: Store, settings: Settings, cpus: int | None) -> GameError | None:
    """Is the cohort's controller until nothing is left to do.

    Returns why MLflow is not up to date, or None where it is. Ctrl-C queues again what is running
    and ends the process with exit code 130. Raises `CohortBusy` where another one is at work.
    """
    with interruptible(lambda: _queued_again(name)):
        return _control(name, store, settings, cpus)


def detach(name: str, store: Store, settings: Settings, cpus: int | None) -> None:
    """Makes sure that a controller is at work which outlives this process, and says which.

    Where nothing is left to do none is started. Raises `GameError` with the last lines of its log
    where one does not come up.
    """
    if not any(job.is_left for job in store.jobs(name)):
        console.print_note(f"cohort {name}: nothing is left to run, so no controller is started")
        return
    log = controller_log(settings, name)
    holder = controller_of(store, name, time.time())
    if holder is not None:
        console.print_note(at_work_note(name, holder, cpus))
    else:
        holder = _started(name, store, log, cpus)
        if holder is None:
            console.print_note(f"cohort {name}: a controller has done what was left; log: {log}")
            return
        pid = holder.rpartition(":")[2]
        console.print_note(f"cohort {name}: controller {holder} runs it (pid {pid}), log: {log}")
    console.print_note(f"watch with: gamectl get jobs --watch --cohort {name}")


def controller_log(settings: Settings, name: str) -> Path:
    """Where a controller in the background writes what it has to say."""
    return settings.root / "controllers" / f"{name}.log"


def say_how_it_ended(name: str, jobs: Sequence[Job], tracking_error: GameError | None) -> None:
    """Says on stderr what became of each team's newest job, and of MLflow."""
    counts = ", ".join(f"{n} {phase}" for phase, n in Counter(j.phase for j in jobs).items())
    console.print_note(f"cohort {name}: {counts}")
    for job in jobs:
        if job.phase is Phase.FAILED:
            console.print_note(f"  {job.team}: {job.message}")
    num_suspended = sum(job.suspended and not job.phase.terminal for job in jobs)
    if num_suspended:
        stay = "1 job stays" if num_suspended == 1 else f"{num_suspended} jobs stay"
        console.print_note(f"{stay} suspended: gamectl resume TEAM --cohort {name}")
    if tracking_error is not None:
        console.print_note(
            f"warning: {tracking_error}\nNothing is lost: once MLflow answers, `gamectl resume "
            f"--cohort {name}` writes what it lacks; nothing is trained twice."
        )


@contextlib.contextmanager
def interruptible(farewell: Callable[[], str]) -> Iterator[None]:
    """Within the block Ctrl-C, SIGTERM and a terminal that hangs up end the process in order.

    The block is left by a `KeyboardInterrupt`; then the `farewell` is said, and `SystemExit` raised
    with exit code 130. A SIGHUP that is ignored already, as under `nohup`, stays ignored.
    """
    wanted = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    previous = {number: signal.signal(number, _interrupt) for number in wanted}
    try:
        yield
    except KeyboardInterrupt:
        console.print_note(f"\n{farewell()}")
        raise SystemExit(INTERRUPTED) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _queued_again(name: str) -> str:
    return (
        "stopped; what was running is queued again. "
        f"`gamectl resume --cohort {name}` goes on from here."
    )


def _control(name: str, store: Store, settings: Settings, cpus: int | None) -> GameError | None:
    # Imported here: whoever only watches waits for no Ray.
    from orchestrator.run import control

    return control(name, store, settings, cpus)


def _watch(name: str, store: Store, holder: str, cpus: int | None) -> bool:
    """Shows what the controller does; returns False where it ended with something left to do."""
    from orchestrator.live import watch

    console.print_note(f"{at_work_note(name, holder, cpus)}; Ctrl-C ends only the watching")
    return watch(name, store)


def at_work_note(name: str, holder: str, cpus: int | None) -> str:
    """Says who runs the cohort; CPUs that are asked for now come too late."""
    unused = "" if cpus is None else ", with the CPUs it was started with"
    return f"cohort {name}: controller {holder} is at work{unused}"


def _started(name: str, store: Store, log: Path, cpus: int | None) -> str | None:
    """Starts a controller in a session of its own; returns who holds the lease then.

    That may be another one that was started at the same time. None: it has ended already, with
    nothing left to do.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # -P: nothing in the current folder must stand in for a module. The folder itself stays the
    # same, so that relative paths in the environment mean what they mean here.
    words = [sys.executable, "-P", "-m", "orchestrator", "controller", "--cohort", name]
    words += [] if cpus is None else ["--cpus", str(cpus)]
    with log.open("ab") as out:
        begin = out.tell()
        # Not `subprocess`, which takes a process that is left behind for an oversight.
        pid = os.posix_spawn(
            sys.executable,
            words,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 2),
            ],
            setsid=True,
        )
    return first_holder(
        lambda: lease_of(store, name, time.time()),
        lambda: _exit_code(pid),
        lambda: _log_end(log, begin),
    )


def _exit_code(pid: int) -> int | None:
    """The exit code of a child process, which can be asked for once; None while it runs."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def first_holder(
    lease: Callable[[], Lease | None],
    exit_code: Callable[[], int | None],
    said: Callable[[], str],
    pause: Callable[[float], None] = time.sleep,
) -> str | None:
    """Waits until somebody is at work on a cluster or a controller that was started has ended.

    Returns who is at work, or None where it ended with exit code 0. Raises `GameError` with what it
    `said` where it ended otherwise and nobody holds the lease.
    """
    while True:
        ended = exit_code()  # before the lease is looked at: it may have been taken meanwhile
        held = lease()
        if held is not None and (held.slots is not None or ended is not None):
            return held.holder
        if ended == 0:
            return None
        if ended is not None:
            raise GameError(f"the controller ended before it was at work: {said()}")
        pause(LOOK_EVERY_S)


def _log_end(log: Path, begin: int) -> str:
    """The last lines that were written to the log since it was `begin` bytes long."""
    text = log.read_bytes()[begin:].decode(errors="replace")
    lines = [console.printable(line) for line in text.splitlines() if line.strip()]
    return "\n".join([*lines[-LOG_LINES_SHOWN:], f"(log: {log})"]).removeprefix("error: ")
