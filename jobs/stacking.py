"""Stacking: one linear layer that learns on validation images how far to trust each member.

In: the members' probabilities (M, N, C) on the validation images, labels and content groups (N,).
Out: a `Layer`, and what such layers say about images that they were not fitted on, which is the
only honest measure of them. `jobs.ensemble` puts the layer behind the members.

D. H. Wolpert, "Stacked generalization", Neural Networks 5 (1992) 241-259,
https://doi.org/10.1016/S0893-6080(05)80023-1. The layer is a multinomial logistic regression on the
members' log-probabilities. A few hundred images say little about its hundreds of weights, so a
ridge penalty pulls them towards the layer that averages the log-probabilities: without evidence
the result is the members' geometric mean.

All of it in numpy: jobs are combined in their controller, which torch would cost seconds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from jobs.combining import PROB_FLOOR

PENALTY = 100.0
"""Chosen once, out of fold, on 219 validation images of the drawn set: 8 ensembles of 2 to 6 out
of 6 MonkeyNETs that are right 33 to 71 % of the time. The plain mean gets 69.7 % right on average;
stackers with penalties of 1, 10, 30, 100, 300, 1000 and 3000 get 75.7, 77.6, 77.6, 78.4, 78.4, 76.9
and 75.7 %; of the best two, 100 has the lower cross-entropy. A penalty of 1 gets 95 % right of what
it was fitted to: learnt by heart. On the 272 test images the mean gets 70.4 %, a penalty of 100
77.4 %."""
GRADIENT_TOLERANCE = 1e-6
"""The fit ends where the gradient of the summed loss is no longer, or where float64 finds no lower
loss, at up to ten times that. The optimum is no further off than |gradient| / penalty: 1e-7 at most
beside the average's 1 / M."""

Floats = NDArray[np.float64]


class Layer(NamedTuple):
    """The fitted layer: weight (C, M * C) and bias (C,), member after member; float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map the members' probabilities (M, B, C) to combined ones (B, C)."""
        with _one_thread():
            logits = _log_features(probs) @ self.weight.T + self.bias
        return np.exp(_log_softmax(logits)).astype(np.float32)


def fit(probs: NDArray[np.float32], labels: NDArray[np.int64], penalty: float = PENALTY) -> Layer:
    """Fit the layer to labels (N,) and the members' probabilities (M, N, C) on the same images.

    Minimises the summed cross-entropy + penalty / 2 * (|weight - average|² + |bias|²), where
    `average` is [I I ... I] / M: strictly convex, so there is one answer, which more images pull
    further from the average. No images at all leave the average itself.

    The same arguments give the same bits.
    """
    num_members, num_images, num_classes = probs.shape
    features = np.hstack([_log_features(probs), np.ones((num_images, 1))])
    average = np.hstack(
        [np.tile(np.eye(num_classes), num_members) / num_members, np.zeros((num_classes, 1))]
    )
    targets = np.eye(num_classes)[labels]

    # What is learnt is the distance from the average, as one long vector.
    def log_probs(distance: Floats) -> Floats:
        return _log_softmax(features @ (average + distance.reshape(average.shape)).T)

    def loss_and_gradient(distance: Floats) -> tuple[float, Floats]:
        logs = log_probs(distance)
        loss = penalty / 2 * (distance @ distance) - (targets * logs).sum()
        slope = (np.exp(logs) - targets).T @ features
        return loss, slope.ravel() + penalty * distance

    def curvature(distance: Floats, along: Floats) -> Floats:
        """The Hessian times a vector."""
        predicted = np.exp(log_probs(distance))
        moved = predicted * (features @ along.reshape(average.shape).T)
        moved -= predicted * moved.sum(axis=1, keepdims=True)
        turned: Floats = (moved.T @ features).ravel() + penalty * along
        return turned

    with _one_thread():
        found = minimize(
            loss_and_gradient,
            np.zeros(average.size),
            method="trust-ncg",
            jac=True,
            hessp=curvature,
            options={"gtol": GRADIENT_TOLERANCE},
        )
    fitted = (average + found.x.reshape(average.shape)).astype(np.float32)
    return Layer(np.ascontiguousarray(fitted[:, :-1]), np.ascontiguousarray(fitted[:, -1]))


def out_of_fold(
    probs: NDArray[np.float32],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    num_folds: int = 5,
) -> NDArray[np.float32]:
    """Predict every image by a layer that saw neither it nor a copy of it; (N, C) float32.

    Args:
        probs: (M, N, C), the members' probabilities.
        labels: (N,) class numbers.
        groups: (N,) content numbers; images of equal content share a fold.
        num_folds: how many parts the images are divided into, each predicted from the others.
    """
    folds = assign_folds(labels, groups, num_folds)
    predicted = np.empty(probs.shape[1:], np.float32)
    for fold in np.unique(folds):
        held_out = folds == fold
        layer = fit(probs[:, ~held_out], labels[~held_out])
        predicted[held_out] = layer(probs[:, held_out])
    return predicted


def assign_folds(
    labels: NDArray[np.int64], groups: NDArray[np.int64], num_folds: int
) -> NDArray[np.int64]:
    """Number each image's fold, (N,) int64 from 0; every class is spread as evenly as it goes.

    Groups go, the largest first, to the fold that has the fewest images of their class, of equal
    ones to that with the fewest images. As in `jobs.split`, a group belongs to the class of its
    first image. Where a class or the whole has fewer groups than there are folds, some folds stay
    without.
    """
    folds = np.zeros(len(labels), np.int64)
    per_class = np.zeros((labels.max(initial=-1) + 1, num_folds), np.int64)
    _, firsts, sizes = np.unique(groups, return_index=True, return_counts=True)
    for at in np.lexsort((firsts, -sizes)):
        label = labels[firsts[at]]
        fold = np.lexsort((per_class.sum(axis=0), per_class[label]))[0]
        folds[groups == groups[firsts[at]]] = fold
        per_class[label, fold] += sizes[at]
    return folds


def _log_features(probs: NDArray[np.float32]) -> Floats:
    """Put the members' log-probabilities side by side: (M, B, C) -> (B, M * C), float64."""
    num_members, num_images, num_classes = probs.shape
    logs = np.log(np.maximum(probs.astype(np.float64), PROB_FLOOR))
    return logs.transpose(1, 0, 2).reshape(num_images, num_members * num_classes)


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=1, keepdims=True, initial=-np.inf)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _one_thread() -> threadpool_limits:
    """Let sums be taken in one order; another number of threads may give other bits."""
    return threadpool_limits(limits=1, user_api="blas")
