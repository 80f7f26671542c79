"""A `Search` as a table, and the words that explain it.

In: what `trials` holds. Out: cells and text for `cli.tune` to print.
"""

from collections import Counter

from jobs.metrics import wilson_interval
from orchestrator.search.candidates import shown
from orchestrator.search.trials import Outcome, Search, State

PLACES = ("best", "second", "third")
ACCURACY = "validation accuracy"
WORDS: dict[State, str] = {
    "complete": "complete",
    "stopped": "stopped early",
    "failed": "failed",
}


def table(search: Search) -> tuple[list[str], list[list[str]]]:
    """The columns and the rows: each setting, as the loadout has it and in the best trials."""
    own, first = search.own, search.ranked[: len(PLACES)]
    columns = ["", "yours", *PLACES[: len(first)]]
    rows = [
        [ACCURACY, _accuracy(own), *map(_accuracy, first)],
        ["trial", "0", *(str(each.number) for each in first)],
    ]
    for knob in search.knobs:
        values = [search.before[knob.name]]
        values += [each.candidate.settings[knob.name] for each in first]
        rows.append([knob.name, *map(shown, values)])
    return columns, rows


def _accuracy(outcome: Outcome | None) -> str:
    return "-" if outcome is None or outcome.accuracy is None else f"{outcome.accuracy:.1%}"


def summary(search: Search) -> str:
    """What happened to the trials, and how far the best can be trusted, in a paragraph."""
    states = Counter(each.state for each in search.outcomes)
    counts = ", ".join(
        f"{states[state]} {words}" for state, words in WORDS.items() if states[state]
    )
    text = f"{len(search.outcomes)} of {search.num_candidates} trials begun: {counts or 'none'}."
    if (failed := next((each for each in search.outcomes if each.fault), None)) is not None:
        text += f" Trial {failed.number} failed: {failed.fault}."
    if search.ranked:
        accuracy = search.ranked[0].accuracy or 0
        low, high = wilson_interval(round(accuracy * search.num_images), search.num_images)
        off = max(accuracy - low, high - accuracy)
        text += (
            f" An accuracy such as {accuracy:.1%} on {search.num_images} validation images may be "
            f"off by {100 * off:.0f} points, and the best of many is lucky, too: "
            "expect less of it on other images."
        )
    return text


def figures(search: Search) -> dict[str, float]:
    """What MLflow's run of the search has as metrics."""
    known = {"num_trials": float(len(search.outcomes))}
    if search.ranked:
        known["best_val_accuracy"] = search.ranked[0].reports[-1].val_accuracy
    if search.own is not None:
        known["own_val_accuracy"] = search.own.reports[-1].val_accuracy
    return known


def note(search: Search, patch: str | None) -> str:
    """What stands at the top of that run's page, in Markdown."""
    best = search.ranked[0] if search.ranked else None
    if best is None:
        found = "no trial came to its last epoch"
    elif patch is None:
        found = f"no trial did better than the loadout's own {_accuracy(best)}"
    else:
        found = f"{_accuracy(best)} with trial {best.number}, {_accuracy(search.own)} before"
    lines = [f"Settings for **{search.team}**, cohort {search.cohort}: {found}."]
    if patch is not None:
        lines += ["", "```yaml", patch.rstrip(), "```"]
    return "\n".join([*lines, "", summary(search)])
