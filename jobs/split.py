"""Which training images are validation images, and which of the rest a team trains on.

In: labels and content groups of the training part (`jobs.images`) and a `DataPlan`. Out: a `Split`
of indices, the same for every team with the same fractions and seed. `jobs.train` uses it.

Files with the same bytes never lie on both sides, even where they were given different labels: a
copy in training would let a network recognise a validation image instead of learning its species.
Near copies (a photo saved anew, or at another size) may: `jobs.duplicates` finds them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.errors import DataError
from jobs.plan import DataPlan


@dataclass(frozen=True)
class Split:
    """Indices into the training part, each sorted."""

    train: np.ndarray  # (N_train,) int64
    validation: np.ndarray  # (N_val,) int64


def split_images(labels: np.ndarray, groups: np.ndarray, data: DataPlan) -> Split:
    """Divide images by class, keeping images of equal content together.

    In every class the groups are shuffled once. The first of them, as near to
    `validation_fraction` of the class as whole groups allow, are the validation images; of the
    rest the first, as near to `train_fraction`, are the team's. A larger train fraction thus
    keeps every image of a smaller one, and the validation images don't depend on it.

    Args:
        labels: (N,) class numbers.
        groups: (N,) content numbers; a group belongs to the class of its first image.
        data: fractions, seed and class names.

    Raises:
        DataError: a class would have no image on one of the sides.
    """
    _, firsts = np.unique(groups, return_index=True)
    members = {int(groups[first]): np.flatnonzero(groups == groups[first]) for first in firsts}
    generator = np.random.Generator(np.random.PCG64(data.split_seed))

    train: list[np.ndarray] = []
    validation: list[np.ndarray] = []
    for label in range(len(data.classes)):
        of_class = np.sort(firsts[labels[firsts] == label])
        shuffled = [members[int(groups[first])] for first in generator.permutation(of_class)]
        num_validation = _count_nearest(shuffled, data.validation_fraction)
        rest = shuffled[num_validation:]
        validation += shuffled[:num_validation]
        train += rest[: _count_nearest(rest, data.train_fraction)]

    split = Split(_sorted_indices(train), _sorted_indices(validation))
    problems = [
        f"class {name} has no {side} image; it needs at least 2 photos of different content, "
        "each with this class alone"
        for side, chosen in (("training", split.train), ("validation", split.validation))
        for label, name in enumerate(data.classes)
        if not np.any(labels[chosen] == label)
    ]
    if problems:
        raise DataError("the training images cannot be divided", problems)
    return split


def _count_nearest(groups: Sequence[np.ndarray], fraction: float) -> int:
    """Return how many leading groups (at least one) hold nearest to this fraction of the images.

    A fraction below 1 leaves at least one group out, where there are two.
    """
    if len(groups) < 2:
        return len(groups)
    totals = np.cumsum([len(group) for group in groups])
    nearest = int(np.argmin(np.abs(totals - fraction * totals[-1]))) + 1
    return nearest if fraction == 1 else min(nearest, len(groups) - 1)


def _sorted_indices(groups: Sequence[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate([np.empty(0, np.int64), *groups]))
