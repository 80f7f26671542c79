"""An `Ablation` as a picture: each item a point with its interval, the best at the top.

In: what `worth` summed up. Out: a PNG for a projector. Used by `cli.ablate`.
"""

from matplotlib.axes import Axes

from orchestrator.ablation.table import shown_images
from orchestrator.ablation.worth import Ablation, Verdict, Worth
from orchestrator.admission.shop import CATALOG
from orchestrator.diagrams import (
    BLUE,
    FAINT,
    GREY,
    HEADING_INCHES,
    INK,
    LABEL_PT,
    ORANGE,
    SOFT_INK,
    TICK_PT,
    figure_with_heading,
    png,
    tidy,
)
from orchestrator.measuring.balance_table import num_seeds_in_words

# Shapes differ as well as colours.
LOOKS: dict[Verdict, tuple[str, str, str]] = {
    "helps": (BLUE, "o", "helps"),
    "unclear": (GREY, "D", "could be either"),
    "hurts": (ORANGE, "s", "hurts"),
}
ROW_INCHES, AXIS_INCHES = 0.66, 1.45
INTERVAL_REACH = 2.5
"""Of two seeds an interval may be twenty times as wide as what they differ by."""


def picture(result: Ablation) -> bytes:
    """The picture, 1920 px wide, with a row for every item that could be left out."""
    mean = "failed" if result.mean is None else f"{result.mean:.1%}"
    figure = figure_with_heading(
        HEADING_INCHES + AXIS_INCHES + ROW_INCHES * max(len(result.worths), 1),
        f"What did the nuggets buy?  {result.team}: {mean} for {result.spent_bnn:g} B NN",
        _subtitle(result),
    )
    axes = figure.add_subplot()
    tidy(axes, "left")
    axes.axvline(0, color=INK, linewidth=1.2, zorder=1)
    axes.grid(axis="x", color=FAINT)
    for place, worth in enumerate(result.worths):
        _draw(axes, place, worth)
    axes.set_yticks(
        range(len(result.worths)), [_name(worth) for worth in result.worths], fontsize=LABEL_PT
    )
    axes.set_ylim(max(len(result.worths), 1) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(*_limits(result))
    axes.set_xlabel("percentage points of accuracy that the item adds", fontsize=LABEL_PT)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower right", ncols=3, fontsize=TICK_PT, frameon=False)
    return png(figure)


def _draw(axes: Axes, place: int, worth: Worth) -> None:
    colour, marker, word = LOOKS[worth.verdict]
    if worth.mean_points is None:
        axes.text(0, place, "  no comparison: a network failed", va="center", fontsize=TICK_PT)
        return
    if worth.low_points is not None and worth.high_points is not None:
        ends = [worth.low_points, worth.high_points]
        axes.plot(ends, [place, place], color=colour, linewidth=5, solid_capstyle="butt")
    said = axes.get_legend_handles_labels()[1]
    axes.scatter(
        [worth.mean_points], [place], s=190, color=colour, marker=marker, edgecolor="white",
        linewidth=1.5, zorder=3, label=None if word in said else word,
    )  # fmt: skip
    axes.annotate(
        f"{worth.mean_points:+.1f}", (worth.mean_points, place), xytext=(0, 9),
        textcoords="offset points", ha="center", va="bottom", fontsize=TICK_PT - 2, color=colour,
        fontweight="bold", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip
    each = [points for points in worth.points if points is not None]
    if len(each) > 1:
        axes.scatter(
            each, [place] * len(each), s=26, color="white", edgecolor=SOFT_INK, linewidth=1.2,
            zorder=4,
        )  # fmt: skip


def _limits(result: Ablation) -> tuple[float, float]:
    """What the axis shows: every network; intervals that are far wider end beyond its ends."""
    points = [each for worth in result.worths for each in worth.points if each is not None]
    ends = [end for it in result.worths for end in (it.low_points, it.high_points) if end]
    reach = INTERVAL_REACH * max([abs(each) for each in points], default=1) or 1
    low = min([0, *points, *(max(end, -reach) for end in ends)])
    high = max([0, *points, *(min(end, reach) for end in ends)])
    margin = 0.06 * (high - low) or 1
    return low - margin, high + margin


def _subtitle(result: Ablation) -> str:
    parts = [
        "each item left out on its own",
        num_seeds_in_words(result.num_seeds),
        shown_images(result),
    ]
    if result.num_seeds > 1:
        parts += ["bars: 95 % interval (Student's t)", "rings: single seeds"]
    return "  ·  ".join(parts)


def _name(worth: Worth) -> str:
    titles = " +\n".join(CATALOG[item].title.rpartition(": ")[2] for item in worth.items)
    return (
        f"{titles}\n{worth.cost_bnn:g} B NN"
        if len(worth.items) == 1
        else (f"{titles}, {worth.cost_bnn:g} B NN")
    )
