"""A cohort's experiment described on its own page, and again when something has changed.

In: jobs, and what was published of them, which MLflow itself tells. Out: tags of the experiment.
One is written when its text has changed, so seldom: `overview` knows phases and results, and no
epochs. Used by `projection` while a cohort runs, and by whoever publishes.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from orchestrator.state import Job
from orchestrator.tracking.client import Experiment, mlflow_errors
from orchestrator.tracking.overview import (
    NOTHING_YET,
    TEAMS_VIEW,
    VIEW_TAG,
    Published,
    Score,
    description,
    views,
)
from orchestrator.tracking.publish import REPORT_FILE
from orchestrator.tracking.runs import COUNTS, COUNTS_NOT, COUNTS_TAG, NOTE_TAG, Run

PUBLISHED_TAG = "game.published"
"""Another value with every publishing, so that whoever writes the page knows that it is stale."""

FOR_TRAINING = "workflowType=machine_learning"
"""Without it the UI opens on pages for language models."""
EXPERIMENTS = f"#/experiments?{FOR_TRAINING}"


def page_of(experiment: Experiment) -> str:
    """Where an experiment is in the UI, with its teams in view where that has been prepared."""
    with mlflow_errors():
        tags = experiment.client.get_experiment(experiment.id).tags
    view = f"&viewStateShareKey={TEAMS_VIEW}" if VIEW_TAG + TEAMS_VIEW in tags else ""
    return f"#/experiments/{experiment.id}/runs?{FOR_TRAINING}{view}"


class _Publishing(BaseModel):
    """What the tag says."""

    number: int
    champion: str | None
    report: str
    """The run that holds it."""
    measured_on: dict[str, str] = {}
    """Tags of the runs whose scores are of these test images; others have scores of before."""


class FrontPage:
    """The description and the views of one cohort's experiment."""

    def __init__(self, experiment: Experiment, cohort: str) -> None:
        self._experiment = experiment
        self._cohort = cohort
        self._said: dict[str, str] = {}
        """Tags of the experiment, as they were when they were looked at last."""
        self._published = NOTHING_YET

    def show(self, jobs: Sequence[Job], runs: Mapping[str, Run]) -> None:
        """Writes what has changed, and on jobs' runs whether they count; `runs` go by uid.

        Raises `TrackingError`.
        """
        ids = {uid: run.id for uid, run in runs.items()}
        with mlflow_errors():
            if jobs and self._changed_tags(jobs, ids):
                self._look()
                for tag, text in self._changed_tags(jobs, ids).items():
                    self._experiment.client.set_experiment_tag(self._experiment.id, tag, text)
                    self._said[tag] = text
            counting = self._published.counting(jobs)
            for job in jobs:
                counts = COUNTS if job.uid in counting else COUNTS_NOT
                run = runs.get(job.uid)
                if run is not None and run.said.get(COUNTS_TAG) != counts:
                    self._experiment.client.set_tag(run.id, COUNTS_TAG, counts)
                    run.said[COUNTS_TAG] = counts

    def publish(
        self, number: int, champion: str | None, report_run: str, measured_on: Mapping[str, str]
    ) -> None:
        """Says that scores are among the runs now, on those with the tags `measured_on`.

        `number` is another one with each publishing.
        """
        value = _Publishing(
            number=number, champion=champion, report=report_run, measured_on=dict(measured_on)
        ).model_dump_json()
        with mlflow_errors():
            self._experiment.client.set_experiment_tag(self._experiment.id, PUBLISHED_TAG, value)

    def _changed_tags(self, jobs: Sequence[Job], runs: Mapping[str, str]) -> dict[str, str]:
        links = {job.uid: self._link(runs[job.uid]) for job in jobs if job.uid in runs}
        texts = {
            NOTE_TAG: description(self._cohort, jobs, links, self._published),
            **views(self._cohort, jobs[0].submitted_at, bool(self._published.scores)),
        }
        return {tag: text for tag, text in texts.items() if self._said.get(tag) != text}

    def _link(self, run_id: str, tab: str = "") -> str:
        return f"#/experiments/{self._experiment.id}/runs/{run_id}{tab}?{FOR_TRAINING}"

    def _look(self) -> None:
        """Reads the tags and, where something was published since, the scores."""
        tags = dict(self._experiment.client.get_experiment(self._experiment.id).tags)
        said = tags.get(PUBLISHED_TAG)
        if said is not None and said != self._said.get(PUBLISHED_TAG):
            self._published = self._read(said)
        self._said = tags  # last: what MLflow did not answer is asked again

    def _read(self, said: str) -> Published:
        """What was published; nothing where MLflow's users made something else of it."""
        runs = self._experiment.runs_by_key("metrics.test_accuracy >= 0")
        try:
            told = _Publishing.model_validate_json(said)
            scores = {
                uid: Score(
                    *(run.data.metrics[f"test_accuracy{end}"] for end in ("", "_low", "_high"))
                )
                for uid, run in runs.items()
                if told.measured_on.items() <= run.data.tags.items()
            }
        except (ValidationError, KeyError):
            return NOTHING_YET
        report = self._link(told.report, f"/artifacts/{REPORT_FILE}")
        return Published(scores, told.champion, report)
