"""What a section of `make bench` says: one row for each thing measured.

In: durations, sizes and ratios measured side by side in one run. Out: a `Row`, which a section
prints as a line of JSON; `tests.bench.__main__` runs the sections and makes table and file of them.

Times on a shared machine mean little alone, so nearly every row has another way to do the same
beside ours, measured in turns with it.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is said in the way that `target` is: see `wants`."""

    name: str
    ours: float | None
    theirs: float | None
    unit: str
    ratio: float | None
    target: float | None
    met: bool | None
    """None: nothing was asked, or it was not measured."""

    wants: str = ""
    """`>=`: theirs / ours (or ours / theirs for rates) is at least the target; `<=`: ours / theirs
    is at most the target; `max`: ours itself, in `unit`, is at most the target."""
    theirs_is: str = ""
    """What it is measured beside."""
    note: str = ""


def faster(
    name: str,
    ours: float,
    theirs: float,
    unit: str,
    target: float | None,
    beside: str,
    note: str = "",
) -> Row:
    """A row for costs: theirs over ours, at least `target`."""
    return _row(name, ours, theirs, unit, theirs / ours, target, ">=", beside, note)


def at_most_of(
    name: str, ours: float, theirs: float, unit: str, target: float, beside: str, note: str = ""
) -> Row:
    """A row for overhead: ours over theirs, at most `target`."""
    return _row(name, ours, theirs, unit, ours / theirs, target, "<=", beside, note)


def at_most(
    name: str,
    ours: float,
    unit: str,
    target: float,
    theirs: float | None = None,
    beside: str = "",
    note: str = "",
) -> Row:
    """A row for a cost with a limit of its own; what others take is said beside it."""
    ratio = None if theirs is None else theirs / ours
    return Row(name, ours, theirs, unit, ratio, target, ours <= target, "max", beside, note)


def figure(
    name: str,
    ours: float,
    unit: str,
    theirs: float | None = None,
    beside: str = "",
    note: str = "",
) -> Row:
    """A row without a target."""
    ratio = None if theirs is None else theirs / ours
    return Row(name, ours, theirs, unit, ratio, None, None, "", beside, note)


def skipped(name: str, why: str) -> Row:
    """A row for what cannot be measured here."""
    return Row(name, None, None, "", None, None, None, "", "", f"skipped: {why}")


def in_turns(
    ways: Mapping[str, Callable[[], object]], repeats: int, warm_ups: int = 1
) -> dict[str, float]:
    """Seconds of each way, the median of `repeats` calls; the ways take turns.

    What else happens on the machine meets all of them alike.
    """
    for _ in range(warm_ups):
        for way in ways.values():
            way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    gc.collect()
    for _ in range(repeats):
        for name, way in ways.items():
            started_s = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started_s)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def print_rows(section: Callable[[bool], Iterable[Row]], description: str) -> None:
    """The command line of a section: runs it, and prints each row as soon as it is there."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller sizes")
    quick: bool = parser.parse_args().quick
    rows_go_to = sys.stdout  # a connection to Ray sends whatever is printed meanwhile elsewhere
    for row in section(quick):
        rows_go_to.write(json.dumps(asdict(row)) + "\n")
        rows_go_to.flush()


def _row(
    name: str,
    ours: float,
    theirs: float,
    unit: str,
    ratio: float,
    target: float | None,
    wants: str,
    beside: str,
    note: str,
) -> Row:
    met = None if target is None else ratio >= target if wants == ">=" else ratio <= target
    return Row(name, ours, theirs, unit, ratio, target, met, wants, beside, note)
