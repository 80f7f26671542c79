"""A `Search` as a table, and the words that explain it.

In: what `trials` holds. Out: cells and text for `cli.tune` to print.
"""

from collections import Counter

from jobs.metrics import wilson_interval
from orchestrator.trials import Outcome, Search, State

PLACES = ("best", "second", "third")
ACCURACY = "validation accuracy"
WORDS: dict[State, str] = {
    "complete": "came to their last epoch",
    "stopped": "were stopped before",
    "failed": "failed",
}


def table(search: Search) -> tuple[list[str], list[list[str]]]:
    """The columns and the rows: each setting, as the loadout has it and in the best trials."""
    own, shown = search.own, search.ranked[: len(PLACES)]
    columns = ["", "yours", *PLACES[: len(shown)]]
    rows = [
        [ACCURACY, _accuracy(own), *map(_accuracy, shown)],
        ["trial", "0", *(str(each.number) for each in shown)],
    ]
    for knob in search.knobs:
        values = [each.candidate.settings[knob.name] for each in shown]
        rows.append([knob.name, str(knob.value), *("-" if v is None else str(v) for v in values)])
    return columns, rows


def _accuracy(outcome: Outcome | None) -> str:
    return "-" if outcome is None or outcome.accuracy is None else f"{outcome.accuracy:.1%}"


def summary(search: Search) -> str:
    """What happened to the trials, and how far the best can be trusted, in a paragraph."""
    states = Counter(each.state for each in search.outcomes)
    counts = ", ".join(
        f"{states[state]} {words}" for state, words in WORDS.items() if states[state]
    )
    text = f"{len(search.outcomes)} of {search.num_candidates} trials were begun: {counts or '-'}."
    if search.ranked:
        accuracy = search.ranked[0].accuracy or 0
        low, high = wilson_interval(round(accuracy * search.num_images), search.num_images)
        text += (
            f" An accuracy such as {accuracy:.1%} on {search.num_images} validation images may be "
            f"off by {100 * (high - low) / 2:.0f} points, and the best of many is lucky, too: "
            "expect less of it on other images."
        )
    return text
