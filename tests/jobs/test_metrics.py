import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as reference_confusion
from sklearn.metrics import recall_score

from jobs.metrics import accuracy, confusion_matrix, macro_recall, score, wilson_interval


def test_scores_agree_with_scikit_learn():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 200)
    probs = generator.dirichlet(np.ones(5), 200)
    probs[np.arange(200), labels] += 0.3
    predicted = probs.argmax(axis=1)
    scores = score(labels, probs)
    assert scores.accuracy == np.mean(labels == predicted)
    assert np.array_equal(scores.confusion, reference_confusion(labels, predicted))
    np.testing.assert_allclose(
        scores.recall_per_class, recall_score(labels, predicted, average=None)
    )
    assert scores.macro_recall == pytest.approx(recall_score(labels, predicted, average="macro"))
    assert scores.accuracy_low < scores.accuracy < scores.accuracy_high


def test_the_matrixs_rows_are_true_classes():
    confusion = confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 1]), 3)
    assert confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_a_class_without_images_does_not_count():
    scores = score(np.array([0, 0, 1]), np.eye(3)[[0, 2, 1]])
    assert scores.recall_per_class[:2].tolist() == [0.5, 1.0]
    assert np.isnan(scores.recall_per_class[2])
    assert scores.macro_recall == 0.75
    assert np.isnan(macro_recall(np.zeros((3, 3), np.int64)))


def test_of_equal_probabilities_the_first_class_wins():
    assert score(np.array([0, 1]), np.full((2, 2), 0.5)).confusion.tolist() == [[1, 0], [1, 0]]


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="no images"):
        accuracy(np.empty(0, np.int64), np.empty(0, np.int64))


@pytest.mark.parametrize(
    ("successes", "num_trials", "expected"),
    # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0, 0.1611)),
     (1, 29, (0.0061, 0.1718)), (29, 29, (0.8830, 1))],
)  # fmt: skip
def test_wilson_intervals_equal_published_ones(successes, num_trials, expected):
    assert wilson_interval(successes, num_trials) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(("successes", "num_trials"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_impossible_counts(successes, num_trials):
    with pytest.raises(ValueError, match=f"{successes} successes of {num_trials} trials"):
        wilson_interval(successes, num_trials)
