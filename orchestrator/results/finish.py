"""A job's last step: its members' probabilities combined and measured.

In: each trained member's probabilities on the validation images. Out: the job's result for the
store, once what was fitted to them is among the artifacts. Used by `combiner` when all members have
ended. Next on the path: `networks`, the network that the job ended with.

Slots wait while their controller is in here: nothing of it needs torch, which takes seconds to
import.
"""

from collections.abc import Sequence

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from jobs.combining import combined
from jobs.metrics import accuracy
from orchestrator.artifacts import Artifacts
from orchestrator.results.truth import ValidationTruth
from orchestrator.state import Job
from orchestrator.store import JobResult


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
    val_accuracy = _accuracy(truth, validation_probs(job.combine, val_probs, truth))
    if job.combine != "stacking":
        return JobResult(val_accuracy)
    from jobs.stacking import fit

    probs = np.stack(val_probs)
    layer = fit(probs, truth.labels)
    kept = artifacts.save_stacker(job, safetensors.numpy.save(layer._asdict()))
    return JobResult(
        val_accuracy=val_accuracy,
        val_accuracy_refit=_accuracy(truth, layer(probs)),
        stacker=kept,
    )


def validation_probs(
    how: str, val_probs: Sequence[NDArray[np.float32]], truth: ValidationTruth
) -> NDArray[np.floating]:
    """What members, (N, C) each, say together of the validation images, which they have not seen.

    Where they are stacked, each image is told by a stacker that was fitted without it.
    """
    probs = np.stack(val_probs)
    if how == "stacking":
        from jobs.stacking import out_of_fold

        return out_of_fold(probs, truth.labels, truth.groups)
    return combined(probs, how)


def _accuracy(truth: ValidationTruth, probs: NDArray[np.floating]) -> float:
    return accuracy(truth.labels, probs.argmax(axis=1))
