"""Admission: a loadout and a cohort's rules -> a receipt and every reason to refuse.

In: values that are each within their own bounds; out: what the loadout costs, the problems that the
cohort (or one purchase with another) has with it, and the plan of every member. Pure: the same
values give the same answer, and nothing is read or written. The parts are `receipt`, `member_plans`
and `combinations`. Next: `files` puts problems at their lines; the store keeps what was admitted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobs.plan import MemberPlan, feature_side_px
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.combinations import (
    PURCHASES,
    LocatedProblem,
    given_at,
    located_members,
    purchase_problems,
)
from orchestrator.admission.enchanter import EnsembleEnchanter
from orchestrator.admission.items.custom import Custom
from orchestrator.admission.items.data import MAX_SIZE_PX, MIN_SIZE_PX, ResolutionRocket
from orchestrator.admission.items.losses import HerrNilssonsFriend
from orchestrator.admission.items.network import NeuralTurboBoost
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.member_plans import (
    combine_of,
    member_plan,
    member_plans,
    members_of,
    min_members_of,
    plan_without_items,
    purchase_of,
)
from orchestrator.admission.purchase import Purchase
from orchestrator.admission.receipt import Receipt, receipt_of
from orchestrator.admission.shop import nearest
from orchestrator.admission.yaml_places import Loc
from orchestrator.console import shortened

__all__ = [
    "Admission", "LocatedProblem", "Receipt", "admit", "combine_of", "data_problems",
    "member_plans", "min_members_of", "purchase_problems", "receipt_of",
]  # fmt: skip

# The embedded data set's, said here again because drawing it takes numpy.
DRAWN, DRAWN_CLASSES = "drawn", tuple(f"n{label}" for label in range(10))
SHOWN_CLASSES_CHARS = 200


@dataclass(frozen=True)
class Admission:
    """What a cohort says to a loadout; without problems it is admitted."""

    receipt: Receipt
    problems: tuple[LocatedProblem, ...]

    @property
    def ok(self) -> bool:
        """Whether the loadout is admitted."""
        return not self.problems


def admit(loadout: Loadout, cohort: Cohort, classes: Sequence[str] = ()) -> Admission:
    """Hold a loadout against a cohort's rules; report every problem, not only the first.

    `classes` are the data's, where they are known already.
    """
    receipt = receipt_of(loadout, cohort)
    plan = member_plan(loadout, cohort, 0)
    problems = (
        *purchase_problems(loadout),
        *_shelf_problems(loadout, cohort),
        *_code_problems(loadout, cohort),
        *_budget_problems(receipt),
        *_limit_problems(loadout, cohort),
        *_enough_problems(loadout),
        *_size_problems(loadout, cohort, plan),
        *_depth_problems(loadout, cohort, plan),
        *_effect_problems(loadout, cohort),
        *_twin_problems(loadout, cohort),
        *(data_problems(loadout, classes) if classes else ()),
    )
    return Admission(receipt, problems)


def _rules(cohort: Cohort, verb: str) -> str:
    """Name the rules, with what they do; the default ones are no cohort's."""
    return f"the default rules {verb}" if cohort == Cohort() else f"cohort {cohort.name} {verb}s"


def _first(loadout: Loadout, item: type[Purchase]) -> Loc | None:
    """Return where an item is bought, or None."""
    found = (i for i, bought in enumerate(loadout.spec.purchases) if isinstance(bought, item))
    index = next(found, None)
    return None if index is None else (*PURCHASES, index)


def _shelf_problems(loadout: Loadout, cohort: Cohort) -> Iterator[LocatedProblem]:
    for index, bought in enumerate(loadout.spec.purchases):
        if bought.item in cohort.spec.off_the_shelf:
            message = f"{bought.item} is off the shelf: nobody can buy it in cohort {cohort.name}"
            yield LocatedProblem((*PURCHASES, index, "item"), "off-the-shelf", message)


def _code_problems(loadout: Loadout, cohort: Cohort) -> Iterator[LocatedProblem]:
    """Check that teams may bring code; which code it is does not matter here."""
    at = _first(loadout, Custom)
    if at is None:
        return
    several = cohort.spec.resources.workers_per_member
    if not cohort.spec.allow_custom_code:
        message = (
            f"{_rules(cohort, 'run')} no code of teams; leave {Custom.key()} out, or ask the "
            "organizer to write allowCustomCode: true under spec in the cohort's file"
        )
        yield LocatedProblem((*at, "item"), "code-not-allowed", message)
    elif several > 1:
        message = (
            f"cohort {cohort.name} trains every member with {several} workers, and a team's own "
            f"code runs in one; leave {Custom.key()} out, or ask the organizer to write "
            "workersPerMember: 1 under resources in the cohort's file"
        )
        yield LocatedProblem((*at, "item"), "code-not-allowed", message)


def _budget_problems(receipt: Receipt) -> Iterator[LocatedProblem]:
    over_bnn = receipt.total_bnn - receipt.budget_bnn
    if over_bnn > 0:
        message = f"{receipt}; the budget is {receipt.budget_bnn} B NN: {over_bnn} B NN too much"
        yield LocatedProblem(PURCHASES, "over-budget", message)


def _limit_problems(loadout: Loadout, cohort: Cohort) -> Iterator[LocatedProblem]:
    limits, spec = cohort.spec.limits, loadout.spec
    asked = list[tuple[Loc, str, int | None, int]]()
    for field, name in ("epochs", "epochs"), ("batch_size", "batchSize"):
        limit: int = getattr(limits, field)
        # A default that every member replaces is nobody's.
        unused = all(getattr(member, field) is not None for member in members_of(loadout))
        if field in spec.model_fields_set or not unused:
            asked.append((("spec", name), name, getattr(spec, field), limit))
        for loc, member in located_members(loadout):
            asked.append(((*loc, name), name, getattr(member, field), limit))
    for index, bought in enumerate(spec.purchases):
        if isinstance(bought, EnsembleEnchanter):
            loc = (*PURCHASES, index, "members")
            asked.append((loc, "number of members", len(bought.members), limits.members))
    workers = cohort.spec.resources.workers_per_member
    given = {type(spec).model_fields[name].alias or name for name in spec.model_fields_set}
    for loc, name, value, limit in asked:
        if value is not None and value > limit:
            message = f"{name} is {value}; {_rules(cohort, 'allow')} at most {limit}"
            if loc[:-1] == ("spec",) and loc[-1] not in given:
                message += f"; the file says none: write `{name}: {limit}` under spec"
            yield LocatedProblem(loc, "over-limit", message)
        elif value is not None and name == "batchSize" and value < workers:
            message = (
                f"batchSize is {value}; cohort {cohort.name} divides every batch among {workers} "
                f"workers (resources.workersPerMember): allowed is {workers} to {limit}"
            )
            yield LocatedProblem(loc, "out-of-range", message)


def _enough_problems(loadout: Loadout) -> Iterator[LocatedProblem]:
    """Check that an ensemble does not wait for more members than it has."""
    if min_members_of(loadout) > loadout.num_members:
        ensemble = _first(loadout, EnsembleEnchanter)
        assert ensemble is not None, "only an ensemble asks for a number of members"
        message = (
            f"minMembers is {min_members_of(loadout)}, and there are {loadout.num_members} members;"
            f" allowed is 1 to {loadout.num_members}, or leave it out: all are needed then"
        )
        yield LocatedProblem((*ensemble, "minMembers"), "over-limit", message)


def _size_problems(loadout: Loadout, cohort: Cohort, plan: MemberPlan) -> Iterator[LocatedProblem]:
    """Check the size of the images, which is the same for every member."""
    size_px, limit_px = plan.data.image_size_px, cohort.spec.limits.image_size_px
    if size_px > limit_px:
        rocket = _first(loadout, ResolutionRocket)
        message = f"images are {size_px} px wide; {_rules(cohort, 'allow')} at most {limit_px}"
        if limit_px < MIN_SIZE_PX:
            message += f", and no smaller ones than {MIN_SIZE_PX} px are sold: tell the organizer"
        elif rocket is None and ResolutionRocket.key() in cohort.spec.off_the_shelf:
            message += f" and sells no {ResolutionRocket.key()}: tell the organizer"
        elif rocket is None:
            message += f": buy {ResolutionRocket.key()} with a smaller size"
        yield LocatedProblem((*rocket, "size") if rocket else ("spec",), "over-limit", message)


def _depth_problems(loadout: Loadout, cohort: Cohort, plan: MemberPlan) -> Iterator[LocatedProblem]:
    """Check that something is left of an image at the end; depth is the same for every member."""
    size_px, blocks = plan.data.image_size_px, plan.model.turbo_blocks
    if feature_side_px(size_px, blocks) > 0:
        return
    most = max((n for n in range(blocks) if feature_side_px(size_px, n)), default=0)
    message = (
        f"{blocks} more blocks pool images of {size_px} px away to nothing; buy at most {most}"
    )
    largest_px = min(MAX_SIZE_PX, cohort.spec.limits.image_size_px)
    larger = (px for px in range(size_px, largest_px + 1) if feature_side_px(px, blocks))
    enough_px = next(larger, None)
    rocket = ResolutionRocket.key()
    if enough_px is not None and rocket not in cohort.spec.off_the_shelf:
        message += f", or {rocket} with a size of {enough_px} or more"
    boost = _first(loadout, NeuralTurboBoost)
    yield LocatedProblem((*boost, "blocks") if boost else PURCHASES, "nothing-left", message)


def _effect_problems(loadout: Loadout, cohort: Cohort) -> Iterator[LocatedProblem]:
    """Find items without which every member would be the same.

    The ensemble is not one of them, nor is a team's own code: nobody can say what it does.
    """
    seen: set[str] = set()
    for at, bought in enumerate(loadout.spec.purchases):
        if bought.item in seen or isinstance(bought, EnsembleEnchanter | Custom):
            continue
        seen.add(bought.item)
        why = _why_wasted(bought, loadout, cohort)
        if why is not None:
            message = f"{bought.item} changes nothing: {why}; leave it out"
            if why != bought.without_effect:
                message += ", or change that"
            elif bought.parameters():
                message += ", or give it other parameters"
            yield LocatedProblem((*PURCHASES, at, "item"), "no-effect", message)


def _why_wasted(bought: Purchase, loadout: Loadout, cohort: Cohort) -> str | None:
    """Why no member differs for an item; None where one does."""
    reason = None
    for index, member in enumerate(members_of(loadout)):
        used = purchase_of(bought, member)
        bare = plan_without_items(loadout, cohort, index)
        if used.apply(bare) == bare:  # no two write the same field, so it is asked alone
            reason = bought.without_effect
        elif (reason := used.wasted_on(member_plan(loadout, cohort, index))) is None:
            return None
    return reason


def _twin_problems(loadout: Loadout, cohort: Cohort) -> Iterator[LocatedProblem]:
    """Find members that would be the same network as one before them."""
    ensemble = _first(loadout, EnsembleEnchanter)
    if ensemble is None or loadout.num_members > cohort.spec.limits.members:
        return
    first_with: dict[MemberPlan, int] = {}
    for index, plan in enumerate(member_plans(loadout, cohort)):
        first = first_with.setdefault(plan, index)
        if first != index:
            at: Loc = (*ensemble, "members", index)
            if members_of(loadout)[index].seed is not None:
                at = (*at, "seed")
            message = (
                f"member {index} would be the same network as member {first}, to the bit "
                "(members count from 0); give it another seed or another setting"
            )
            yield LocatedProblem(at, "same-member", message)


def data_problems(loadout: Loadout, classes: Sequence[str]) -> Iterator[LocatedProblem]:
    """Yield what in a loadout does not fit data of these classes, given in label order."""
    named: dict[Loc, str] = {}
    unsaid: set[Loc] = set()
    for index, bought in enumerate(loadout.spec.purchases):
        if isinstance(bought, HerrNilssonsFriend):
            for loc, purchase in given_at(loadout, index, "class_name"):
                assert isinstance(purchase, HerrNilssonsFriend)
                named[loc] = purchase.class_name
                if "class_name" not in purchase.model_fields_set:
                    unsaid.add(loc)
    for loc, name in named.items():
        if name not in classes:
            message = (
                f"className is '{shortened(name)}'; the classes of the data are "
                f"{shortened(', '.join(classes), SHOWN_CLASSES_CHARS)}{nearest(name, classes)}"
            )
            if loc in unsaid:
                message += "; the file says none: write `className:` and one of them under the item"
            yield LocatedProblem(loc, "unknown-class", message)
