"""A cohort's rules held against those that it was submitted with.

In: what was read, and what the store has. Out: a refusal where teams would be judged by rules that
are not the cohort's, or a remark that says what has changed, and for whom it has not. Used by
`submitting`, within the transaction that hands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator import console
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.files import Reading
from orchestrator.errors import Refused

SPLIT = ("data.validationFraction", "data.splitSeed")
"""Rules that decide which images are validation images."""
NO_RULES = ("cluster", "data.source")
"""Where a cohort runs, and where its data lies: the store compares the images themselves."""
MOST_SHOWN = 5


def check_rules(reading: Reading, stored: dict[str, Any], stay: Sequence[str]) -> str:
    """Refuses rules that a file beside single loadouts would change, and a split for some teams.

    `stored` are the rules that the cohort has so far, and `stay` its teams that are not handed in.
    Returns what there is to say once others are: which other rules the organizer has changed, and
    who keeps the older ones.
    """
    name = reading.cohort.name
    if reading.side:
        return ""
    try:
        before = Cohort.stored(stored)
    except Refused:  # it is of another release
        return ""
    changed = dict(_changed(_rules(before), _rules(reading.cohort)))
    if not changed:
        return ""
    shown = [f"{rule} is {now}, was {was}" for rule, (was, now) in changed.items()]
    said = ", ".join(shown[:MOST_SHOWN]) + (", ..." if len(shown) > MOST_SHOWN else "")
    if reading.beside:
        raise Refused(
            f"{reading.cohort_path} has other rules than cohort {name!r} was submitted with "
            f"({said}), so nothing was submitted. A loadout alone does not change them: put it "
            "beside the cohort's own file, or name the folder to change them"
        )
    if stay and any(rule in changed for rule in SPLIT):
        raise Refused(
            f"cohort {name!r} was submitted with another validation split ({said}), and these of "
            f"its teams are not handed in again: {', '.join(stay)}. Submit all teams, take these "
            "out with `gamectl withdraw`, or give the cohort another name"
        )
    kept = f"; {', '.join(stay)} stay as they were admitted" if stay else ""
    return f"cohort {name}: its rules have changed: {said}{kept}"


def _rules(cohort: Cohort) -> dict[str, Any]:
    spec = cohort.model_dump(mode="json", by_alias=True)["spec"]
    return {rule: value for rule, value in _flat(spec) if rule not in NO_RULES}


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _changed(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for rule in [*before, *(rule for rule in after if rule not in before)]:
        if before.get(rule) != after.get(rule):
            yield rule, (_written(before.get(rule)), _written(after.get(rule)))


def _written(value: Any) -> str:
    """As the cohort's file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "not set" if value is None or value == [] else console.shortened(str(value), 60)
