"""What is wrong between the purchases of one loadout, whatever the cohort.

In: a loadout; out: problems, each with the path of the value that it is about. Pure. Next:
`admit`, which holds the loadout against a cohort as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.plan import CustomPlan
from orchestrator.admission.enchanter import EnsembleEnchanter, Member
from orchestrator.admission.items import SHELVES
from orchestrator.admission.items.losses import WisdomExtractor
from orchestrator.admission.items.training import LearningRateDecay, RateRollercoaster
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.member_plans import members_of, purchase_of
from orchestrator.admission.purchase import Purchase
from orchestrator.admission.yaml_places import Loc

PURCHASES: Loc = ("spec", "purchases")
NETWORK_ITEMS = tuple(SHELVES["network"])
AUGMENTING_ITEMS = tuple(SHELVES["augmentation"])


@dataclass(frozen=True)
class LocatedProblem:
    """A problem and the path, in the file's own keys, of the value that it is about."""

    loc: Loc
    code: str
    message: str


def purchase_problems(loadout: Loadout) -> Iterator[LocatedProblem]:
    """Yield what is wrong between purchases, whatever the cohort."""
    first_at: dict[str, int] = {}
    for index, bought in enumerate(loadout.spec.purchases):
        if bought.item in first_at:
            message = (
                f"{bought.item} is bought twice; purchase {first_at[bought.item] + 1} is the same "
                "item, and each applies to every member: keep one"
            )
            yield LocatedProblem((*PURCHASES, index, "item"), "bought-twice", message)
        first_at.setdefault(bought.item, index)
    for loc, member in located_members(loadout):
        for key, _ in member.tunings():
            if key not in first_at:
                message = f"a member tunes {key}, which is not bought; add it to the purchases"
                yield LocatedProblem((*loc, "items", key), "not-bought", message)
    for index in first_at.values():
        yield from _idle_problems(loadout, index)
    if LearningRateDecay.key() in first_at:
        yield from _course_problems(loadout)
    if loadout.code is not None and "build_model" in loadout.code.defines:
        yield from _own_network_problems(loadout, loadout.code)
    if loadout.code is not None and WisdomExtractor.key() in first_at:
        yield from _teacher_problems(loadout, loadout.code)


def located_members(loadout: Loadout) -> Iterator[tuple[Loc, Member]]:
    """Yield the members of the ensembles that are bought (a second one is a problem) and where."""
    for index, bought in enumerate(loadout.spec.purchases):
        if isinstance(bought, EnsembleEnchanter):
            for member_index, member in enumerate(bought.members):
                yield (*PURCHASES, index, "members", member_index), member


def given_at(loadout: Loadout, index: int, name: str) -> Iterator[tuple[Loc, Purchase]]:
    """Yield purchase `index` as each member uses it, and where it gets the parameter `name`.

    That is the member's own entry or, where it has none, the purchase itself.
    """
    bought = loadout.spec.purchases[index]
    own: Loc = (*PURCHASES, index, _key(bought, name))
    members = tuple(located_members(loadout)) if loadout.ensemble else ((own, Member()),)
    for loc, member in members:
        is_tuned = name in dict(member.tunings()).get(bought.item, {})
        tuned_at: Loc = (*loc, "items", bought.item, _key(bought, name))
        yield tuned_at if is_tuned else own, purchase_of(bought, member)


def _key(bought: Purchase, name: str) -> str:
    """Return what a file calls a parameter."""
    return type(bought).model_fields[name].alias or name


def _idle_problems(loadout: Loadout, index: int) -> Iterator[LocatedProblem]:
    """Find given parameters of a purchase that no member has a use for."""
    bought = loadout.spec.purchases[index]
    if not any(purchase_of(bought, member).idle() for member in members_of(loadout)):
        return
    for name in bought.parameters():
        idle_at: dict[Loc, str] = {}
        used_at: set[Loc] = set()
        for loc, purchase in given_at(loadout, index, name):
            is_given = name in purchase.model_fields_set
            if is_given and name in purchase.idle():
                idle_at.setdefault(loc, purchase.idle()[name])
            elif is_given:
                used_at.add(loc)
        for loc, reason in idle_at.items():
            if loc not in used_at:
                message = f"'{loc[-1]}' changes nothing: {reason}; leave it out"
                yield LocatedProblem(loc, "not-used", message)


def _own_network_problems(loadout: Loadout, code: CustomPlan) -> Iterator[LocatedProblem]:
    """Find parts of the game's network, which a team's own takes the place of."""
    for index, bought in enumerate(loadout.spec.purchases):
        if isinstance(bought, NETWORK_ITEMS):
            message = (
                f"{bought.item} changes nothing: build_model in {code.file} makes the whole "
                "network; leave one of the two out"
            )
            yield LocatedProblem((*PURCHASES, index, "item"), "no-effect", message)


def _teacher_problems(loadout: Loadout, code: CustomPlan) -> Iterator[LocatedProblem]:
    """Find a teacher that team code would have to be given, instead of its answers alone."""
    bought = loadout.spec.purchases
    augments = any(isinstance(item, AUGMENTING_ITEMS) for item in bought)
    if not augments and "augment" not in code.defines:
        return
    for index, item in enumerate(bought):
        if isinstance(item, WisdomExtractor):
            message = (
                f"beside {code.file} {item.item} works with unchanged images only: for augmented "
                "ones the code would be given the teacher itself, and could hand it in as its own; "
                "leave out the augmentations, or one of the two"
            )
            yield LocatedProblem((*PURCHASES, index, "item"), "conflict", message)


def _course_problems(loadout: Loadout) -> Iterator[LocatedProblem]:
    """Find one-cycle schedules, beside which nothing else can set the learning rate."""
    found = dict.fromkeys(
        loc
        for index, bought in enumerate(loadout.spec.purchases)
        if isinstance(bought, RateRollercoaster)
        for loc, purchase in given_at(loadout, index, "schedule")
        if isinstance(purchase, RateRollercoaster) and purchase.schedule == "one-cycle"
    )
    for loc in found:
        message = (
            f"schedule one-cycle and {LearningRateDecay.key()} both prescribe the whole course of "
            "the learning rate; leave one out, or take another schedule: its rates are multiplied "
            "with the decay"
        )
        yield LocatedProblem(loc, "conflict", message)
