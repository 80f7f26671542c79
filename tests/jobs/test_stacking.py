"""Stacking against an independent optimiser, its limits, and what out of fold means."""

from typing import Any

import numpy as np
import pytest
import scipy.optimize
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from jobs import stacking
from jobs.combining import PROB_FLOOR
from jobs.stacking import PENALTY, assign_folds, fit, out_of_fold

Floats = NDArray[np.float64]


def draw(
    num_members: int, num_images: int, num_classes: int, seed: int = 0, skill: float = 1.5
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Members that are right more often than not, each about other images: (M, N, C), (N,)."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, num_classes, num_images)
    logits = generator.normal(0, 1.5, (num_members, num_images, num_classes))
    logits[:, np.arange(num_images), labels] += skill
    return softmax(logits).astype(np.float32), labels


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def geometric_mean(probs: NDArray[np.float32]) -> Floats:
    return softmax(np.log(probs.astype(np.float64)).mean(axis=0))


def objective(
    flat: Floats, probs: NDArray[np.float32], labels: NDArray[np.int64], penalty: float
) -> tuple[float, Floats]:
    """What stacking minimises, written with numpy, and its gradient."""
    num_members, num_images, num_classes = probs.shape
    features = np.concatenate([np.log(p.astype(np.float64)) for p in probs], axis=1)
    features = np.hstack([features, np.ones((num_images, 1))])
    average = np.hstack(
        [*[np.eye(num_classes) / num_members] * num_members, np.zeros((num_classes, 1))]
    )
    weight = flat.reshape(average.shape)
    predicted = softmax(features @ weight.T)
    loss = -np.log(predicted[np.arange(num_images), labels]).sum()
    gradient = (predicted - np.eye(num_classes)[labels]).T @ features + penalty * (weight - average)
    return loss + penalty / 2 * ((weight - average) ** 2).sum(), gradient.ravel()


@pytest.mark.parametrize("penalty", [1.0, PENALTY])
@pytest.mark.parametrize("shape", [(2, 20, 2), (3, 220, 10), (5, 60, 4)])
def test_the_fit_is_where_an_independent_optimiser_ends(
    shape: tuple[int, int, int], penalty: float
) -> None:
    probs, labels = draw(*shape)
    layer = fit(probs, labels, penalty)
    fitted = np.hstack([layer.weight, layer.bias[:, None]]).astype(np.float64)
    start = np.zeros(fitted.size)
    expected = scipy.optimize.minimize(
        objective, start, (probs, labels, penalty), "L-BFGS-B", jac=True,
        options={"maxiter": 20_000, "maxfun": 20_000, "ftol": 0, "gtol": 1e-7},
    )  # fmt: skip
    np.testing.assert_allclose(fitted.ravel(), expected.x, atol=1e-5)
    # Rounding to float32 is all that is left of the gradient.
    _, gradient = objective(fitted.ravel(), probs, labels, penalty)
    _, at_start = objective(start, probs, labels, penalty)
    assert np.linalg.norm(gradient) < 1e-5 * np.linalg.norm(at_start)


def test_without_evidence_the_members_are_averaged_as_logarithms() -> None:
    probs, labels = draw(3, 50, 4)
    for layer in (fit(probs, labels, penalty=1e9), fit(probs[:, :0], labels[:0])):
        stacked = layer(probs)
        np.testing.assert_allclose(stacked, geometric_mean(probs), atol=1e-6)


def test_two_images_by_hand() -> None:
    """One member, two classes, two images that it is undecided about; by symmetry one unknown.

    Both features are log 0.5 for both images, so that only the classes' balance can be learnt:
    with both images of class 0, the logit is d = 2 (s + b) with s = -0.693 w for the weights'
    change w of each class and b its bias. The derivatives vanish where penalty * b = 2 p and
    penalty * w = 2 p log 0.5 (for both weights of a class), p = 1 / (1 + exp(d)).
    """
    probs = np.full((1, 2, 2), 0.5, np.float32)
    layer = fit(probs, np.zeros(2, np.int64), penalty=2.0)
    p = 1 - layer(probs)[0, 0]
    np.testing.assert_allclose(layer.bias, [p, -p], atol=1e-6)
    change = layer.weight - np.eye(2)
    np.testing.assert_allclose(change, np.log(0.5) * np.array([[p, p], [-p, -p]]), atol=1e-6)
    assert p == pytest.approx(1 / (1 + np.exp(2 * p * (1 + 2 * np.log(0.5) ** 2))), abs=1e-6)


def test_a_member_that_is_right_is_heard_over_a_louder_one_that_is_not() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    right = np.where(np.eye(3)[labels] == 1, 0.4, 0.3)
    loud = softmax(generator.normal(0, 4, (300, 3)))
    probs = np.stack([right, loud]).astype(np.float32)
    assert (geometric_mean(probs).argmax(axis=1) == labels).mean() < 0.5
    layer = fit(probs[:, :150], labels[:150], penalty=1)
    unseen = layer(probs[:, 150:])
    assert (unseen.argmax(axis=1) == labels[150:]).mean() > 0.98


def test_every_image_is_predicted_by_a_fit_to_the_other_folds() -> None:
    probs, labels = draw(2, 43, 3)
    groups = np.arange(43)
    predicted = out_of_fold(probs, labels, groups)
    folds = assign_folds(labels, groups, 5)
    for fold in range(5):
        rest = folds != fold
        layer = fit(probs[:, rest], labels[rest])
        expected = layer(probs[:, ~rest])
        assert np.array_equal(predicted[~rest], expected)
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-6)


def test_a_folds_own_labels_do_not_reach_its_predictions() -> None:
    probs, labels = draw(2, 43, 3)
    groups = np.arange(43)
    before, folds = out_of_fold(probs, labels, groups), assign_folds(labels, groups, 5)
    num_tried = 0
    for a, b in np.argwhere((folds[:, None] == folds) & (labels[:, None] < labels)):
        changed = labels.copy()
        changed[[a, b]] = labels[[b, a]]
        if np.array_equal(assign_folds(changed, groups, 5), folds):
            after, own = out_of_fold(probs, changed, groups), folds == folds[a]
            assert np.array_equal(after[own], before[own])
            assert not np.array_equal(after[~own], before[~own])
            num_tried += 1
    assert num_tried > 0


def test_copies_share_a_fold_so_that_none_is_recognised() -> None:
    """Noise and random labels: whoever has seen the other copies of an image knows its label."""
    generator = np.random.default_rng(0)
    probs = softmax(generator.normal(0, 5, (12, 40, 2))).astype(np.float32).repeat(10, axis=1)
    labels = generator.permutation(np.arange(40) % 2).repeat(10)
    groups = np.arange(40).repeat(10)
    folds = assign_folds(labels, groups, 5)
    assert all(len(set(folds[groups == group])) == 1 for group in range(40))
    honest = out_of_fold(probs, labels, groups).argmax(axis=1) == labels
    leaking = out_of_fold(probs, labels, np.arange(400)).argmax(axis=1) == labels
    assert honest.mean() < 0.6
    assert leaking.mean() > 0.8


def test_folds_have_as_even_a_share_of_every_class_as_possible() -> None:
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(4), [40, 23, 7, 2]))
    folds = assign_folds(labels, np.arange(72), 5)
    for label in range(4):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    sizes = np.bincount(folds, minlength=5)
    assert sizes.max() - sizes.min() <= 2


@pytest.mark.parametrize("num_images", [1, 2, 3, 4])
def test_a_handful_of_images_is_enough(num_images: int) -> None:
    probs, labels = draw(2, num_images, 2)
    predicted = out_of_fold(probs, labels, np.arange(num_images))
    assert predicted.shape == (num_images, 2)
    np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-6)
    # All of one content: nothing is left to fit to.
    alone = out_of_fold(probs, labels, np.zeros(num_images, np.int64))
    np.testing.assert_allclose(alone, geometric_mean(probs), atol=1e-6)


@pytest.mark.parametrize("right", [True, False])
def test_a_member_may_be_entirely_sure(right: bool) -> None:
    labels = np.arange(40) % 2
    sure = np.eye(2, dtype=np.float32)[labels if right else 1 - labels]
    probs = np.stack([sure, np.full_like(sure, 0.5)])
    for predicted in (
        fit(probs, labels)(probs),
        out_of_fold(probs, labels, np.arange(40)),
    ):
        np.testing.assert_allclose(predicted.sum(axis=1), 1, atol=1e-6)
        # A member that is always wrong is as good as one that is always right.
        assert np.array_equal(predicted.argmax(axis=1), labels)
    assert 0 < PROB_FLOOR < 1e-3


def test_the_same_arguments_give_the_same_bits_on_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With more than one thread sums may be taken in another order, here or elsewhere."""
    used: list[int] = []

    def watched(*args: Any, **options: Any) -> Any:
        used.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return scipy.optimize.minimize(*args, **options)

    monkeypatch.setattr(stacking, "minimize", watched)
    probs, labels = draw(12, 400, 10)
    groups = np.arange(400)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            before = threadpool_info()
            layer = fit(probs, labels)
            found.append((*layer, layer(probs), out_of_fold(probs, labels, groups)))
            assert threadpool_info() == before
    assert set(used) == {1}
    assert all(map(np.array_equal, *found))
    weight, bias, combined, unseen = found[0]
    assert {part.dtype for part in found[0]} == {np.dtype(np.float32)}
    assert (weight.shape, bias.shape) == ((10, 120), (10,))
    assert combined.shape == unseen.shape == (400, 10)
