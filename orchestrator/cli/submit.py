"""`gamectl submit`: from loadout files to jobs in the store, and to a cohort that is run.

In: paths of loadouts and their cohort file. Out: desired state, written without a lease and without
Ray; then a controller runs it: this process, one that is at work already, or one in the background.
Next on the path: `attend`; the next command is `gamectl score`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.files import Reading, read_paths
from orchestrator.cli.common import data_option, print_next, run_options
from orchestrator.cli.paths import LocalPath
from orchestrator.control import attend
from orchestrator.control.place import elsewhere
from orchestrator.errors import Refused, TeamsRefused
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions
from orchestrator.workflows.submitting import submitted

if TYPE_CHECKING:  # they import SQLAlchemy, which takes a second
    from orchestrator.control.remote import Code
    from orchestrator.store import Store


@click.command(
    "submit",
    epilog="""\b
    Example:
      gamectl submit loadouts/demo
      gamectl submit loadouts/demo --data photos/monkeys
      gamectl submit loadouts/demo --detach
      gamectl submit loadouts/demo --cluster http://head:8265""",
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=LocalPath())
@data_option
@click.option(
    "--skip-refused", is_flag=True, help="Submit the good loadouts although others are refused."
)
@run_options
def command(
    paths: tuple[Path, ...],
    data: Where | None,
    skip_refused: bool,
    cpus: int | None,
    detach: bool,
    cluster: str | None,
    code: Code,
) -> None:
    """Submit a cohort of loadouts, and watch it run until every job has ended.

    A PATH is a folder with cohort.yaml and loadouts, or a loadout beside that file. If any loadout
    is refused nothing is submitted. Submitting again runs only what is new, was interrupted, or
    failed by the cluster's fault; a changed loadout becomes the team's next revision, also while
    the cohort runs. The exit code is 0 once every job has ended (with --detach: once a controller
    is at work), whether it succeeded or failed by its team's fault; 1 if the cohort could not be
    run, or the cluster failed a job that may yet succeed; and 130 after Ctrl-C.
    """
    settings = Settings()
    reading = read_paths(paths, other_data=data is not None)
    launcher = elsewhere(cluster, reading.cohort.spec, code, cpus, settings)
    try:
        with submitted(reading, data, skip_refused, cpus, settings, launcher) as (name, store):
            if reading.whole:
                _say_who_has_no_file(name, store, reading)
            if detach:
                attend.detach(name, store, settings, cpus, launcher)
                return
            jobs = attend.attend(name, store, settings, cpus, launcher)
    except TeamsRefused as refused:
        good = [file.team for file in reading.files if file.ok and file.team is not None]
        if skip_refused or refused.reasons.keys() >= set(good):
            raise
        raise Refused(f"{refused}; --skip-refused submits the others") from refused
    print_next(name, jobs)
    given = {file.team for file in reading.files}
    lost = [job.team for job in jobs if job.team in given and _may_succeed(job)]
    if lost:  # whoever runs this for people, such as KubeRay, is to try again
        console.print_note(
            f"the cluster's fault, and not theirs: {', '.join(lost)}; the same submission runs "
            "them once more"
        )
        raise SystemExit(1)


def _may_succeed(job: Job) -> bool:
    """Whether the cluster has failed it, in a way that may be over by the next time."""
    reasons = {job.reason, *(m.reason for m in job.members if m.phase is Phase.FAILED)}
    lost = job.phase is Phase.FAILED and job.blame is Blame.CLUSTER
    return lost and Reason.SANDBOX not in reasons


def _say_who_has_no_file(name: str, store: Store, reading: Reading) -> None:
    if any(file.team is None and Path(file.path) != reading.cohort_path for file in reading.files):
        return  # one that is broken may be anybody's
    there = {file.team for file in reading.files}
    gone = [job.team for job in newest_revisions(store.jobs(name)) if job.team not in there]
    if gone:
        stay = "its job stays" if len(gone) == 1 else "their jobs stay"
        console.print_note(
            f"no file in the folder for {', '.join(gone)}: {stay} in the cohort "
            "until `gamectl withdraw TEAM`"
        )
