"""An `Ablation` as a table, and the words that explain it.

In: what `worth` summed up. Out: cells and text for `cli.ablate` to print.
"""

from orchestrator.ablation.worth import Ablation, Worth
from orchestrator.measuring.balance_table import num_seeds_in_words

COLUMNS = ["left out", "cost", "without", "worth", "95% interval", "per B NN"]
NUMBERS = COLUMNS[1:]
"""The columns that are aligned to the right."""


def rows(result: Ablation) -> list[list[str]]:
    """The table's rows: the whole loadout, then every item."""
    whole = ["nothing", f"{result.spent_bnn:g}", _percent(result.mean), "", "", ""]
    return [whole, *map(_cells, result.worths)]


def _cells(worth: Worth) -> list[str]:
    known = [each for each in worth.accuracies if each is not None]
    failed = len(worth.accuracies) - len(known)
    if failed:
        without = f"{failed} of {len(worth.accuracies)} failed"
    else:
        without = _percent(sum(known) / len(known))
    return [
        " + ".join(worth.items),
        f"{worth.cost_bnn:g}",
        without,
        _points(worth.mean_points),
        interval(worth),
        "-" if worth.points_per_bnn is None else f"{worth.points_per_bnn:+.2f}",
    ]


def interval(worth: Worth) -> str:
    """Its interval, as `-0.4 to +6.8`; a dash where there is none."""
    if worth.low_points is None:
        return "-"
    return f"{_points(worth.low_points)} to {_points(worth.high_points)}"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def legend(result: Ablation) -> str:
    """What the figures mean and how far they can be trusted, in a paragraph."""
    seeds = num_seeds_in_words(result.num_seeds)
    parts = [
        f"cost: in B NN; without: accuracy without the item, mean over {seeds}, on "
        f"{shown_images(result)}; worth: percentage points that the item adds, from pairs of "
        "networks with the same seed"
    ]
    if result.num_seeds > 1:
        parts.append(
            "95% interval: Student's t over the seeds, on these very images; where it holds 0, the "
            "item may as well have done nothing, and more --seeds narrow it"
        )
        parts.append(
            "of items that do nothing, chance alone puts one in 20 outside, and other images than "
            "these move every worth, by points that no number of seeds takes away"
        )
    else:
        parts.append("one seed cannot tell worth from luck: use --seeds 3")
    parts.append("per B NN: points for each B NN that it costs")
    if any(worth.mean_points is None for worth in result.worths):
        parts.append("no worth where a network failed")
    return "; ".join(parts) + "."


def shown_images(result: Ablation) -> str:
    """What decided, in words."""
    return f"{result.num_images} {result.judged_by} images"
