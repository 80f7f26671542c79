"""A `Search` as a picture: how the trials learnt, and which settings did well.

In: what `trials` holds. Out: a PNG for a projector. On the left a line for each trial, on the right
a small diagram for each of the settings. Used by `cli.tune`.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from orchestrator.diagrams import (
    BLUE,
    FAINT,
    GREY,
    INK,
    LABEL_PT,
    ORANGE,
    TICK_PT,
    figure_with_heading,
    png,
    tidy,
)
from orchestrator.search.space import Choice, Knob
from orchestrator.search.trials import Outcome, Search

HEIGHT_INCHES = 7.2
MOST_KNOBS = 6
"""As many have room."""


def picture(search: Search) -> bytes:
    """The picture, 1920 x 1080 px."""
    ranked = search.ranked
    best, own = (ranked[0] if ranked else None), search.own
    found = f": {best.accuracy:.1%}" if best else ": nothing came to its end"
    before = f", {own.accuracy:.1%} before" if own and best and own is not best else ""
    of_member = "" if search.member is None else f", member {search.member}"
    figure = figure_with_heading(
        HEIGHT_INCHES,
        f"Settings for {search.team}{of_member}{found}{before}",
        f"{len(search.outcomes)} trials on {search.num_images} validation images  ·  "
        "ASHA stops the weakest early",
    )
    shown = _telling(search.knobs, best)
    columns = 2 if len(shown) > 3 else 1
    rows = max(1, -(-len(shown) // columns))
    grid = figure.add_gridspec(
        rows, 1 + columns, width_ratios=[1.35 if columns == 2 else 1.8, *[0.8] * columns]
    )
    _curves(figure.add_subplot(grid[:, 0]), search, best, own)
    for place, knob in enumerate(shown):
        axes = figure.add_subplot(grid[place // columns, 1 + place % columns])
        _dots(axes, knob, search.outcomes, best, own)
    _legend(figure, best, own)
    return png(figure)


def _telling(knobs: Sequence[Knob], best: Outcome | None) -> list[Knob]:
    """The settings that there is room for: first those that the best trial has changed."""
    settings = {} if best is None else best.candidate.settings
    changed_first = sorted(knobs, key=lambda knob: settings.get(knob.name) == knob.value)
    shown = changed_first[:MOST_KNOBS]
    return [knob for knob in knobs if knob in shown]


def _curves(axes: Axes, search: Search, best: Outcome | None, own: Outcome | None) -> None:
    tidy(axes)
    axes.grid(axis="y", color=FAINT)
    for each in search.outcomes:
        if not each.reports:
            continue
        epochs = [report.epoch for report in each.reports]
        percent = [100 * report.val_accuracy for report in each.reports]
        colour, width, order = _line(each, best, own)
        axes.plot(epochs, percent, color=colour, linewidth=width, zorder=order)
        end = {"complete": "o", "stopped": "|", "failed": "x"}[each.state]
        axes.plot(
            epochs[-1:], percent[-1:], marker=end, color=colour, zorder=order,
            markersize=9 if width > 2 else 6, markeredgewidth=2,
        )  # fmt: skip
    axes.set_xlabel("epoch", fontsize=LABEL_PT)
    axes.set_ylabel("validation accuracy, %", fontsize=LABEL_PT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _line(outcome: Outcome, best: Outcome | None, own: Outcome | None) -> tuple[str, float, int]:
    if outcome is best:
        return BLUE, 4, 4
    if outcome is own:
        return ORANGE, 3, 3
    return ("#9A9A9A", 1.5, 2) if outcome.state == "complete" else ("#C4C4C4", 1.2, 1)


def _dots(
    axes: Axes, knob: Knob, outcomes: Sequence[Outcome], best: Outcome | None, own: Outcome | None
) -> None:
    """Accuracy by the values of one setting; hollow where a trial was stopped."""
    tidy(axes)
    axes.grid(color=FAINT)
    axes.set_title(knob.name, fontsize=TICK_PT, color=INK, loc="left")
    words = list(knob.range.words) if isinstance(knob.range, Choice) else []
    for each in outcomes:
        value = each.candidate.settings[knob.name]
        if value is None or each.accuracy is None:
            continue
        x = words.index(str(value)) if words else float(value)
        size, colour, order = 34, GREY, 2
        if each is own:
            size, colour, order = 110, ORANGE, 3
        if each is best:
            size, colour, order = 130, BLUE, 4
        axes.scatter(
            [x], [100 * each.accuracy], s=size, edgecolor=colour, linewidth=1.4, zorder=order,
            facecolor=colour if each.state == "complete" else "white",
            marker="s" if each is own and each is not best else "o",
        )  # fmt: skip
    if words:
        axes.set_xticks(range(len(words)), words, rotation=20)
        axes.set_xlim(-0.5, len(words) - 0.5)
    elif knob.by_powers:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.08, y=0.16)
    axes.tick_params(labelsize=TICK_PT - 2)


def _legend(figure: Figure, best: Outcome | None, own: Outcome | None) -> None:
    handles = []
    if best is not None:
        handles.append(
            Line2D([], [], color=BLUE, linewidth=4, marker="o", markersize=10,
                   label="best: your settings" if best is own else f"best: trial {best.number}")
        )  # fmt: skip
    if own is not None and own is not best:
        handles.append(
            Line2D([], [], color=ORANGE, linewidth=3, marker="s", markersize=9,
                   label="your settings")
        )  # fmt: skip
    handles.append(
        Line2D([], [], color=GREY, linestyle="", marker="o", markersize=7, label="to the end")
    )
    handles.append(
        Line2D([], [], color=GREY, linestyle="", marker="o", markersize=7,
               markerfacecolor="white", label="stopped early")
    )  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, fontsize=TICK_PT, frameon=False
    )
