"""A job's last step: its members' probabilities combined and measured.

In: each trained member's probabilities on the validation images. Out: the job's result for the
store, once what was fitted to them is among the artifacts. Used by `controller` when all members
have ended. Later `scoring` asks here what the job says of test images, and `tracking` for the
network that it ended with.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from jobs.custom.parent import predict_custom
from jobs.ensemble import Ensemble, combine, load_ensemble
from jobs.evaluation import predict
from jobs.metrics import accuracy
from jobs.plan import Combine, MemberPlan, SandboxRules
from jobs.stacking import Stacker, fit, out_of_fold
from orchestrator.artifacts import Artifacts
from orchestrator.state import Job
from orchestrator.store import JobResult, Store
from orchestrator.truth import ValidationTruth


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
    probs = np.stack(val_probs)
    stacker = fit(probs, truth.labels)
    seen = combine(torch.from_numpy(probs), "stacking", stacker)
    kept = artifacts.save_stacker(job, safetensors.torch.save(stacker.state_dict()))
    return JobResult(
        val_accuracy=val_accuracy,
        val_accuracy_refit=_accuracy(truth, seen.detach().numpy()),
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
        return out_of_fold(probs, truth.labels, truth.groups)
    return combine(torch.from_numpy(probs), cast(Combine, how)).numpy()


def trained_ensemble(job: Job, store: Store, artifacts: Artifacts) -> Ensemble:
    """The network that a succeeded job ended with, made of the members that were trained.

    Not for a team's own code, which is asked in a sandbox only: `trained_network` does. Raises
    `Damaged` where a file is not what was written.
    """
    plans, weights = _trained(job, store, artifacts)
    stacker = _stacker(job, store, artifacts)
    return load_ensemble(plans, weights, cast(Combine, job.combine), stacker)


def trained_network(
    job: Job, store: Store, artifacts: Artifacts, rules: SandboxRules
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What a succeeded job says of images (N, 3, S, S) that it has never seen: (N, C).

    The network is built once, however often it is asked. A team's own code answers in a sandbox,
    without labels, and in an order that tells nothing; its errors are `TeamCodeError` and
    `SandboxError`. Raises `Damaged` where a file is not what was written.
    """
    plans, weights = _trained(job, store, artifacts)
    stacker = _stacker(job, store, artifacts)
    how = cast(Combine, job.combine)
    # As many threads as in training: their number shows in the last bits of a prediction.
    torch.set_num_threads(plans[0].threads)
    if plans[0].custom is None:
        ensemble = load_ensemble(plans, weights, how, stacker)
        return lambda images: predict(ensemble, images)

    def ask(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        each = [
            predict_custom(plan, state, images, rules, lambda _: None)
            for plan, state in zip(plans, weights, strict=True)
        ]
        return np.asarray(combine(torch.from_numpy(np.stack(each)), how, stacker).detach())

    return ask


def _trained(job: Job, store: Store, artifacts: Artifacts) -> tuple[list[MemberPlan], list[bytes]]:
    """The plans of the members that were trained, and their weights."""
    trained, plans = store.weights(job.id), store.plans(job.id)
    kept = sorted(trained)
    return [plans[index] for index in kept], [artifacts.weights(trained[index]) for index in kept]


def _stacker(job: Job, store: Store, artifacts: Artifacts) -> Stacker | None:
    fitted = store.stacker(job.id)
    if fitted is None:
        return None
    return Stacker(**safetensors.torch.load(artifacts.stacker(fitted)))


def _accuracy(truth: ValidationTruth, probs: NDArray[np.floating]) -> float:
    return accuracy(truth.labels, probs.argmax(axis=1))
