"""Student's interval of a mean, for the few runs that a measurement with seeds has.

In: measured values. Out: the interval that holds their true mean in 95 % of such measurements, as
far as they are normally distributed. Pure, and without SciPy, which takes a second to import. Used
by `ablation` and `balance`. "The probable error of a mean", Biometrika 6 (1908),
https://doi.org/10.1093/biomet/6.1.1.
"""

import math
import statistics
from collections.abc import Sequence
from functools import cache

PERCENT = 100.0
WIDEST = 1e6
"""No quantile of a level that people use is above, whatever the degrees of freedom."""


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """The interval of the values' mean; None for fewer than two, which say nothing of spread."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = quantile(len(values) - 1, level) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def interval_of_points(points: Sequence[float], num_images: int) -> tuple[float, float] | None:
    """The interval of differences between two accuracies in percent, both of so many images.

    A few seeds may well have equal differences, which is luck and no certainty: the interval is
    never narrower than counting whole images allows.
    """
    found = mean_interval(points)
    if found is None:
        return None
    # The standard deviation of the difference of two numbers that were rounded to whole images.
    rounding = PERCENT / num_images / math.sqrt(6)
    half = quantile(len(points) - 1) * rounding / math.sqrt(len(points))
    mean = statistics.fmean(points)
    return min(found[0], mean - half), max(found[1], mean + half)


@cache
def quantile(freedom: int, level: float = 0.95) -> float:
    """The t that Student's distribution stays within, on both sides, with this probability."""
    low, high = 0.0, WIDEST
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < level else (low, middle)
    return high


def within(t: float, freedom: int) -> float:
    """The probability of a value between -t and t.

    For whole degrees of freedom it is a finite sum: Abramowitz and Stegun, "Handbook of
    mathematical functions", 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = freedom % 2
    total, term = 0.0, cosine if is_odd else 1.0
    for power in range(1 + is_odd, freedom, 2):
        total += term
        term *= cosine**2 * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total
