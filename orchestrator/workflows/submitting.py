"""From loadout files to jobs in the store, and to a cohort that is run.

In: files that were read. Out: desired state, written without a lease and without Ray; then whoever
runs it. Next on the path: `control.attend`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.claims import file_of_owner, team_taken
from orchestrator.admission.cohort import HERE
from orchestrator.admission.combinations import LocatedProblem
from orchestrator.admission.files import LoadoutFile, Reading, located
from orchestrator.control import attend
from orchestrator.control.place import elsewhere
from orchestrator.errors import Refused, TeamsRefused
from orchestrator.measuring.side_cohorts import check_same, handed_in, set_others_aside
from orchestrator.opening import make_home, open_store
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.workflows.standing import check_data, check_rules, name_is_taken

if TYPE_CHECKING:  # they import SQLAlchemy, which takes a second
    from orchestrator.control.remote import RemoteLauncher
    from orchestrator.store import NewJob, Standing, Store, Submitted
    from orchestrator.submission import Prepared

Given = TypeVar("Given", "LoadoutFile", "NewJob")
Made = TypeVar("Made")


def run_cohort(
    reading: Reading,
    data: Where | None,
    skip_refused: bool,
    cpus: int | None,
    settings: Settings,
    announce: Callable[[Sequence[Job]], None] = lambda _jobs: None,
    with_test: bool = True,
) -> tuple[str, int]:
    """Admits, stores and runs a cohort; returns its name and how many jobs have succeeded.

    `announce` is called with these jobs, as they are stored, before any of them is run. Without
    `with_test` no test image is read. Of a side cohort only what this call asks for is run. Raises
    a `GameError` where it can't start, or where another call replaces the jobs of a side cohort;
    jobs that fail are no error.
    """
    launcher = elsewhere(None, reading.cohort.spec, "carried", cpus, settings)
    with submitted(reading, data, skip_refused, cpus, settings, launcher, with_test) as (
        name,
        store,
    ):
        wanted = {file.loadout.team for file in reading.files if file.loadout is not None}
        if reading.side:
            set_others_aside(store, name, wanted, time.time())
        mine = handed_in(store, name, wanted)
        announce(mine)
        jobs = attend.attend(name, store, settings, cpus, launcher)
        if reading.side:
            check_same(mine, handed_in(store, name, wanted))
    return name, sum(job.phase is Phase.SUCCEEDED for job in jobs)


@contextmanager
def submitted(
    reading: Reading,
    data: Where | None,
    skip_refused: bool,
    cpus: int | None,
    settings: Settings,
    launcher: RemoteLauncher | None,
    with_test: bool = True,
) -> Iterator[tuple[str, Store]]:
    """Writes what is wanted into the store; gives the cohort's name and the open store.

    `launcher` leads to the cluster that is to run it. Raises `Refused` and other `GameError` where
    nothing was stored.
    """
    given, reading = reading, _admitted(reading, skip_refused)
    if launcher is not None:
        launcher.check()
    reading = _to_run_at(reading, HERE if launcher is None else launcher.address)
    name = reading.cohort.name

    # Imported here: reading and refusing files needs none of it.
    from orchestrator import submission
    from orchestrator.forecasting.capacity import this_machine
    from orchestrator.sources import source_of
    from orchestrator.terminal.progress_bars import progress

    make_home(settings)
    with ExitStack() as stack:
        farewell = "stopped before anything was submitted"
        with attend.interruptible(lambda: farewell):
            source = source_of(reading, data)

            def prepare(files: Sequence[LoadoutFile]) -> Prepared:
                chosen = replace(reading, files=tuple(files))
                return submission.prepare(chosen, source, settings, progress, with_test)

            prepared = _without_refused(prepare, reading.files, skip_refused)
            # Of another cluster only its controller knows.
            if settings.ray_address is None and launcher is None:
                machine = this_machine(cpus, prepared.cohort.spec.resources)
                misfits = submission.misfits(prepared, machine)
                for team, reason in misfits.items():
                    console.print_note(f"{team}: {reason}")
                fitting = tuple(job for job in prepared.jobs if job.team not in misfits)
                if misfits and not (skip_refused and fitting):
                    undone = f"{len(misfits)} can never run on this machine, so nothing was"
                    if reading.side:
                        raise Refused(f"{undone} measured; change them as said")
                    raise Refused(
                        f"{undone} submitted; change them as said, or pass --skip-refused to "
                        "submit the others"
                    )
                prepared = replace(prepared, jobs=fitting)
            for broken in prepared.decoded.broken:
                console.print_note(f"left out: {broken.path}: {broken.reason}")
            store = stack.enter_context(open_store(settings, create=True))
            farewell = (
                "stopped while the jobs were handed in: all of them are in, or none. "
                f"`gamectl get jobs --cohort {name}` tells; submitting again does no harm"
            )

            def hand_in(jobs: Sequence[NewJob]) -> list[Submitted]:
                remark = ""

                def check(standing: Standing) -> None:
                    nonlocal remark
                    if taken := name_is_taken(given, standing.teams):
                        raise Refused(f"nothing was submitted: {taken}")
                    if data is None:
                        check_data(reading, standing, prepared.data)
                    remark = check_rules(reading, standing)

                chosen = replace(prepared, jobs=tuple(jobs))
                done = submission.submit(chosen, store, settings, time.time(), progress, check)
                if remark:
                    console.print_note(remark)
                return done

            jobs = _without_refused(hand_in, prepared.jobs, skip_refused)
        waiting = sum(not j.phase.terminal for j in store.jobs(name))
        _say_what_is_new(name, jobs, waiting, side=reading.side)
        yield name, store


def _without_refused(
    attempt: Callable[[Sequence[Given]], Made], given: Sequence[Given], skip_refused: bool
) -> Made:
    """What the attempt makes of files or jobs, or of those that are left where some are refused."""
    while True:
        try:
            return attempt(given)
        except TeamsRefused as refused:
            left = [each for each in given if each.team not in refused.reasons]
            if not skip_refused or not left or len(left) == len(given):
                raise
            for reason in refused.reasons.values():
                console.print_note(reason)
            given = left


def _to_run_at(reading: Reading, address: str) -> Reading:
    """With the cluster in the cohort's rules, where `gamectl resume` finds it."""
    spec = reading.cohort.spec.model_copy(update={"cluster": address})
    return replace(reading, cohort=reading.cohort.model_copy(update={"spec": spec}))


def _with_claims_beside(reading: Reading) -> Reading:
    """Give a problem to files of a team whose own file lies beside them, and was not named."""
    files = []
    for file in reading.files:
        own = file.team and file_of_owner(Path(file.path), file.team)
        if own and file.ok and all(Path(other.path) != own for other in reading.files):
            says = team_taken(str(file.team), console.printable(str(own)))
            at = LocatedProblem(("metadata", "team"), "team-taken", says)
            files.append(replace(file, problems=located(file, [at])))
        else:
            files.append(file)
    return replace(reading, files=tuple(files))


def _admitted(reading: Reading, skip_refused: bool) -> Reading:
    reading = _with_claims_beside(reading)
    if reading.not_read:
        console.print_note(reading.not_read)
    refused = [file for file in reading.files if not file.ok]
    for file in refused:
        for problem in file.problems:
            console.print_note(str(problem))
    good = tuple(file for file in reading.files if file.ok and file.loadout is not None)
    if reading.cohort_path is None and not reading.side:
        raise Refused(
            "no file of kind Cohort among the paths; name the folder that holds cohort.yaml "
            "(`gamectl schema cohort` says what it may hold)"
        )
    cohort_refused = any(Path(file.path) == reading.cohort_path for file in refused)
    if refused and (cohort_refused or not skip_refused):
        hint = ", or pass --skip-refused to submit the others"
        hint = hint if good and not cohort_refused else ""
        raise Refused(f"{len(refused)} refused, so nothing was submitted; correct them{hint}")
    if not good and refused:
        raise Refused("no loadout is left to submit; correct one that is refused")
    if not good:
        raise Refused("no loadout among these files; name the folder with the teams' .yaml files")
    return replace(reading, files=good)


def _say_what_is_new(
    name: str, submitted: Sequence[Submitted], num_waiting: int, side: bool
) -> None:
    new = [s for s in submitted if s.created]
    again = [s.team for s in submitted if s.retried]
    unchanged = len(submitted) - len(new) - len(again)
    revised = [s.team for s in new if s.revision > 1 and not s.was_withdrawn]
    if new or again:
        done = [f"{_jobs(len(new))} submitted"] if new else []
        done += [f"{_jobs(len(again))} queued again"] if again else []
        done += [f"{unchanged} unchanged"] if unchanged else []
        console.print_note(f"cohort {name}: {', '.join(done)}")
    elif num_waiting:
        console.print_note(f"cohort {name}: unchanged; {_jobs(num_waiting)} left to run")
    else:
        console.print_note(f"cohort {name}: unchanged, nothing is run twice")
    if again:
        console.print_note(f"failed by the cluster, and go on from there: {', '.join(again)}")
    if revised:
        console.print_note(f"new revisions of: {', '.join(revised)}")
    for one in submitted:
        if one.retry_needs is not None:
            console.print_note(
                f"{one.team}: a retry needs {one.retry_needs} of its members now: "
                f"gamectl retry {one.team} --cohort {name}"
            )
    for one in new:
        if one.was_withdrawn:
            console.print_note(
                f"{one.team} was withdrawn and is in again; to keep it out, take its file out of "
                f"the folder, then `gamectl withdraw {one.team} --cohort {name}`"
            )
        if one.suspended and not side:  # there whoever asks for a job lets it go on
            console.print_note(
                f"{one.team} stays suspended: gamectl resume {one.team} --cohort {name}"
            )


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
