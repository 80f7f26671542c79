from itertools import pairwise

import numpy as np
import pytest

from jobs.errors import DataError
from jobs.plan import DataPlan
from jobs.split import split_images


def _data(num_classes: int, **settings: float) -> DataPlan:
    names = tuple(f"n{label}" for label in range(num_classes))
    return DataPlan.model_validate({"fingerprint": "0", "classes": names, **settings})


def test_parts_are_stratified_sorted_and_disjoint():
    labels = np.repeat(np.arange(3), [50, 100, 30])
    split = split_images(labels, np.arange(180), _data(3))
    assert np.bincount(labels[split.validation]).tolist() == [10, 20, 6]
    assert np.bincount(labels[split.train]).tolist() == [28, 56, 17]
    for part in (split.train, split.validation):
        assert part.dtype == np.int64
        assert np.all(np.diff(part) > 0)
    assert not np.intersect1d(split.train, split.validation).size


def test_more_data_keeps_the_validation_images_and_the_smaller_part():
    labels, groups = np.repeat(np.arange(2), 60), np.arange(120) // 2
    parts = [
        split_images(labels, groups, _data(2, train_fraction=fraction))
        for fraction in (0.3, 0.7, 1.0)
    ]
    for smaller, larger in pairwise(parts):
        assert np.array_equal(smaller.validation, larger.validation)
        assert len(smaller.train) < len(larger.train)
        assert np.isin(smaller.train, larger.train).all()
    everything = np.concatenate([parts[-1].train, parts[-1].validation])
    assert np.array_equal(np.sort(everything), np.arange(120))


def test_the_seed_alone_decides():
    labels = np.repeat(np.arange(2), 50)
    first, again, other = (
        split_images(labels, np.arange(100), _data(2, split_seed=seed)).validation
        for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # Pinned: another split would silently change what every team is measured on.
    assert first[:5].tolist() == [2, 11, 17, 23, 25]


def test_copies_stay_on_one_side_whatever_their_labels():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 50)
    groups = generator.integers(0, 80, 200)  # copies across classes, too
    for seed in range(20):
        split = split_images(labels, groups, _data(4, split_seed=seed, train_fraction=1))
        assert not np.intersect1d(groups[split.train], groups[split.validation]).size
        assert len(split.train) + len(split.validation) == 200


def test_two_images_a_class_are_enough():
    split = split_images(np.array([0, 0, 1, 1]), np.arange(4), _data(2))
    assert len(split.train) == len(split.validation) == 2


def test_a_class_on_one_side_only_is_an_error():
    labels, groups = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2, 2, 2])
    with pytest.raises(DataError, match="class n1 has no training image") as raised:
        split_images(labels, groups, _data(2))
    assert len(raised.value.problems) == 1
