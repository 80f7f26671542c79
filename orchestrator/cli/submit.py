"""`gamectl submit`: from loadout files to a cohort that has run to its end.

In: paths of loadouts and their cohort file. Out: jobs in the store, trained, tracked in MLflow.
Next: `gamectl score`.
"""

import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from orchestrator import console
from orchestrator.cli.common import make_home, open_store
from orchestrator.errors import GameError, Refused
from orchestrator.files import Reading, read_paths
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions
from orchestrator.store import Submitted

INTERRUPTED = 130
"""The shell's exit code for Ctrl-C."""


@click.command(
    "submit",
    epilog="""\b
    Example:
      gamectl submit loadouts/demo
      gamectl submit loadouts/demo --data photos/monkeys""",
)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with training/CLASS/* and validation/CLASS/*, instead of the cohort's own.",
)
@click.option(
    "--skip-refused", is_flag=True, help="Submit the good loadouts although others are refused."
)
@click.option(
    "--cpus", type=click.IntRange(min=1), help="CPUs a local Ray may use; all by default."
)
def command(
    paths: tuple[Path, ...], data: Path | None, skip_refused: bool, cpus: int | None
) -> None:
    """Run a cohort of loadouts, and watch it until every job has ended.

    If any loadout is refused nothing is submitted. Submitting again runs only what is new, was
    interrupted, or failed by the cluster's fault. The exit code is 0 once every job has ended,
    whether it succeeded or failed, 1 if the cohort could not be run, and 130 after Ctrl-C.
    """
    name, num_succeeded = run_cohort(
        read_paths(paths, other_data=data is not None), data, skip_refused, cpus, Settings()
    )
    if num_succeeded:
        console.print_note(f"next: gamectl score --cohort {name}")


def run_cohort(
    reading: Reading, data: Path | None, skip_refused: bool, cpus: int | None, settings: Settings
) -> tuple[str, int]:
    """Admits, stores and runs a cohort; returns its name and how many jobs have succeeded.

    Raises a `GameError` where it can't start or was overtaken; jobs that fail are no error.
    """
    reading = _admitted(reading, skip_refused)

    # Imported here: reading and refusing files needs none of them.
    from orchestrator import submission
    from orchestrator.live import progress
    from orchestrator.run import run

    if cpus is not None and settings.ray_address is not None:
        raise Refused("--cpus is for a Ray that is started here, and RAY_ADDRESS names another")
    make_home(settings)
    name = reading.cohort.name
    source = submission.source_of(reading, data)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        prepared = submission.prepare(reading, source, settings, progress)
        for broken in prepared.decoded.broken:
            console.print_note(f"left out: {broken.path}: {broken.reason}")
        with open_store(settings, create=True) as store:
            tracking_error = run(prepared, store, settings, cpus, partial(_say_what_is_new, name))
            jobs = newest_revisions(store.jobs(name))
    except KeyboardInterrupt:
        console.print_note(
            "\nstopped; what was running is queued again. The same command goes on from here."
        )
        raise SystemExit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, previous)
    _say_how_it_ended(name, jobs, tracking_error)
    return name, sum(job.phase is Phase.SUCCEEDED for job in jobs)


def _admitted(reading: Reading, skip_refused: bool) -> Reading:
    if reading.skipped:
        console.print_note(f"not read: {', '.join(reading.skipped)}; end a file's name in .yaml")
    refused = [file for file in reading.files if not file.ok]
    for file in refused:
        for problem in file.problems:
            console.print_note(str(problem))
    good = tuple(file for file in reading.files if file.ok and file.loadout is not None)
    if reading.cohort_path is None:
        raise Refused(
            "no file of kind Cohort among the paths; name the folder that holds cohort.yaml "
            "(`gamectl schema cohort` says what it may hold)"
        )
    cohort_refused = any(Path(file.path) == reading.cohort_path for file in refused)
    if refused and (cohort_refused or not skip_refused):
        hint = "" if cohort_refused else ", or pass --skip-refused to submit the others"
        raise Refused(f"{len(refused)} refused, so nothing was submitted; correct them{hint}")
    if not good:
        raise Refused("no loadout is left to submit")
    return replace(reading, files=good)


def _say_what_is_new(name: str, submitted: Sequence[Submitted], num_waiting: int) -> None:
    new = [s for s in submitted if s.created]
    unchanged = len(submitted) - len(new)
    revised = [s.team for s in new if s.revision > 1]
    if new:
        same = f", {unchanged} unchanged" if unchanged else ""
        console.print_note(f"cohort {name}: {_jobs(len(new))} submitted{same}")
    elif num_waiting:
        console.print_note(f"cohort {name}: unchanged; {_jobs(num_waiting)} left to run")
    else:
        console.print_note(f"cohort {name}: unchanged, nothing is run twice")
    if revised:
        console.print_note(f"new revisions of: {', '.join(revised)}")


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def _say_how_it_ended(name: str, jobs: Sequence[Job], tracking_error: GameError | None) -> None:
    counts = ", ".join(f"{n} {phase}" for phase, n in Counter(j.phase for j in jobs).items())
    console.print_note(f"cohort {name}: {counts}")
    for job in jobs:
        if job.phase is Phase.FAILED:
            console.print_note(f"  {job.team}: {job.message}")
    if tracking_error is not None:
        console.print_note(
            f"warning: {tracking_error}\nNothing is lost: submit again once MLflow answers, and "
            "what it lacks is written; nothing is trained twice."
        )


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
