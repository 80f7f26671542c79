"""Attempts -> bars on slots: when each member trained, and where.

In: the attempts of a cohort, with the teams they belong to. Out: a `Timeline`, in the units of an
SVG's view box, which the template `report.html` draws. Times at which no slot had work (a night
between two submissions) are cut short. Pure. Used by `gather`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.state import Attempt
from orchestrator.terminal import display

WIDTH = 1200
LEFT = 96
ROW, BAR, TOP, BOTTOM = 34, 26, 8, 30
NUM_COLOURS = 12
LABEL_CHAR = 8.4
"""Width of a letter."""
IDLE_SHARE = 0.06
"""A pause that is longer than this share of the work is cut to half of it."""
NUM_TICKS = 8
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True)
class Run:
    """An attempt and whose it is."""

    attempt: Attempt
    team: str
    team_number: int
    num_members: int
    last_seen_at: float | None = None
    """When it was heard of last, where it is open and nobody is at work on it any more."""

    def ends_at(self, now: float) -> float:
        """Where its bar ends."""
        attempt = self.attempt
        last = attempt.ended_at if attempt.ended_at is not None else self.last_seen_at
        return max(now if last is None else last, attempt.started_at)


@dataclass(frozen=True)
class Bar:
    """One attempt, drawn."""

    x: float
    width: float
    colour: int
    lost: bool
    """Whether it ended without a result."""
    label: str
    """As much of its name as has room."""
    name: str
    """Team, and member where it has several."""
    place: str
    started: str
    took: str
    ended: str


@dataclass(frozen=True)
class Row:
    """A slot."""

    label: str
    y: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Mark:
    """A time on the axis."""

    x: float
    label: str


@dataclass(frozen=True)
class Timeline:
    """Slots and what ran on them."""

    rows: tuple[Row, ...]
    marks: tuple[Mark, ...]
    pauses: tuple[Mark, ...]
    """Where time is cut, and how much of it."""
    took: str
    """The work, without the pauses."""
    height: float
    width: int = WIDTH
    left: int = LEFT
    bar: int = BAR
    bottom: int = BOTTOM

    @property
    def lost(self) -> bool:
        """Whether any attempt ended without a result."""
        return any(bar.lost for row in self.rows for bar in row.bars)


@dataclass(frozen=True)
class _Axis:
    """Spans of work, each with where it begins on the page."""

    spans: tuple[tuple[float, float, float], ...]
    """Begin, end, x."""
    scale: float

    def x(self, at: float) -> float:
        span = next((s for s in self.spans if at <= s[1]), self.spans[-1])
        return round(span[2] + (min(max(at, span[0]), span[1]) - span[0]) * self.scale, 1)


def timeline(runs: Sequence[Run], now: float) -> Timeline | None:
    """The attempts on their slots; those that go on reach to `now`. None without any."""
    if not runs:
        return None
    axis = _axis([(run.attempt.started_at, run.ends_at(now)) for run in runs])
    by_slot: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        by_slot[run.attempt.node, run.attempt.slot].append(run)
    lanes = _lanes(by_slot, now)
    several_nodes = len({node for node, _ in by_slot}) > 1
    rows: list[Row] = []
    for places in lanes:
        bars = [_bar(run, axis, place, now) for place in places for run in by_slot[place]]
        node, slot = places[0]
        # Of a node's 12 digits so many have room; the table has them all.
        label = f"{slot}, {node[:4]}" if several_nodes else slot
        if len(lanes) < len(by_slot):
            label = f"slot {len(rows) + 1}"
        rows.append(Row(label, TOP + ROW * len(rows), tuple(sorted(bars, key=lambda b: b.x))))
    busy_s = sum(end - begin for begin, end, _ in axis.spans)
    return Timeline(
        rows=tuple(rows),
        marks=_marks(axis, busy_s),
        pauses=tuple(
            Mark(round((axis.x(end) + x) / 2, 1), display.duration(begin - end))
            for (_, end, _), (begin, _, x) in pairwise(axis.spans)
        ),
        took=display.duration(busy_s),
        height=TOP + ROW * len(rows) + BOTTOM,
    )


def _lanes(
    by_slot: Mapping[tuple[str, str], Sequence[Run]], now: float
) -> list[list[tuple[str, str]]]:
    """Slots that share a row, as one was there after the other: a controller starts new ones."""
    lives = {
        place: (min(r.attempt.started_at for r in runs), max(r.ends_at(now) for r in runs))
        for place, runs in by_slot.items()
    }
    lanes: list[list[tuple[str, str]]] = []
    for place in sorted(lives, key=lambda place: (lives[place][0], _natural(place))):
        free = (lane for lane in lanes if lives[lane[-1]][1] <= lives[place][0])
        lane = next(free, None)
        if lane is None:
            lanes.append([place])
        else:
            lane.append(place)
    return lanes if len(lanes) < len(lives) else [[p] for p in sorted(lives, key=_natural)]


def _axis(runs: Sequence[tuple[float, float]]) -> _Axis:
    merged: list[list[float]] = []
    for begin, end in sorted(runs):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    busy_s = max(1.0, sum(end - begin for begin, end in merged))
    spans: list[list[float]] = []
    for begin, end in merged:
        if spans and begin - spans[-1][1] <= IDLE_SHARE * busy_s:
            spans[-1][1] = end
        else:
            spans.append([begin, end])
    gap = IDLE_SHARE / 2 * (WIDTH - LEFT) / (1 + IDLE_SHARE / 2 * (len(spans) - 1))
    room = WIDTH - LEFT - 4 - gap * (len(spans) - 1)
    scale = room / max(1.0, sum(end - begin for begin, end in spans))
    x, placed = float(LEFT), []
    for begin, end in spans:
        placed.append((begin, end, x))
        x += (end - begin) * scale + gap
    return _Axis(tuple(placed), scale)


def _bar(run: Run, axis: _Axis, place: tuple[str, str], now: float) -> Bar:
    attempt, ended_at = run.attempt, run.ends_at(now)
    going_on = attempt.ended_at is None and run.last_seen_at is None
    reason = "left by its controller" if attempt.ended_at is None else attempt.reason
    name = f"{run.team} / {attempt.key.index}" if run.num_members > 1 else run.team
    x = axis.x(attempt.started_at)
    width = round(max(2.0, axis.x(ended_at) - x - 1.5), 1)
    room = int((width - 10) / LABEL_CHAR)
    label = name if len(name) <= room else f"{name[: room - 1]}…" if room >= 4 else ""
    again = f", attempt {attempt.number}" if attempt.number > 1 else ""
    return Bar(
        x=x,
        width=width,
        colour=run.team_number % NUM_COLOURS,
        lost=not going_on and reason != "Completed",
        label=label,
        name=name + again,
        place=", ".join(reversed(place)),
        started=display.clock_time(attempt.started_at, now),
        took=display.duration(ended_at - attempt.started_at),
        ended="still training" if going_on else reason,
    )


def _marks(axis: _Axis, busy_s: float) -> tuple[Mark, ...]:
    """Since the beginning of each span: what happened in between is cut anyway."""
    step = next((s for s in STEPS_S if busy_s / s <= NUM_TICKS), STEPS_S[-1])
    marks, before_s = [], 0.0
    for begin, end, x in axis.spans:
        first = -(-before_s // step) * step
        at = first
        while at - before_s <= end - begin:
            marks.append(Mark(round(x + (at - before_s) * axis.scale, 1), display.duration(at)))
            at += step
        before_s += end - begin
    return tuple(marks)


def _natural(place: tuple[str, str]) -> tuple[str, int, str]:
    node, slot = place
    digits = "".join(filter(str.isdigit, slot))
    return node, int(digits or 0), slot
