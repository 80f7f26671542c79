"""The hidden test set decides: each job's network is evaluated on images that no team has seen.

In: succeeded jobs, their members' weights, the test images. Out: a `ScoreBook`; nothing reaches
MLflow before it is published. Next on the path: `scorebook`, `leaderboard`, `tracking.publish`.
"""

from collections.abc import Callable
from typing import cast

import torch

from jobs.ensemble import load_ensemble
from jobs.images import DecodedFolder
from jobs.memory import keep_freed_memory
from jobs.metrics import score
from jobs.plan import Combine
from jobs.train import predict
from orchestrator.artifacts import Artifacts
from orchestrator.errors import NotFound
from orchestrator.phases import Phase
from orchestrator.scorebook import ScoreBook, TeamScore
from orchestrator.state import Job, newest_revisions
from orchestrator.store import Store


def score_cohort(
    cohort: str,
    store: Store,
    artifacts: Artifacts,
    decoded: DecodedFolder,
    old: ScoreBook | None,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreBook:
    """Scores every succeeded job that `old` does not hold for the same test images.

    Raises `NotFound` where no job has succeeded, and `Damaged` where weights are not what training
    wrote.
    """
    jobs = [j for j in newest_revisions(store.jobs(cohort)) if j.phase is Phase.SUCCEEDED]
    if not jobs:
        raise NotFound(
            f"no job of cohort {cohort!r} has succeeded, so there is nothing to score; "
            f"see `gamectl get jobs --cohort {cohort}`"
        )
    keep_freed_memory()
    folder = decoded.folder
    known = old if old is not None and old.test_fingerprint == folder.test_fingerprint else None
    scores = []
    for done, job in enumerate(jobs, start=1):
        have = known.find(job) if known else None
        scores.append(have or _score(job, store, artifacts, decoded))
        if progress is not None:
            progress(done, len(jobs))
    return ScoreBook(
        cohort=cohort,
        test_fingerprint=folder.test_fingerprint,
        test_images=len(folder.test),
        classes=folder.classes,
        published=known is not None and known.published and set(scores) == set(known.scores),
        scores=tuple(scores),
    )


def _score(job: Job, store: Store, artifacts: Artifacts, decoded: DecodedFolder) -> TeamScore:
    plans = store.plans(job.id)
    trained = store.weights(job.id)
    weights = [artifacts.weights(trained[index]) for index in sorted(trained)]
    model = load_ensemble(plans, weights, cast(Combine, job.combine))
    test = decoded.test(plans[0].data.image_size_px)
    # As many threads as in training: their number shows in the last bits of a prediction.
    torch.set_num_threads(plans[0].threads)
    result = score(test.labels, predict(model, test.images))
    return TeamScore(
        job=job.uid,
        team=job.team,
        accuracy=result.accuracy,
        accuracy_low=result.accuracy_low,
        accuracy_high=result.accuracy_high,
        macro_recall=result.macro_recall,
        recall_per_class=tuple(map(float, result.recall_per_class)),
        confusion=tuple(tuple(map(int, row)) for row in result.confusion),
    )
