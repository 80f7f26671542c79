"""`gamectl classify`: pictures shown to a cohort's champion, or to another team's network.

In: files and folders. Out: what each picture is taken for, as a table or JSON; 1 as the exit code
where one of them could not be asked about.

MLflow says who the champion is, and no more is taken from there: a `pt2` file runs code when it is
loaded, and whoever may write to the server could have put another one in its place. The network is
built anew from its plan in the store and from its weights among the artifacts (safetensors, which
hold numbers only), whose SHA-256 the store knows. A team's own code answers in its sandbox.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import console
from orchestrator.cli import completing
from orchestrator.cli.common import cohort_option, output_option
from orchestrator.cli.paths import LocalPath
from orchestrator.errors import NotFound
from orchestrator.opening import open_store, pick_cohort
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.state import Job, newest_revisions, withdrawn
from orchestrator.terminal.display import team_of
from orchestrator.terminal.lookup import find_job

if TYPE_CHECKING:  # they import torch's friends, and SQLAlchemy
    from orchestrator.results.classify import Answer
    from orchestrator.store import Store


@click.command(
    "classify",
    epilog="""\b
    Example:
      gamectl classify photo.jpg
      gamectl classify holiday/ --team howling-pixels
      gamectl classify photo.jpg -o json""",
)
@click.argument("places", metavar="IMAGE...", nargs=-1, required=True, type=LocalPath())
@cohort_option
@click.option(
    "--team",
    metavar="TEAM",
    shell_complete=completing.teams,
    help="Ask this team's newest network instead of the champion.",
)
@output_option
@click.pass_context
def command(
    ctx: click.Context, places: tuple[Path, ...], cohort: str | None, team: str | None, output: str
) -> None:
    """Tell which monkey is in a picture, or in all pictures of a folder.

    The cohort's champion is asked: the best network once scores are published. Pictures stay on
    this machine.
    """
    settings = Settings()
    with open_store(settings) as store:
        record = pick_cohort(store, cohort)
        job = _job_of(store, record.name, team, settings)
        if not any(map(os.path.lexists, places)):
            missing = ", ".join(console.printable(str(place)) for place in places)
            raise NotFound(f"{missing}: no such file or folder")

        # Imported once it is known whom to ask: they take seconds.
        from jobs.drawn_monkeys import species_names
        from orchestrator.admission.cohort import Cohort
        from orchestrator.artifacts import Artifacts
        from orchestrator.results.classify import classify, pictures_in
        from orchestrator.results.networks import trained_network
        from orchestrator.terminal.progress_bars import progress

        files, num_left_out = pictures_in(places)
        rules, artifacts = (
            Cohort.stored(record.spec).spec.sandbox_rules,
            Artifacts(settings.artifacts),
        )
        data = store.plans(job.id)[0].data
        names = species_names(data.classes)
        with progress("looking at pictures") as show:
            answers = list(
                classify(
                    files,
                    data.image_size_px,
                    names,
                    trained_network(job, store, artifacts, rules),
                    show,
                )
            )
    if output == "json":
        network = {"cohort": job.cohort, "team": job.team, "revision": job.revision}
        images = [answer.to_dict() for answer in answers]
        console.print_json({**network, "champion": team is None, "images": images})
    else:
        _print(answers)
    if num_left_out:
        files_are = "1 file is" if num_left_out == 1 else f"{num_left_out} files are"
        console.print_note(f"{files_are} left out: no picture by its name")
    whose = team_of(job) if team else f"{team_of(job)}, champion of cohort {job.cohort}"
    if not all(answer.problem for answer in answers):
        console.print_note(
            f"asked: {whose}. It takes every picture for one of {len(names)} classes."
        )
    if any(answer.problem for answer in answers):
        ctx.exit(1)


def _job_of(store: Store, cohort: str, team: str | None, settings: Settings) -> Job:
    """Whose network is asked; raises `NotFound` where there is none."""
    jobs = store.jobs(cohort)
    if team is not None:
        job = find_job(jobs, cohort, team)
        if job.phase is not Phase.SUPERSEDED:  # it was withdrawn
            trained = [j for j in jobs if j.team == team and j.phase is Phase.SUCCEEDED]
            job = max(trained, key=lambda j: j.revision, default=job)
        if job.phase is not Phase.SUCCEEDED:
            raise NotFound(
                f"{team_of(job)} has no trained network: it is {job.phase}; see "
                f"`gamectl describe job {team} --cohort {cohort}`"
            )
        return job
    from orchestrator.tracking.champion import find_champion, no_champion
    from orchestrator.tracking.client import connect

    uri = settings.tracking_uri
    if settings.mlflow_tracking_uri is None and not (settings.root / "mlflow.db").exists():
        raise no_champion(cohort)
    crowned = find_champion(connect(uri, settings.mlflow_artifacts, cohort, create=False), cohort)
    found = next((job for job in jobs if job.uid == crowned.job), None)
    if found is not None and found.revision <= withdrawn(jobs).get(found.team, 0):
        gone = f"the champion of cohort {cohort!r}, team {crowned.team!r}, was withdrawn"
        if not any(job.phase is Phase.SUCCEEDED for job in newest_revisions(jobs)):
            raise NotFound(f"{gone}, and no other team has a trained network")
        raise NotFound(f"{gone}; `gamectl score --cohort {cohort} --publish` makes another one")
    if found is None:
        raise NotFound(
            f"MLflow's champion of cohort {cohort!r} is a job of team {crowned.team!r} that is not "
            f"in this store; `gamectl score --cohort {cohort} --publish` makes one that is"
        )
    return found


def _print(answers: Sequence[Answer]) -> None:
    rows = [
        [
            answer.file,
            best.species,
            f"{best.probability:.1%}",
            f"{second.species} {second.probability:.1%}",
        ]
        for answer in answers
        if not answer.problem
        for best, second in [answer.guesses[:2]]
    ]
    if rows:
        columns = ["file", "species", "probability", "runner-up"]
        console.print_table(columns, rows, right=["probability"])
    for answer in answers:
        if answer.problem:
            console.print_error(f"{answer.file}: {answer.problem}")
