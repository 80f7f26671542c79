"""A teacher trained on Ray: one slot, for one network, through Ray Train.

In: a `TeacherPlan`, the training images, and the state dict to start from. Out: the trained weights
and probabilities, every epoch told while it trains. The slot is the one that members train in.
Next on the path: `teachers` keeps the result.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError
from torch import Tensor

from jobs.errors import JobsError
from jobs.images import LabelledImages
from jobs.plan import EpochReport, TeacherPlan
from jobs.values import MemberResult
from orchestrator.cluster.faults import Seen
from orchestrator.cluster.slot import Slot
from orchestrator.errors import ClusterError, GameError

POLL_S = 0.25
START_S = 30.0
"""A slot that is not there by then waits for CPUs or GPUs that others use."""


def train_on_ray(
    plan: TeacherPlan,
    data: LabelledImages,
    initial: Mapping[str, Tensor] | None,
    num_gpus: int,
    on_epoch: Callable[[EpochReport], None],
    on_wait: Callable[[], None] = lambda: None,
) -> MemberResult:
    """Trains a teacher on the connected cluster, with a CPU a thread.

    `on_wait` is called where it has to queue. Raises `GameError` where its training fails, and
    `ClusterError` where its slot dies.
    """
    inputs = [ray.put(replace(data, images=np.asarray(data.images)))]
    if initial is not None:
        inputs.append(ray.put(dict(initial)))
    slot = (
        ray.remote(Slot)
        .options(num_cpus=plan.threads, num_gpus=num_gpus, max_concurrency=3, max_restarts=0)
        .remote()
    )
    try:
        if not ray.wait([slot.ready.remote()], timeout=START_S)[0]:
            on_wait()
        training = slot.train.remote("teacher", "teacher", plan.model_dump_json(), inputs, None)
        while not ray.wait([training], timeout=POLL_S, fetch_local=False)[0]:
            for report, _ in ray.get(slot.drain.remote()):
                on_epoch(report)
        outcome, reports = ray.get(training)
        for report, _ in reports:
            on_epoch(report)
    except RayTaskError as error:
        raise ClusterError(f"Ray Train could not train the teacher: {error.cause}") from error
    except RayError as error:
        raise ClusterError(
            "the slot that trained the teacher was lost: its process ended, perhaps for lack of "
            "memory; try a smaller --batch-size or --size"
        ) from error
    finally:
        ray.kill(slot)
    if isinstance(outcome, Seen):
        raise GameError(f"the teacher could not be trained: {_in_words(outcome)}")
    assert outcome is not None, "nobody asked it to stop"
    result: MemberResult = outcome
    return result


def _in_words(what: Seen) -> str:
    """The message; where it was not raised on purpose, also where that was."""
    on_purpose = f"{JobsError.__module__}.{JobsError.__qualname__}" in what.kinds
    return what.message if on_purpose else f"{what.kind}: {what.message} ({what.line})"
