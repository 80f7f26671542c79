"""A cohort's best network in MLflow's model registry, with the alias `champion`.

In: published scores, jobs, and the models that tracking logs. Out: a version of the registered
model, and the alias on it. Publishing again makes no second version; where another team wins the
alias moves, to a version of its own. Used by `gamectl score --publish`; `gamectl classify` asks
here whose network it is.

The registered model has the cohort's name. That is what the experiment is called, and every
command's `--cohort`, so `models:/demo@champion` needs no rule to be remembered; its versions are
the networks that have led that cohort. Where somebody else has a registered model of this name,
nothing is written to it.

A version is the job's logged model, a file that tracking made of weights (safetensors) whose
SHA-256 the store knows. A team's own code has none: then the best job that has one is champion.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException

from jobs.drawn_monkeys import species_names
from orchestrator.errors import Damaged, NotFound, TrackingError
from orchestrator.results.leaderboard import scored
from orchestrator.results.scorebook import ScoreBook, TeamScore
from orchestrator.state import Job
from orchestrator.terminal.display import lost_note
from orchestrator.tracking.client import KEY_TAG, Experiment, mlflow_errors
from orchestrator.tracking.runs import MODEL_TAG

ALIAS = "champion"
MOST_NAMES_CHARS = 3500
"""Of the classes in a version's description, which has 5,000 characters."""
OWN_CODE = "its network is code of its own, which MLflow does not hold"
COHORT_TAG = "game.cohort"
"""On the registered model: that it is this project's."""


@dataclass(frozen=True)
class Champion:
    """The version that has the alias."""

    model: str
    version: str
    job: Job
    score: TeamScore

    @property
    def load(self) -> str:
        """The line that loads it."""
        return f'mlflow.pytorch.load_model("models:/{self.model}@{ALIAS}")'


@dataclass(frozen=True)
class Crowning:
    """What came of it: a champion, or none, and the better teams that have no model."""

    champion: Champion | None
    passed_over: tuple[tuple[str, str], ...]
    """Each with why."""


@dataclass(frozen=True)
class Crowned:
    """What a version in the registry says of itself: the job, by its uid, and the team."""

    version: str
    job: str
    team: str


def crown(
    experiment: Experiment,
    book: ScoreBook,
    jobs: Sequence[Job],
    model_of: Callable[[Job], str | None],
    size_px: Callable[[Job], int],
) -> Crowning:
    """Gives the alias to the best scored job that has a model.

    `model_of` logs a job's model where that lacks, and returns its id; a team whose weights are
    `Damaged` is passed over. Raises `TrackingError`.
    """
    passed_over: list[tuple[str, str]] = []
    for job, score, _ in scored(jobs, book):
        try:
            model_id = model_of(job)
        except Damaged as error:
            passed_over.append((job.team, str(error)))
            continue
        if model_id is None:
            passed_over.append((job.team, OWN_CODE))
            continue
        with mlflow_errors():
            _make_registered_model(experiment, book.cohort)
            version = _version(experiment, book, job, score, model_id, size_px(job))
            _move_alias(experiment, book.cohort, version)
        return Crowning(Champion(book.cohort, version, job, score), tuple(passed_over))
    with mlflow_errors():
        if _alias(experiment, book.cohort) is not None:  # of a team that has no score any more
            experiment.client.delete_registered_model_alias(book.cohort, ALIAS)
    return Crowning(None, tuple(passed_over))


def no_champion(cohort: str) -> NotFound:
    """What to say where nothing has the alias."""
    return NotFound(
        f"cohort {cohort!r} has no champion yet; `gamectl score --cohort {cohort} --publish` makes "
        "one"
    )


def find_champion(experiment: Experiment, cohort: str) -> Crowned:
    """Whose network has the alias; raises `NotFound` with the command that makes a champion."""
    with mlflow_errors():
        number = _alias(experiment, cohort)
        if number is None:
            raise no_champion(cohort)
        tags = experiment.client.get_model_version(cohort, number).tags
    if KEY_TAG not in tags:
        raise NotFound(
            f"version {number} of the registered model {cohort!r} has the alias {ALIAS!r} and is "
            f"none of ours; `gamectl score --cohort {cohort} --publish` moves it back"
        )
    return Crowned(number, tags[KEY_TAG], tags.get("team", ""))


def _registered(experiment: Experiment, cohort: str) -> Any:
    """The registered model, or None; raises `TrackingError` where it is somebody else's."""
    try:
        model = experiment.client.get_registered_model(cohort)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if model.tags.get(COHORT_TAG) != cohort:
        raise TrackingError(
            f"MLflow has a registered model {cohort!r} that is not this cohort's; rename it there, "
            f"then run `gamectl score --cohort {cohort} --publish`"
        )
    return model


def _alias(experiment: Experiment, cohort: str) -> str | None:
    model = _registered(experiment, cohort)
    number = None if model is None else model.aliases.get(ALIAS)
    return None if number is None else str(number)


def _make_registered_model(experiment: Experiment, cohort: str) -> None:
    if _registered(experiment, cohort) is not None:
        return
    experiment.client.create_registered_model(
        cohort,
        tags={COHORT_TAG: cohort},
        description=(
            f"The networks that have led the cohort `{cohort}`. The best one on the test set has "
            f"the alias `{ALIAS}`:\n\n"
            f'```python\nmlflow.pytorch.load_model("models:/{cohort}@{ALIAS}")\n```'
        ),
    )


def _version(
    experiment: Experiment,
    book: ScoreBook,
    job: Job,
    score: TeamScore,
    model_id: str,
    size_px: int,
) -> str:
    """The version of this job's model, made where there is none, with what it says brought up."""
    client = experiment.client
    found = client.search_model_versions(f"name = '{book.cohort}'")
    version = next((v for v in found if v.tags.get(MODEL_TAG) == model_id), None)
    tags = {
        "team": job.team,
        "cohort": job.cohort,
        "revision": str(job.revision),
        "accuracy": f"{score.accuracy:.4f}",
        "accuracy_interval": f"{score.accuracy_low:.4f} - {score.accuracy_high:.4f}",
        "test_images": str(book.test_images),
        KEY_TAG: job.uid,
        MODEL_TAG: model_id,
    }
    if version is None:
        logged = client.get_logged_model(model_id)
        # Its place and not `models:/ID`, which MLflow looks up in the whole process's tracking URI.
        version = client.create_model_version(
            book.cohort,
            source=logged.artifact_location,
            run_id=logged.source_run_id,
            tags=tags,
            model_id=model_id,
        )
        # So that the model's own page leads to the version.
        versions = json.dumps([{"name": book.cohort, "version": version.version}])
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": versions})
    number = str(version.version)
    for name, value in tags.items():
        if version.tags.get(name) != value:
            client.set_model_version_tag(book.cohort, number, name, value)
    text = _description(book, job, score, number, size_px)
    if version.description != text:
        client.update_model_version(book.cohort, number, text)
    return number


def _move_alias(experiment: Experiment, cohort: str, version: str) -> None:
    if _alias(experiment, cohort) != version:
        experiment.client.set_registered_model_alias(cohort, ALIAS, version)


def _description(book: ScoreBook, job: Job, score: TeamScore, version: str, size_px: int) -> str:
    revision = f", revision {job.revision}" if job.revision > 1 else ""
    lost = f"Degraded: {note}\n\n" if (note := lost_note(job)) else ""
    names = species_names(book.classes)
    return (
        f"{job.team}{revision}: {score.accuracy:.1%} of {book.test_images} test images right "
        f"(95 % interval {score.accuracy_low:.1%} to {score.accuracy_high:.1%}).\n\n"
        f"{lost}"
        f'```python\nmlflow.pytorch.load_model("models:/{book.cohort}/{version}")\n```\n\n'
        f"Images (B, 3, {size_px}, {size_px}), RGB, float32 from 0 to 1, go in; probabilities "
        f"(B, {len(names)}) come out, in this order: {_in_order(names)}.\n\n"
        "Loading a model file runs what is in it, so do it where you trust this server. "
        f"`gamectl classify IMAGE --cohort {book.cohort}` does without it."
    )


def _in_order(names: Mapping[str, str]) -> str:
    told = ", ".join(name if name == text else f"{name} {text}" for name, text in names.items())
    if len(told) <= MOST_NAMES_CHARS:
        return told
    return f"{told[:MOST_NAMES_CHARS]} ... (all of them are in the metadata of the model)"
