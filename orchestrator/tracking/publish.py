"""Scores written to MLflow, once the organizer publishes them.

In: a score book and the cohort's experiment. Out: on each scored job's run the test metrics, and
the confusion matrix as JSON and as a picture; the report on a run of its own. Publishing again
writes the same again. Next on the path: whoever reviews.
"""

import io
import json
import re
import time
import warnings
from collections.abc import Callable, Sequence

from mlflow.entities import Metric, RunTag
from PIL import Image

from orchestrator.errors import NotFound
from orchestrator.results.scorebook import ScoreBook, TeamScore
from orchestrator.state import Job
from orchestrator.tracking.client import KEY_TAG, METRICS_A_CALL, Experiment, mlflow_errors
from orchestrator.tracking.overview import Score
from orchestrator.tracking.runs import NOTE_TAG

NOT_IN_A_NAME = re.compile(r"[^\w .\-/]", re.ASCII)
"""What MLflow does not take in a metric's name; classes are named after folders."""
MOST_CHARS = 200
"""Of a class in a metric's name, which may have 250."""
LARGEST_PICTURE_INCHES = 40.0
MOST_CLASSES_WITH_COUNTS = 24
"""Of a picture; among more nobody could read the numbers, which take seconds to draw."""

MEASURED_TAG = "test_fingerprint"
"""Of a run whose score is among the published ones: the test images that it rests on."""
REPORT_KEY = "report"
"""Of the run that holds it; jobs' keys are 32 hexadecimal digits."""
REPORT_RUN = "the whole cohort"
REPORT_FILE = "report.html"
REPORT_NOTE = "The cohort as one page: see `report.html` among the artifacts."


def publish(
    book: ScoreBook,
    jobs: Sequence[Job],
    experiment: Experiment,
    on_team: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Writes all scores; raises `TrackingError`, or `NotFound` where a job has no run in MLflow.

    `on_team` is called with how many are written, and of how many.
    """
    with mlflow_errors():
        runs = experiment.runs_by_key()
        if missing := [score.team for score in book.scores if score.job not in runs]:
            raise NotFound(
                f"MLflow has no run for {', '.join(missing)}; "
                f"`gamectl resume --cohort {book.cohort}` writes it, and trains nothing"
            )
        # Of a revision that a newer one has replaced in the book: its score counts no more. Another
        # game with the same name may have runs here, too.
        scored = {score.job for score in book.scores}
        for key in runs.keys() & {job.uid for job in jobs} - scored:
            if MEASURED_TAG in runs[key].data.tags:
                experiment.client.delete_tag(runs[key].info.run_id, MEASURED_TAG)
        for done, score in enumerate(book.scores):
            on_team(done, len(book.scores))
            _publish(experiment, runs[score.job].info.run_id, score, book)


def published_scores(book: ScoreBook) -> dict[str, Score]:
    """What the experiment's page shows of a book, by the job's uid."""
    return {
        score.job: Score(score.accuracy, score.accuracy_low, score.accuracy_high)
        for score in book.scores
    }


def measured_on(book: ScoreBook) -> dict[str, str]:
    """The tags of a run that say which test images its score rests on."""
    return {
        MEASURED_TAG: book.test_fingerprint,
        "test_images_left_out": str(book.test_images_left_out),
    }


def publish_report(experiment: Experiment, page: str) -> str:
    """Puts the cohort's page into its experiment, on a run of its own; returns the run's id.

    Published again it takes the place of the older one. Raises `TrackingError`.
    """
    with mlflow_errors():
        found = experiment.runs_by_key().get(REPORT_KEY)
        if found is None:
            tags = {KEY_TAG: REPORT_KEY, "mlflow.source.name": "gamectl"}
            found = experiment.client.create_run(experiment.id, tags=tags, run_name=REPORT_RUN)
        run_id = str(found.info.run_id)
        experiment.client.log_text(run_id, page, REPORT_FILE)
        experiment.client.set_tag(run_id, NOTE_TAG, REPORT_NOTE)
        experiment.client.set_terminated(run_id)
    return run_id


def _recall_names(classes: Sequence[str]) -> list[str]:
    """A metric's name for each class; one that MLflow does not take whole is told by its label."""
    cleaned = [NOT_IN_A_NAME.sub("_", name)[:MOST_CHARS] for name in classes]
    return [
        f"test_recall.{clean}" if clean == name else f"test_recall.{clean}.{label}"
        for label, (clean, name) in enumerate(zip(cleaned, classes, strict=True))
    ]


def _publish(experiment: Experiment, run_id: str, score: TeamScore, book: ScoreBook) -> None:
    figures = {
        "test_accuracy": score.accuracy,
        "test_accuracy_low": score.accuracy_low,
        "test_accuracy_high": score.accuracy_high,
        "test_macro_recall": score.macro_recall,
    }
    names = _recall_names(book.classes)
    figures |= dict(zip(names, score.recall_per_class, strict=True))
    now_ms = round(time.time() * 1000)
    metrics = [Metric(name, value, now_ms, 0) for name, value in figures.items()]
    tags = [RunTag(name, value) for name, value in measured_on(book).items()]
    client = experiment.client
    for start in range(0, len(metrics), METRICS_A_CALL):
        client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_CALL])
    client.log_batch(run_id, tags=tags)
    document = {"classes": book.classes, "confusion": score.confusion}
    client.log_text(run_id, json.dumps(document), "confusion_matrix.json")
    with Image.open(io.BytesIO(confusion_png(score, book.classes))) as picture:
        client.log_image(run_id, picture, artifact_file="confusion_matrix.png")


def confusion_png(score: TeamScore, classes: tuple[str, ...]) -> bytes:
    """A picture of the confusion matrix: counts, shaded by the share of the true class."""
    import numpy as np
    from matplotlib.figure import Figure

    counts = np.array(score.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(5.0, 0.55 * len(classes) + 2), LARGEST_PICTURE_INCHES)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # A dollar sign in a class's name is no formula.
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(classes)), classes, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true class")
    axes.set_title(f"{score.team}: {score.accuracy:.1%} of {counts.sum()} test images")
    told = counts if len(classes) <= MOST_CLASSES_WITH_COUNTS else np.zeros_like(counts)
    for row, column in zip(*told.nonzero(), strict=True):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.5 else "black",
        )
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that matplotlib's font does not have
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
