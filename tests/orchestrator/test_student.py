"""Student's interval, against the tables that every textbook has."""

import math

import pytest

from orchestrator.measuring.student import mean_interval, quantile, within


@pytest.mark.parametrize(
    ("freedom", "level", "t"),
    [
        (1, 0.95, 12.7062), (2, 0.95, 4.3027), (3, 0.95, 3.1824), (4, 0.95, 2.7764),
        (5, 0.95, 2.5706), (9, 0.95, 2.2622), (30, 0.95, 2.0423), (99, 0.95, 1.9842),
        (2, 0.99, 9.9248), (7, 0.90, 1.8946), (10_000, 0.95, 1.9602),
    ],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables(freedom: int, level: float, t: float) -> None:
    assert quantile(freedom, level) == pytest.approx(t, abs=6e-5)
    assert within(quantile(freedom, level), freedom) == pytest.approx(level)


def test_the_interval_is_the_mean_and_its_error() -> None:
    low, high = mean_interval([1.0, 2.0, 6.0]) or (0, 0)
    half = 4.302653 * math.sqrt(7) / math.sqrt(3)  # variance 7, of three
    assert (low, high) == pytest.approx((3 - half, 3 + half), rel=1e-6)
    assert mean_interval([2.0, 2.0]) == (2, 2)


def test_one_value_has_no_interval() -> None:
    assert mean_interval([1.0]) is None
    assert mean_interval([]) is None
