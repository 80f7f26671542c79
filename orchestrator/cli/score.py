"""`gamectl score`: the hidden test set, evaluated by the organizer.

In: a cohort's succeeded jobs and the test images. Out: scores in the home folder; with `--publish`
in MLflow too. Next: `gamectl leaderboard`.
"""

from pathlib import Path

import click

from orchestrator import console
from orchestrator.cli.common import cohort_option, open_store, pick_cohort
from orchestrator.errors import Refused
from orchestrator.scorebook import ScoreBook, read_scores, write_scores
from orchestrator.settings import Settings


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
    type=click.Path(path_type=Path),
    help="Folder with the test images, where it is not the one that was submitted.",
)
def command(cohort: str | None, publish: bool, data: Path | None) -> None:
    """Evaluate each job's network on the test set.

    The scores stay in the home folder, for the organizer, until they are published.
    """
    settings = Settings()
    with open_store(settings) as store:
        name = pick_cohort(store, cohort).name
    score_cohort(name, publish, data, settings)
    console.print_note(f"next: gamectl leaderboard --cohort {name}")


def score_cohort(name: str, publish: bool, data: Path | None, settings: Settings) -> None:
    """Scores a cohort and, where asked to, publishes; the commands `score` and `demo`."""
    from orchestrator import scoring, submission
    from orchestrator.artifacts import Artifacts
    from orchestrator.live import progress

    with open_store(settings) as store:
        record = store.cohort(name)
        source = str(data.expanduser().absolute()) if data else record.data.source
        sizes_px = sorted(
            {p.data.image_size_px for j in store.jobs(name) for p in store.plans(j.id)}
        )
        skip_broken = bool(record.spec["spec"]["data"]["skipBrokenImages"])
        decoded = submission.decode_source(source, sizes_px, skip_broken, settings, progress)
        if decoded.folder.classes != record.data.classes:
            raise Refused(f"{source} has other classes than the data of cohort {name!r}")
        if data is None and decoded.folder.test_fingerprint != record.data.test_fingerprint:
            raise Refused(
                f"the test images in {source} are not those of the submission any more; put them "
                f"back, or say that these are meant: gamectl score --cohort {name} --data {source}"
            )
        old = read_scores(settings.scores, name)
        with progress("scoring the jobs") as show:
            book = scoring.score_cohort(
                name, store, Artifacts(settings.artifacts), decoded, old, show
            )
    path = write_scores(settings.scores, book)
    console.print_note(f"scored on {book.test_images} test images: {len(book.scores)}, in {path}")
    if publish:
        _publish(book, settings)
        write_scores(settings.scores, book.model_copy(update={"published": True}))
        console.print_note("published to MLflow; look with `gamectl ui`")


def _publish(book: ScoreBook, settings: Settings) -> None:
    from orchestrator.tracking.client import connect
    from orchestrator.tracking.publish import publish

    experiment = connect(
        settings.tracking_uri, settings.mlflow_artifacts, book.cohort, create=False
    )
    publish(book, experiment)
