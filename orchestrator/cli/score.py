"""`gamectl score`: the hidden test set, evaluated by the organizer.

In: a cohort's succeeded jobs and the test images. Out: scores in the home folder; with `--publish`
in MLflow too, with the report. Next: `gamectl leaderboard`.
"""

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.cli.common import DataPlace, cohort_option, exclude_leaked_option
from orchestrator.opening import open_store, pick_cohort
from orchestrator.settings import Settings
from orchestrator.workflows.scoring import score_and_publish


@click.command(
    "score",
    epilog="""\b
    Example:
      gamectl score --cohort demo
      gamectl score --cohort demo --publish""",
)
@cohort_option
@click.option("--publish", is_flag=True, help="Write the scores to MLflow, for all to see.")
@click.option(
    "--data",
    type=DataPlace(),
    help="Folder with training/ and validation/ (the test images), or its URI, where it is not "
    "the one that was submitted.",
)
@exclude_leaked_option
def command(
    cohort: str | None, publish: bool, data: Where | None, exclude_leaked: bool | None
) -> None:
    """Evaluate each job's network on the test set.

    The scores stay in the home folder, for the organizer, until they are published.
    """
    settings = Settings()
    with open_store(settings) as store:
        name = pick_cohort(store, cohort).name
    score_and_publish(name, publish, data, settings, exclude_leaked)
    console.print_note(f"next: gamectl leaderboard --cohort {name}")
