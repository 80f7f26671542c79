"""A scored cohort shown to everybody, in MLflow.

In: scores that the organizer wants published, and the images that they were measured on. Out:
scores and confusion matrices on the jobs' runs; the report; the best network as champion; the
experiment's description with all of it. Publishing again writes the same again, and whatever was
missing. Used by `gamectl score --publish`.
"""

import time
from collections.abc import Callable

from jobs.image_folder import ImageFolder
from orchestrator.artifacts import Artifacts
from orchestrator.errors import GameError
from orchestrator.report.gather import gather
from orchestrator.report.html import report_html
from orchestrator.report.pictures import pictures
from orchestrator.results.scorebook import ScoreBook, write_scores
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.tracking.champion import Crowning, crown
from orchestrator.tracking.client import connect
from orchestrator.tracking.projection import Projection
from orchestrator.tracking.publish import publish, publish_report, published_scores


def publish_cohort(
    book: ScoreBook,
    images: ImageFolder,
    store: Store,
    settings: Settings,
    on_team: Callable[[int, int], None] = lambda _done, _total: None,
) -> Crowning:
    """Publishes the scores, notes in the score book that they are, and says who is champion.

    `on_team` is called with how many teams' scores are written, and of how many. Raises
    `TrackingError` where MLflow fails, and `NotFound` where it lacks a run.
    """
    cohort = book.cohort
    experiment = connect(settings.tracking_uri, settings.mlflow_artifacts, cohort, create=False)
    book = book.model_copy(update={"published": True})
    report = gather(store, cohort, book, time.time())
    shown = pictures(images.test, {image.sha256 for image in report.hard_images})
    page = report_html(report, shown)
    jobs = store.jobs(cohort)
    publish(book, jobs, experiment, on_team)
    report_run = publish_report(experiment, page)
    write_scores(settings.scores, book)
    scores = published_scores(book)
    artifacts, templates = Artifacts(settings.artifacts), settings.model_templates
    projection = Projection(experiment, store, artifacts, cohort, templates)
    try:
        crowning = crown(
            experiment,
            book,
            jobs,
            projection.model_of,
            lambda job: store.plans(job.id)[0].data.image_size_px,
        )
    except GameError:
        # The scores are out all the same, and the front page is to say so.
        projection.publish(jobs, None, report_run, scores)
        raise
    champion = crowning.champion.model if crowning.champion else None
    projection.publish(jobs, champion, report_run, scores)
    return crowning
