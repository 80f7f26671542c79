"""The network that a job ended with: its members' weights, and what a stacker learnt of them.

In: a succeeded job, and the artifacts. Out: `Parts`, its files; a module that is made of them; and
what it says of images. `scoring` and `classify` ask the latter, `tracking` writes the parts as a
model. The parts themselves need no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from jobs.plan import Combine, MemberPlan, SandboxRules
from orchestrator.artifacts import Artifacts
from orchestrator.state import Job
from orchestrator.store import Store

if TYPE_CHECKING:
    from jobs.ensemble import Ensemble, Stacker


@dataclass(frozen=True)
class Parts:
    """The members that were trained, by their plans and weights, and how they are combined."""

    plans: tuple[MemberPlan, ...]
    weights: tuple[bytes, ...]
    how: Combine
    stacker: bytes | None

    @property
    def state(self) -> dict[str, NDArray[np.float32]]:
        """All of it by the names that an `Ensemble` has for it."""
        state = {
            f"members.{index}.{name}": value
            for index, content in enumerate(self.weights)
            for name, value in safetensors.numpy.load(content).items()
        }
        stacked = safetensors.numpy.load(self.stacker) if self.stacker is not None else {}
        return state | {f"stacker.{name}": value for name, value in stacked.items()}


def trained_parts(job: Job, store: Store, artifacts: Artifacts) -> Parts:
    """What a succeeded job ended with; raises `Damaged` where a file is not what was written."""
    trained, plans, fitted = store.weights(job.id), store.plans(job.id), store.stacker(job.id)
    kept = sorted(trained)
    return Parts(
        tuple(plans[index] for index in kept),
        tuple(artifacts.weights(trained[index]) for index in kept),
        cast(Combine, job.combine),
        artifacts.stacker(fitted) if fitted is not None else None,
    )


def trained_ensemble(job: Job, store: Store, artifacts: Artifacts) -> Ensemble:
    """The network that a succeeded job ended with, made of the members that were trained.

    Not for a team's own code, which is asked in a sandbox only: `trained_network` does. Raises
    `Damaged` where a file is not what was written.
    """
    from jobs.ensemble import load_ensemble

    parts = trained_parts(job, store, artifacts)
    return load_ensemble(parts.plans, parts.weights, parts.how, _stacker(parts))


def trained_network(
    job: Job, store: Store, artifacts: Artifacts, rules: SandboxRules
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """What a succeeded job says of images (N, 3, S, S) that it has never seen: (N, C).

    The network is built once, however often it is asked. A team's own code answers in a sandbox,
    without labels, and in an order that tells nothing; its errors are `TeamCodeError` and
    `SandboxError`. Raises `Damaged` where a file is not what was written.
    """
    import torch

    from jobs.custom.parent import predict_custom
    from jobs.ensemble import combine, load_ensemble
    from jobs.evaluation import predict

    parts = trained_parts(job, store, artifacts)
    stacker = _stacker(parts)
    # As many threads as in training: their number shows in the last bits of a prediction.
    torch.set_num_threads(parts.plans[0].threads)
    if parts.plans[0].custom is None:
        ensemble = load_ensemble(parts.plans, parts.weights, parts.how, stacker)
        return lambda images: predict(ensemble, images)

    def ask(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        each = [
            predict_custom(plan, state, images, rules, lambda _: None)
            for plan, state in zip(parts.plans, parts.weights, strict=True)
        ]
        return np.asarray(combine(torch.from_numpy(np.stack(each)), parts.how, stacker).detach())

    return ask


def _stacker(parts: Parts) -> Stacker | None:
    if parts.stacker is None:
        return None
    import safetensors.torch

    from jobs.ensemble import Stacker

    return Stacker(**safetensors.torch.load(parts.stacker))
