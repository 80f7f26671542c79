"""One team's part of a cohort, for the team: what it may know, and nothing more.

In: its job and, once they are published, the scores. Out: a `TeamResults`. Without published scores
the images that it erred on are validation images, and its place is not told. Used by
`gamectl results`; next on the path: `pictures` and `html`.
"""

from jobs.errors import JobsError
from jobs.images import DecodedFolder
from jobs.places import Where
from orchestrator.admission.cohort import Cohort
from orchestrator.artifacts import Artifacts
from orchestrator.errors import GameError
from orchestrator.phases import Phase
from orchestrator.report.gather import class_names, scores_of, team_of, titles_of
from orchestrator.report.mistakes import Answers, hidden_answers, validation_answers
from orchestrator.report.page import Earlier, TeamResults
from orchestrator.results.scorebook import ScoreBook
from orchestrator.settings import Settings
from orchestrator.sources import source_again
from orchestrator.state import CohortRecord, Job
from orchestrator.store import Store
from orchestrator.terminal.lookup import controller_of


class TrainingImages:
    """What a cohort trained on, looked for and decoded once for each size that is asked for."""

    def __init__(self, cohort: CohortRecord, data: Where | None, settings: Settings) -> None:
        """`data` names the images' folder where it is not the one that was submitted."""
        self._cohort, self._settings = cohort, settings
        self.source = source_again(cohort.data, data)
        self._found: dict[int, DecodedFolder | Exception] = {}

    def of_size(self, size_px: int) -> DecodedFolder:
        """Raises `GameError`, `JobsError` or `OSError`, the same one every time."""
        if size_px not in self._found:
            from orchestrator.sources import decode_source
            from orchestrator.terminal.progress_bars import progress

            skip_broken = Cohort.stored(self._cohort.spec).spec.data.skip_broken_images
            try:
                self._found[size_px] = decode_source(
                    self.source, [size_px], skip_broken, self._settings, progress, with_test=False
                )
            except (GameError, JobsError, OSError) as error:
                self._found[size_px] = error
        found = self._found[size_px]
        if isinstance(found, Exception):
            raise found
        return found


def take_home(
    store: Store,
    job: Job,
    published: ScoreBook | None,
    images: TrainingImages,
    settings: Settings,
    now: float,
) -> TeamResults:
    """What the job's team may take home.

    `published` are the cohort's scores, and None before they are published; `images` are asked
    where validation images are what the team may see.
    """
    record = store.cohort(job.cohort)
    at_work = controller_of(store, job.cohort) is not None
    attempts = store.attempts(job.id)
    jobs = store.jobs(job.cohort)
    scores = scores_of(jobs, published)
    budget_bnn = Cohort.stored(record.spec).spec.budget  # titles are one team's among all
    score = scores.get(job.uid)
    held = [
        title
        for title in titles_of(jobs, published, budget_bnn)
        if job.team in title.teams and score is not None  # and not an older revision
    ]
    older = [each for each in jobs if each.team == job.team and each.uid in scores]
    known = published.find(job) if published is not None else None
    answers, unknown = None, ""
    if published is not None and known is not None:
        answers = hidden_answers(published, known)
        if not answers.images:
            unknown = (
                "Which test images they are is not known of these scores; "
                f"`gamectl score --cohort {job.cohort}` measures that."
            )
    elif job.phase is Phase.SUCCEEDED:
        answers, unknown = _on_validation(store, job, images, Artifacts(settings.artifacts))
    else:
        yet = "" if job.phase.terminal else " yet"
        unknown = f"Nothing to compare{yet}: the job is {job.phase}."
    of_test = known is not None
    return TeamResults(
        cohort=job.cohort,
        published=published is not None,
        made_at=now,
        team=team_of(
            store,
            job,
            attempts,
            0,
            score,
            now if at_work else None,
            [title.name for title in held],
        ),
        num_ranked=len(scores),
        earlier=Earlier(older[0].revision, scores[older[0].uid]) if older and not score else None,
        titles=tuple(held),
        classes=class_names(published.classes if published and of_test else record.data.classes),
        images="test" if of_test else "validation" if answers is not None else "none",
        num_images=published.test_images if published and of_test else _count(answers),
        mistakes=answers.mistakes if answers is not None else (),
        confusion=score.confusion if score else answers.confusion if answers else None,
        unknown=unknown,
    )


def _count(answers: Answers | None) -> int:
    return len(answers.images) if answers is not None else 0


def _on_validation(
    store: Store, job: Job, images: TrainingImages, artifacts: Artifacts
) -> tuple[Answers | None, str]:
    plan = store.plans(job.id)[0].data
    try:
        decoded = images.of_size(plan.image_size_px)
        if decoded.folder.fingerprint != plan.fingerprint:
            return None, (
                f"The images in {images.source} are not those that it trained on, so its mistakes "
                "are not known; --data names another folder."
            )
        return validation_answers(job, store, artifacts, decoded), ""
    except (GameError, JobsError, OSError) as error:
        return None, f"Its mistakes are not known: {error}; --data names a folder."
