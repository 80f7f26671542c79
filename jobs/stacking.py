"""Stacking: one linear layer that learns on validation images how far to trust each member.

In: the members' probabilities (M, N, C) on the validation images, labels and content groups (N,).
Out: a `Stacker`, and what such stackers say about images that they were not fitted on, which is the
only honest measure of them. `jobs.ensemble` puts the stacker behind the members.

D. H. Wolpert, "Stacked generalization", Neural Networks 5 (1992) 241-259,
https://doi.org/10.1016/S0893-6080(05)80023-1. The layer is a multinomial logistic regression on the
members' log-probabilities. A few hundred images say little about its hundreds of weights, so a
ridge penalty pulls them towards the layer that averages the log-probabilities: without evidence
the result is the members' geometric mean.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.descent import QuasiNewton

PENALTY = 100.0
"""Chosen once, out of fold, on 219 validation images of the drawn set: 8 ensembles of 2 to 6 out
of 6 MonkeyNETs that are right 33 to 71 % of the time. The plain mean gets 69.7 % right on average;
stackers with penalties of 1, 10, 30, 100, 300, 1000 and 3000 get 75.7, 77.6, 77.6, 78.4, 78.4, 76.9
and 75.7 %; of the best two, 100 has the lower cross-entropy. A penalty of 1 gets 95 % right of what
it was fitted to: learnt by heart. On the 272 test images the mean gets 70.4 %, a penalty of 100
77.4 %."""
PROB_FLOOR = 1e-6
"""A smaller probability counts as this one: the log of 0 is no feature to calculate with."""
GRADIENT_TOLERANCE = 1e-6
"""The fit ends where no derivative of the summed loss is larger. The optimum is then no further off
than |gradient| / penalty, which is less than float32 resolves beside the average's 1 / M."""


class Stacker(nn.Module):
    """The fitted layer: weight (C, M * C) and bias (C,), member after member; float32."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, probs: Tensor) -> Tensor:
        """Map the members' probabilities (M, B, C) to combined ones (B, C)."""
        logits = functional.linear(log_features(probs), self.weight, self.bias)
        return torch.softmax(logits, dim=1)


def log_features(probs: Tensor) -> Tensor:
    """Put the members' log-probabilities side by side: (M, B, C) -> (B, M * C)."""
    return probs.clamp(min=PROB_FLOOR).log().permute(1, 0, 2).flatten(start_dim=1)


def fit(probs: np.ndarray, labels: np.ndarray, penalty: float = PENALTY) -> Stacker:
    """Fit the layer to labels (N,) and the members' probabilities (M, N, C) on the same images.

    Minimises the summed cross-entropy + penalty / 2 * (|weight - average|² + |bias|²), where
    `average` is [I I ... I] / M: strictly convex, so there is one answer, which more images pull
    further from the average. No images at all leave the average itself.

    The same arguments give the same bits; the global random state is neither read nor changed.
    """
    num_members, _, num_classes = probs.shape
    with _one_thread(), torch.enable_grad():
        features = log_features(torch.from_numpy(probs).double())  # (N, M * C)
        targets = torch.from_numpy(labels)
        average = torch.eye(num_classes, dtype=torch.float64).repeat(1, num_members) / num_members
        # What is learnt is the distance from the average.
        weight = torch.zeros_like(average, requires_grad=True)
        bias = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
        optimizer = QuasiNewton(
            [weight, bias],
            max_iter=10_000,
            tolerance_grad=GRADIENT_TOLERANCE,
            tolerance_change=0,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            logits = functional.linear(features, average + weight, bias)
            loss = functional.cross_entropy(logits, targets, reduction="sum")
            loss = loss + penalty / 2 * (weight.square().sum() + bias.square().sum())
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(objective)
    return Stacker((average + weight).detach().float(), bias.detach().float())


def out_of_fold(
    probs: np.ndarray, labels: np.ndarray, groups: np.ndarray, num_folds: int = 5
) -> np.ndarray:
    """Predict every image by a stacker that saw neither it nor a copy of it; (N, C) float32.

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
        stacker = fit(probs[:, ~held_out], labels[~held_out])
        with _one_thread():
            predicted[held_out] = stacker(torch.from_numpy(probs[:, held_out])).numpy()
    return predicted


def assign_folds(labels: np.ndarray, groups: np.ndarray, num_folds: int) -> np.ndarray:
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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch take its sums in one order; another number of threads may give other bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
