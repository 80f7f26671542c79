"""A job's last step: its members' probabilities combined and measured.

In: each trained member's probabilities on the validation images. Out: the job's result for the
store, once what was fitted to them is among the artifacts. Used by `controller` when all members
have ended. Later `scoring` and `tracking` ask here for the network that the job ended with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from jobs.ensemble import Ensemble, combine, load_ensemble
from jobs.images import LabelledImages
from jobs.metrics import accuracy
from jobs.plan import Combine, DataPlan
from jobs.split import split_images
from jobs.stacking import Stacker, fit, out_of_fold
from orchestrator.artifacts import Artifacts
from orchestrator.state import Job
from orchestrator.store import JobResult, Store


@dataclass(frozen=True, eq=False)
class ValidationTruth:
    """What is known of the validation images, in the order of the members' probabilities."""

    labels: NDArray[np.int64]
    """(N,) class numbers."""
    groups: NDArray[np.int64]
    """(N,) content numbers: images of equal content share one."""


Truth = Callable[[DataPlan], ValidationTruth]


def validation_truth(images: Callable[[DataPlan], LabelledImages]) -> Truth:
    """A function from a data plan to the truth about its images."""

    def truth(plan: DataPlan) -> ValidationTruth:
        known = images(plan)
        chosen = split_images(known.labels, known.groups, plan).validation
        return ValidationTruth(known.labels[chosen], known.groups[chosen])

    return truth


def job_result(
    job: Job,
    val_probs: Sequence[NDArray[np.float32]],
    truth: ValidationTruth,
    artifacts: Artifacts,
) -> JobResult:
    """The result of members whose probabilities, (N, C) each, are combined as the job says.

    Stacking is measured out of fold; the stacker that is kept is fitted to all images. Raises
    `OSError` where it can't be written.
    """
    probs = np.stack(val_probs)
    how = cast(Combine, job.combine)
    if how != "stacking":
        return JobResult(val_accuracy=_accuracy(truth, combine(torch.from_numpy(probs), how)))
    stacker = fit(probs, truth.labels)
    unseen = out_of_fold(probs, truth.labels, truth.groups)
    seen = combine(torch.from_numpy(probs), how, stacker)
    kept = artifacts.save_stacker(job, safetensors.torch.save(stacker.state_dict()))
    return JobResult(
        val_accuracy=_accuracy(truth, torch.from_numpy(unseen)),
        val_accuracy_refit=_accuracy(truth, seen),
        stacker=kept,
    )


def trained_ensemble(job: Job, store: Store, artifacts: Artifacts) -> Ensemble:
    """The network that a succeeded job ended with, made of the members that were trained.

    Raises `Damaged` where a file is not what was written.
    """
    trained = store.weights(job.id)
    plans = store.plans(job.id)
    weights = [artifacts.weights(trained[index]) for index in sorted(trained)]
    fitted = store.stacker(job.id)
    stacker = None
    if fitted is not None:
        stacker = Stacker(**safetensors.torch.load(artifacts.stacker(fitted)))
    kept = [plans[index] for index in sorted(trained)]
    return load_ensemble(kept, weights, cast(Combine, job.combine), stacker)


def _accuracy(truth: ValidationTruth, probs: torch.Tensor) -> float:
    return accuracy(truth.labels, probs.argmax(dim=1).numpy())
