"""How good predictions are: accuracy with its interval, recalls, confusion matrix.

In: true labels (N,) and probabilities (N, C) or predicted labels (N,), as numpy arrays. Out: a
`Scores` value. Scoring and tracking use it; nothing here knows where the predictions come from.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """One network's figures on one set of images. A class without images has recall NaN."""

    accuracy: float
    accuracy_low: float  # 95 % Wilson interval
    accuracy_high: float
    macro_recall: float
    recall_per_class: np.ndarray  # (C,) float64
    confusion: np.ndarray  # (C, C) int64, rows: true class, columns: predicted class


def score(labels: np.ndarray, probs: np.ndarray) -> Scores:
    """Score probabilities (N, C) against labels (N,); of equal probabilities the first class wins.

    Raises:
        ValueError: no images.
    """
    predicted = probs.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, probs.shape[1])
    low, high = wilson_interval(int(np.trace(confusion)), len(labels))
    return Scores(
        accuracy=accuracy(labels, predicted),
        accuracy_low=low,
        accuracy_high=high,
        macro_recall=macro_recall(confusion),
        recall_per_class=recall_per_class(confusion),
        confusion=confusion,
    )


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of (N,) labels that were predicted; ValueError for no labels."""
    if len(labels) == 0:
        raise ValueError("accuracy of no images is not defined; pass at least one label")
    return float(np.mean(labels == predicted))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count (C, C) int64: rows are true classes, columns predicted ones."""
    pairs = labels * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def recall_per_class(confusion: np.ndarray) -> np.ndarray:
    """Return (C,) shares of each class's images that were found; NaN for a class without any."""
    totals = confusion.sum(axis=1)
    recalls = np.full(len(confusion), np.nan)
    np.divide(np.diag(confusion), totals, out=recalls, where=totals > 0)
    return recalls


def macro_recall(confusion: np.ndarray) -> float:
    """Return the mean recall of the classes that have images; NaN if none has."""
    recalls = recall_per_class(confusion)
    present = recalls[~np.isnan(recalls)]
    return float(present.mean()) if len(present) else math.nan


def wilson_interval(successes: int, num_trials: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of a proportion; z = 1.96 gives 95 %.

    Unlike the textbook p ± z·sqrt(p(1-p)/n) it stays within [0, 1] and holds its level for few
    trials and for p near 0 or 1. E. B. Wilson, "Probable inference, the law of succession, and
    statistical inference", JASA 22 (1927), https://doi.org/10.1080/01621459.1927.10502953.

    Raises:
        ValueError: no trials, or successes outside 0 to `num_trials`.
    """
    if num_trials < 1 or not 0 <= successes <= num_trials:
        raise ValueError(
            f"{successes} successes of {num_trials} trials; there must be at least one trial, "
            "and between 0 and that many successes"
        )
    share = successes / num_trials
    scale = 1 + z**2 / num_trials
    centre = (share + z**2 / (2 * num_trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / num_trials + (z / (2 * num_trials)) ** 2)
    # Rounding must not put 0 of n above 0, or n of n below 1.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == num_trials else centre + half
    return low, high
