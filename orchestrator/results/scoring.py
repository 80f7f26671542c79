"""The hidden test set decides: each job's network is evaluated on images that no team has seen.

In: succeeded jobs, their members' weights, the test images and which of them are left out. Out: a
`ScoreBook`; nothing reaches MLflow before it is published. Next on the path: `scorebook`,
`leaderboard`, `tracking.publish`.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from jobs.errors import SandboxError, TeamCodeError
from jobs.image_folder import TEST
from jobs.images import DecodedFolder, LabelledImages
from jobs.memory import keep_freed_memory
from jobs.metrics import score
from jobs.plan import SandboxRules
from orchestrator.artifacts import Artifacts
from orchestrator.errors import Damaged, NotFound, Refused
from orchestrator.results.networks import trained_network
from orchestrator.results.scorebook import ScoreBook, ScoredImage, TeamScore
from orchestrator.state import Job
from orchestrator.store import Store


def score_cohort(
    cohort: str,
    jobs: Sequence[Job],
    rules: SandboxRules,
    store: Store,
    artifacts: Artifacts,
    decoded: DecodedFolder,
    old: ScoreBook | None,
    progress: Callable[[int, int], None] | None = None,
    left_out: Collection[str] = (),
    on_failure: Callable[[str, Exception], None] = lambda _team, _error: None,
) -> ScoreBook:
    """Scores every one of these jobs, which have succeeded, that `old` does not hold for the same
    test images.

    A book of a release that kept no team's answers image by image is measured again.

    `left_out` names the test images that do not count, by SHA-256; `jobs.duplicates` finds those
    that leak. Raises `NotFound` where there is no job, and `Refused` where a class would be
    left without test images.

    A team that cannot be asked has no score, and the others have: `on_failure` is told that its own
    code fails here (`TeamCodeError`), that there is no sandbox for it (`SandboxError`), or that its
    weights are not what training wrote (`Damaged`).
    """
    if not jobs:
        raise NotFound(
            f"no job of cohort {cohort!r} has succeeded, so there is nothing to score; "
            f"see `gamectl get jobs --cohort {cohort}`"
        )
    keep_freed_memory()
    folder = decoded.folder
    counting = _counting(decoded, left_out)
    same = old if old and old.measured_on(folder.test_fingerprint, left_out) else None
    known = same if same and same.tells_images else None
    scores = []
    for done, job in enumerate(jobs, start=1):
        have = known.find(job) if known else None
        try:
            scores.append(have or _score(job, store, artifacts, decoded, left_out, rules))
        except (TeamCodeError, SandboxError, Damaged) as error:
            on_failure(job.team, error)
        if progress is not None:
            progress(done, len(jobs))
    return ScoreBook(
        cohort=cohort,
        test_fingerprint=folder.test_fingerprint,
        test_images=len(counting),
        test_images_left_out=len(folder.test) - len(counting),
        left_out=tuple(sorted(left_out)),
        classes=folder.classes,
        images=tuple(
            ScoredImage(sha256=file.sha256, label=file.label)
            for file in (folder.test[row] for row in counting)
        ),
        published=same is not None and same.published and _figures(scores) == _figures(same.scores),
        scores=tuple(scores),
    )


def need_test_images(decoded: DecodedFolder, source: str, command: str) -> None:
    """Raises `NotFound` where data has its training part alone; `command` is what helps then."""
    if not decoded.folder.test:
        raise NotFound(
            f"no test images: {source} has no {TEST}/; mount or put them there, or name a folder "
            f"that holds both parts: {command}"
        )


def scored_images(
    decoded: DecodedFolder, size_px: int, left_out: Collection[str]
) -> LabelledImages:
    """The test images of one size, without those whose SHA-256 is in `left_out`.

    Raises `Refused` where a class would be left without any, and `jobs.errors.DataError` where this
    size was not decoded.
    """
    images = decoded.test(size_px)
    if not left_out:
        return images  # memory-mapped, not copied
    rows = _counting(decoded, left_out)
    return LabelledImages(images.images[rows], images.labels[rows], images.groups[rows])


def _counting(decoded: DecodedFolder, left_out: Collection[str]) -> list[int]:
    """The rows of the test images that count."""
    folder = decoded.folder
    rows = [row for row, file in enumerate(folder.test) if file.sha256 not in left_out]
    present = {folder.test[row].label for row in rows}
    if empty := [name for label, name in enumerate(folder.classes) if label not in present]:
        raise Refused(
            f"every test image of {', '.join(empty)} leaks into training, so that nothing is left "
            f"to score on; `gamectl data check {folder.root}` shows the pairs. Put other images "
            "there, or say `scoring: {excludeLeaked: false}` in the cohort's spec"
        )
    return rows


def _figures(scores: Iterable[TeamScore]) -> set[tuple[str, tuple[tuple[int, ...], ...]]]:
    """What is published of scores: which job they are of, and everything that can be counted."""
    return {(each.job, each.confusion) for each in scores}


def _score(
    job: Job,
    store: Store,
    artifacts: Artifacts,
    decoded: DecodedFolder,
    left_out: Collection[str],
    rules: SandboxRules,
) -> TeamScore:
    size_px = store.plans(job.id)[0].data.image_size_px
    test = scored_images(decoded, size_px, left_out)
    probs = trained_network(job, store, artifacts, rules)(test.images)
    result = score(test.labels, probs)
    return TeamScore(
        job=job.uid,
        team=job.team,
        accuracy=result.accuracy,
        accuracy_low=result.accuracy_low,
        accuracy_high=result.accuracy_high,
        macro_recall=result.macro_recall,
        recall_per_class=tuple(map(float, result.recall_per_class)),
        confusion=tuple(tuple(map(int, row)) for row in result.confusion),
        predicted=tuple(map(int, probs.argmax(axis=1))),
    )
