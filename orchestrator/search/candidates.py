"""Settings to try: a loadout with some of its knobs turned, and what is written for the best.

In: a loadout's file and its `Knob`s. Out: `Candidate`s, the loadout itself first, each admitted
under the cohort's rules and no two alike; and a candidate's `spec` as YAML that says what was
changed. The same seed draws the same candidates. Pure. Next on the path: `tuner` trains them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic import ValidationError

from jobs.plan import MemberPlan
from orchestrator.admission.admit import admit
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.files import LoadoutFile
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.member_plans import member_plan, members_of, purchase_of
from orchestrator.admission.rewriting import renamed, take_out, values_of, yaml_text
from orchestrator.admission.yaml_nodes import parse
from orchestrator.admission.yaml_places import Loc
from orchestrator.search.space import Knob, Value

TURNED_SHARE = 0.5
"""Of the knobs, in one candidate: with all of them turned little is left of what went well."""
TRIES_IN_A_ROW = 100
"""Draws for one candidate: some are refused, as a schedule beside learning-rate-decay, and where
there is little to choose from most are known already."""


@dataclass(frozen=True)
class Candidate:
    """Settings to try."""

    number: int
    """0 is the loadout as it is."""
    settings: Mapping[str, Value | None]
    """Of every knob, by its name; None where the others leave no use for it."""
    file: LoadoutFile
    """The loadout with these settings."""


def candidates(
    file: LoadoutFile,
    cohort: Cohort,
    knobs: Sequence[Knob],
    member: int,
    number: int,
    seed: int,
) -> list[Candidate]:
    """The loadout itself, then settings drawn at random, `number` in all.

    Fewer where the knobs do not allow for as many different ones.
    """
    random = Random(seed)  # noqa: S311  # no secrets are drawn
    own = _candidate(0, file, cohort, knobs, member, {})
    assert own is not None, "the loadout is admitted"
    found = [own]
    seen = {plan_of(own, cohort, member)}
    failed = 0
    while len(found) < number and failed < TRIES_IN_A_ROW:
        failed += 1
        turned = [knob for knob in knobs if random.random() < TURNED_SHARE]
        drawn = {knob.name: knob.range.draw(random) for knob in turned}
        made = _candidate(len(found), file, cohort, knobs, member, drawn)
        if made is not None and (plan := plan_of(made, cohort, member)) not in seen:
            seen.add(plan)
            found.append(made)
            failed = 0
    return found


def plan_of(candidate: Candidate, cohort: Cohort, member: int) -> MemberPlan:
    """What its network trains, on data that is not known yet."""
    assert candidate.file.loadout is not None
    return member_plan(candidate.file.loadout, cohort, member)


def _candidate(
    number: int,
    file: LoadoutFile,
    cohort: Cohort,
    knobs: Sequence[Knob],
    member: int,
    drawn: Mapping[str, Value],
) -> Candidate | None:
    """The loadout with these settings; None where the cohort refuses them."""
    assert file.team is not None
    root = values_of(file)
    changed = {knob.name: (knob, drawn[knob.name]) for knob in knobs if knob.name in drawn}
    for knob, value in changed.values():
        if value != knob.value:
            _write(root, knob, member, value)
    while True:
        try:
            made = renamed(file, root, file.team)
        except ValidationError:  # rounded to a bound that is not allowed
            return None
        assert made.loadout is not None
        problem = next(iter(admit(made.loadout, cohort).problems), None)
        if problem is None:
            break
        if problem.code != "not-used":
            return None
        take_out(root, problem.loc)
    settings: dict[str, Value | None] = {knob.name: knob.value for knob in knobs}
    settings |= {name: value for name, (_, value) in changed.items()}
    idle = dict.fromkeys(_idle(made.loadout, member) & settings.keys())
    return Candidate(number, settings | idle, made)


def _idle(loadout: Loadout, member: int) -> set[str]:
    """The names of parameters that a member has no use for, as its others are set."""
    return {
        f"{used.item}.{type(used).model_fields[name].alias or name}"
        for bought in loadout.spec.purchases
        for used in [purchase_of(bought, members_of(loadout)[member])]
        for name in used.idle()
    }


def _write(root: dict[str, Any], knob: Knob, member: int, value: Value) -> None:
    """Puts a value where the network that is meant finds it: in its member, if it has one."""
    spec = root["spec"]
    purchases = spec.get("purchases", [])
    members = next((each["members"] for each in purchases if "members" in each), None)
    if members is not None:
        holder = members[member]
        if knob.item is not None:
            holder = holder.setdefault("items", {}).setdefault(knob.item, {})
    elif knob.item is not None:
        holder = next(each for each in purchases if each["item"] == knob.item)
    else:
        holder = spec
    holder[knob.key] = value
    if "purchases" in holder:  # they stay at the end, where people look for them
        holder["purchases"] = holder.pop("purchases")


def _knob_at(root: dict[str, Any], loc: Loc) -> str:
    """The name of the knob whose value is at a path."""
    if "items" in loc:
        return f"{loc[-2]}.{loc[-1]}"
    holder: Any = root
    for part in loc[:-1]:
        holder = holder[part]
    item = holder.get("item") if isinstance(holder, dict) else None
    return f"{item}.{loc[-1]}" if item else str(loc[-1])


def patch(candidate: Candidate, own: Candidate) -> str:
    """The candidate's `spec` as YAML, to be pasted in place of the loadout's own.

    A comment behind a value says what it was before.
    """
    root, before = values_of(candidate.file), values_of(own.file)
    spec = {"spec": root["spec"]}
    lines = yaml_text(spec).splitlines()
    for loc, place in parse("\n".join(lines)).values.items():
        if place.text is None or _value_at(before, loc) == _value_at(spec, loc):
            continue
        was = own.settings.get(_knob_at(root, loc))
        lines[place.line - 1] += "  # new" if was is None else f"  # was {shown(was)}"
    return "\n".join(lines) + "\n"


def shown(value: Value | None) -> str:
    """A setting as a person writes it; a dash where there is no use for it."""
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _value_at(root: Any, loc: Loc) -> Any:
    """The value at a path; None where there is none."""
    for part in loc:
        if isinstance(root, dict):
            root = root.get(part)
        elif isinstance(root, list) and isinstance(part, int) and part < len(root):
            root = root[part]
        else:
            return None
    return root
