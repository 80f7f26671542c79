"""Epochs -> line charts: where lines, ticks and labels go, in the units of an SVG's view box.

In: values by epoch, a series a line. Out: a `LineChart`, which the template `parts.html` draws.
Pure. Used by `gather`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 10, 24
MAX_X_TICKS = 6
NUM_COLOURS = 6
STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Series:
    """Values by epoch; what is not finite, which no training reports, is left out."""

    values: Sequence[float]
    colour: int
    """Which of the palette's."""
    dashed: bool = False


@dataclass(frozen=True)
class Tick:
    """A label on an axis, and where."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """One series: an SVG polyline's points."""

    points: str
    colour: int
    dashed: bool


@dataclass(frozen=True)
class LineChart:
    """A chart to be drawn in a box of `WIDTH` x `HEIGHT`."""

    lines: tuple[Line, ...]
    dots: tuple[tuple[float, float, int], ...]
    """Where each solid line ends: x, y, colour."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    description: str
    """In words, for whoever does not see it."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def line_chart(series: Sequence[Series], description: str, top: float | None) -> LineChart | None:
    """A chart from 0 to `top`, of shares where that is given, else to what the values need.

    None where there is nothing to draw.
    """
    last = max((len(each.values) for each in series), default=0)
    finite = [v for each in series for v in each.values if math.isfinite(v)]
    if not finite:
        return None
    shares = top is not None
    highest = top if top is not None else _capped(finite)
    step = 0.25 if shares else _step(highest, 4)
    highest = highest if shares else step * math.ceil(highest / step - 1e-9)

    def x(epoch: int) -> float:
        return _round(LEFT + (WIDTH - LEFT - RIGHT) * (epoch - 1) / max(1, last - 1))

    def y(value: float) -> float:
        inside = min(max(value, 0.0), highest)
        return _round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * inside / highest)

    lines, dots = [], []
    for each in series:
        points = [
            (x(epoch), y(value))
            for epoch, value in enumerate(each.values, start=1)
            if math.isfinite(value)
        ]
        colour = each.colour % NUM_COLOURS
        lines.append(Line(" ".join(f"{px:g},{py:g}" for px, py in points), colour, each.dashed))
        if points and not each.dashed:
            dots.append((*points[-1], colour))
    every = max(1, math.ceil(_step(last, MAX_X_TICKS)))
    epochs = sorted({1, *range(every, last + 1, every)})
    if len(epochs) > 1 and epochs[1] - epochs[0] <= every / 2:
        del epochs[0]
    return LineChart(
        lines=tuple(lines),
        dots=tuple(dots),
        x_ticks=tuple(Tick(x(epoch), str(epoch)) for epoch in epochs),
        y_ticks=tuple(
            Tick(y(step * n), f"{step * n:.0%}" if shares else f"{step * n:g}")
            for n in range(round(highest / step) + 1)
        ),
        description=description,
    )


def sparkline(values: Sequence[float], width: int, highest: float = 1.0) -> str:
    """Values from 0 to `highest` as a line of blocks, at most `width` of them."""
    blocks = "▁▂▃▄▅▆▇█"
    if not values:
        return ""
    count = min(width, len(values))
    picked = [values[round(i * (len(values) - 1) / max(1, count - 1))] for i in range(count)]
    return "".join(
        blocks[min(len(blocks) - 1, int(max(0.0, v / highest) * len(blocks)))]
        if math.isfinite(v)
        else " "
        for v in picked
    )


def _capped(values: Sequence[float]) -> float:
    """The largest value but for a few that would flatten all others."""
    ordered = sorted(values)
    usual = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return max(min(ordered[-1], 1.5 * usual), 1e-3)


def _step(highest: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10, ... (or their fractions) that makes at most so many steps."""
    power = 10.0 ** math.floor(math.log10(highest / most))
    return next(
        step * factor
        for factor in (power, 10 * power)
        for step in STEPS
        if highest / (step * factor) <= most + 1e-9
    )


def _round(value: float) -> float:
    return round(value, 1)
