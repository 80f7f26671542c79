"""What is known of the validation images: the truth that members' probabilities are held against.

In: a data plan, and images by plan. Out: labels and groups of its validation part. Next on the
path: `combiner`, which has `finish` measure a job.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.images import LabelledImages
from jobs.plan import DataPlan
from jobs.split import split_images


@dataclass(frozen=True, eq=False)
class ValidationTruth:
    """What is known of the validation images, in the order of the members' probabilities."""

    labels: NDArray[np.int64]
    """(N,) class numbers."""
    groups: NDArray[np.int64]
    """(N,) content numbers: images of equal content share one."""
    rows: NDArray[np.int64]
    """(N,) their places among the training images."""


Truth = Callable[[DataPlan], ValidationTruth]


def validation_truth(images: Callable[[DataPlan], LabelledImages]) -> Truth:
    """A function from a data plan to the truth about its images."""

    def truth(plan: DataPlan) -> ValidationTruth:
        known = images(plan)
        chosen = split_images(known.labels, known.groups, plan).validation
        return ValidationTruth(known.labels[chosen], known.groups[chosen], chosen)

    return truth
