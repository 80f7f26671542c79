"""A job's last step: its members' probabilities combined and measured.

In: each member's probabilities on the validation images. Out: the job's result for the store.
Used by `controller` when the last member has succeeded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from jobs.ensemble import combine
from jobs.images import LabelledImages
from jobs.metrics import accuracy
from jobs.plan import Combine, DataPlan
from jobs.split import split_images
from orchestrator.store import JobResult

ValidationLabels = Callable[[DataPlan], NDArray[np.int64]]


def validation_labels(data: Mapping[int, LabelledImages]) -> ValidationLabels:
    """A function from a data plan to its validation images' labels; `data` is by size in pixels."""

    def labels(plan: DataPlan) -> NDArray[np.int64]:
        images = data[plan.image_size_px]
        split = split_images(images.labels, images.groups, plan)
        return cast(NDArray[np.int64], images.labels[split.validation])

    return labels


def job_result(
    val_probs: Sequence[NDArray[np.float32]], how: str, labels: NDArray[np.int64]
) -> JobResult:
    """The result of members whose probabilities, (N, C) each, are combined as `how` says."""
    stacked = torch.from_numpy(np.stack(val_probs))
    probs = combine(stacked, cast(Combine, how)).numpy()
    return JobResult(val_accuracy=accuracy(labels, probs.argmax(axis=1)))
