"""A cohort's experiment described on its own page, and again when something has changed.

In: jobs, and what was published of them, which one of these tags tells. Out: tags of the
experiment. One is written when its text has changed, so seldom: `overview` knows phases and
results, and no epochs. Used by `projection` while a cohort runs, and by whoever publishes.
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
"""What was published, and another value every time. In one place and written at once: the runs that
have scores, too, may be deleted, or be half written."""
MOST_SCORES = 250
"""In the tag, which has 20,000 characters; the best ones."""

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
    scores: dict[str, tuple[float, float, float]]
    """Accuracy and its interval, by the job's uid."""


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
            counting = self._published_of(jobs).counting(jobs)
            for job in jobs:
                counts = COUNTS if job.uid in counting else COUNTS_NOT
                run = runs.get(job.uid)
                if run is not None and run.said.get(COUNTS_TAG) != counts:
                    self._experiment.client.set_tag(run.id, COUNTS_TAG, counts)
                    run.said[COUNTS_TAG] = counts

    def publish(
        self, number: int, champion: str | None, report_run: str, scores: Mapping[str, Score]
    ) -> None:
        """Says which scores, by the job's uid, are published; `number` is new every time."""
        best = sorted(scores.items(), key=lambda each: -each[1].accuracy)[:MOST_SCORES]
        told = {
            uid: (round(score.accuracy, 6), round(score.low, 6), round(score.high, 6))
            for uid, score in best
        }
        value = _Publishing(
            number=number, champion=champion, report=report_run, scores=told
        ).model_dump_json()
        with mlflow_errors():
            self._experiment.client.set_experiment_tag(self._experiment.id, PUBLISHED_TAG, value)

    def _changed_tags(self, jobs: Sequence[Job], runs: Mapping[str, str]) -> dict[str, str]:
        links = {job.uid: self._link(runs[job.uid]) for job in jobs if job.uid in runs}
        published = self._published_of(jobs)
        texts = {
            NOTE_TAG: description(self._cohort, jobs, links, published),
            **views(self._cohort, jobs[0].submitted_at, bool(published.scores)),
        }
        return {tag: text for tag, text in texts.items() if self._said.get(tag) != text}

    def _published_of(self, jobs: Sequence[Job]) -> Published:
        """What was published of these jobs; another game with the same name may write here, too."""
        ours = self._published.scores.keys() & {job.uid for job in jobs}
        return self._published if ours else NOTHING_YET

    def _link(self, run_id: str, tab: str = "") -> str:
        return f"#/experiments/{self._experiment.id}/runs/{run_id}{tab}?{FOR_TRAINING}"

    def _look(self) -> None:
        """Reads the tags, and what has been published since."""
        tags = dict(self._experiment.client.get_experiment(self._experiment.id).tags)
        said = tags.get(PUBLISHED_TAG)
        if said is not None and said != self._said.get(PUBLISHED_TAG):
            self._published = self._read(said)
        self._said = tags  # last: what MLflow did not answer is asked again

    def _read(self, said: str) -> Published:
        """What was published; nothing where MLflow's users made something else of it."""
        try:
            told = _Publishing.model_validate_json(said)
        except ValidationError:
            return NOTHING_YET
        scores = {uid: Score(*figures) for uid, figures in told.scores.items()}
        report = self._link(told.report, f"/artifacts/{REPORT_FILE}")
        return Published(scores, told.champion, report)
