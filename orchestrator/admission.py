"""Admission: a loadout and a cohort's rules -> a receipt and every reason to refuse.

In: values that are each within their own bounds; out: what the loadout costs, the problems that the
cohort (or one purchase with another) has with it, and the plan of every member. Pure: the same
values give the same answer, and nothing is read or written. Next: `files` puts problems at their
lines; the store keeps what was admitted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from jobs.plan import Combine, DataPlan, MemberPlan, OptimizerPlan, feature_side_px
from orchestrator.cohort import Cohort
from orchestrator.enchanter import EnsembleEnchanter, Member
from orchestrator.items import NeuralTurboBoost
from orchestrator.loadout import Loadout
from orchestrator.shop import unit_price_bnn
from orchestrator.yaml_nodes import Loc

T = TypeVar("T")
PURCHASES: Loc = ("spec", "purchases")


@dataclass(frozen=True)
class ReceiptLine:
    """One item on a receipt. `price_bnn` is the price of one unit."""

    item: str
    title: str
    quantity: int
    price_bnn: int
    total_bnn: int


@dataclass(frozen=True)
class Receipt:
    """What a loadout costs, line by line, and what the team may spend."""

    lines: tuple[ReceiptLine, ...]
    total_bnn: int
    budget_bnn: int

    def to_dict(self) -> dict[str, object]:
        """Return the receipt as JSON has it."""
        return {
            "lines": [asdict(line) for line in self.lines],
            "total_bnn": self.total_bnn,
            "budget_bnn": self.budget_bnn,
        }

    def __str__(self) -> str:
        costs = (
            f"{line.item} {line.total_bnn}"
            + (f" ({line.quantity} x {line.price_bnn})" if line.quantity > 1 else "")
            for line in self.lines
        )
        return f"{' + '.join(costs) or 'nothing'} = {self.total_bnn} B NN"


@dataclass(frozen=True)
class LocatedProblem:
    """A problem and the path, in the file's own keys, of the value that it is about."""

    loc: Loc
    code: str
    message: str


@dataclass(frozen=True)
class Admission:
    """What a cohort says to a loadout; without problems it is admitted."""

    receipt: Receipt
    problems: tuple[LocatedProblem, ...]

    @property
    def ok(self) -> bool:
        """Whether the loadout is admitted."""
        return not self.problems


def admit(loadout: Loadout, cohort: Cohort) -> Admission:
    """Hold a loadout against a cohort's rules; report every problem, not only the first."""
    receipt = receipt_of(loadout, cohort)
    problems = (
        *purchase_problems(loadout),
        *_shelf_problems(loadout, cohort),
        *_budget_problems(receipt),
        *_limit_problems(loadout, cohort),
        *_size_problems(loadout, cohort),
    )
    return Admission(receipt, problems)


def receipt_of(loadout: Loadout, cohort: Cohort) -> Receipt:
    """Price a loadout. An item that is listed twice (a problem of its own) is charged once."""
    lines: dict[str, ReceiptLine] = {}
    for bought in loadout.spec.purchases:
        price_bnn = unit_price_bnn(bought.item, cohort.spec.prices)
        line = ReceiptLine(
            bought.item, bought.title, bought.quantity, price_bnn, bought.quantity * price_bnn
        )
        lines.setdefault(bought.item, line)
    total_bnn = sum(line.total_bnn for line in lines.values())
    return Receipt(tuple(lines.values()), total_bnn, cohort.spec.budget)


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
    for loc, member in _members(loadout):
        for key, _ in member.tunings():
            if key not in first_at:
                message = f"a member tunes {key}, which is not bought; add it to the purchases"
                yield LocatedProblem((*loc, "items", key), "not-bought", message)


def _members(loadout: Loadout) -> Iterator[tuple[Loc, Member]]:
    for index, bought in enumerate(loadout.spec.purchases):
        if isinstance(bought, EnsembleEnchanter):
            for member_index, member in enumerate(bought.members):
                yield (*PURCHASES, index, "members", member_index), member


def _shelf_problems(loadout: Loadout, cohort: Cohort) -> Iterator[LocatedProblem]:
    for index, bought in enumerate(loadout.spec.purchases):
        if bought.item in cohort.spec.off_the_shelf:
            message = f"{bought.item} is off the shelf: nobody can buy it in cohort {cohort.name}"
            yield LocatedProblem((*PURCHASES, index, "item"), "off-the-shelf", message)


def _budget_problems(receipt: Receipt) -> Iterator[LocatedProblem]:
    over_bnn = receipt.total_bnn - receipt.budget_bnn
    if over_bnn > 0:
        message = f"{receipt}; the budget is {receipt.budget_bnn} B NN: {over_bnn} B NN too much"
        yield LocatedProblem(PURCHASES, "over-budget", message)


def _limit_problems(loadout: Loadout, cohort: Cohort) -> Iterator[LocatedProblem]:
    limits, spec = cohort.spec.limits, loadout.spec
    asked: list[tuple[Loc, str, int | None, int]] = [
        (("spec", "epochs"), "epochs", spec.epochs, limits.epochs),
        (("spec", "batchSize"), "batchSize", spec.batch_size, limits.batch_size),
    ]
    for loc, member in _members(loadout):
        asked += [
            ((*loc, "epochs"), "epochs", member.epochs, limits.epochs),
            ((*loc, "batchSize"), "batchSize", member.batch_size, limits.batch_size),
        ]
    for index, bought in enumerate(spec.purchases):
        if isinstance(bought, EnsembleEnchanter):
            loc = (*PURCHASES, index, "members")
            asked.append((loc, "number of members", len(bought.members), limits.members))
    for loc, name, value, limit in asked:
        if value is not None and value > limit:
            message = f"{name} is {value}; cohort {cohort.name} allows at most {limit}"
            yield LocatedProblem(loc, "over-limit", message)


def _size_problems(loadout: Loadout, cohort: Cohort) -> Iterator[LocatedProblem]:
    """Check the network that would be built; size and depth are the same for every member."""
    plan = _member_plan(loadout, cohort, DataPlan(fingerprint="", classes=("", "")), Member(), 0)
    size_px, limit_px = plan.data.image_size_px, cohort.spec.limits.image_size_px
    if size_px > limit_px:
        message = f"images are {size_px} px wide; cohort {cohort.name} allows at most {limit_px}"
        yield LocatedProblem(("spec",), "over-limit", message)
    blocks = plan.model.turbo_blocks
    if feature_side_px(size_px, blocks) == 0:
        most = max((n for n in range(blocks) if feature_side_px(size_px, n)), default=0)
        message = (
            f"{blocks} more blocks pool images of {size_px} px away to nothing; "
            f"at most {most} leave something"
        )
        boosts = (
            (*PURCHASES, index, "blocks")
            for index, bought in enumerate(loadout.spec.purchases)
            if isinstance(bought, NeuralTurboBoost)
        )
        yield LocatedProblem(next(boosts, PURCHASES), "nothing-left", message)


def member_plans(
    loadout: Loadout, cohort: Cohort, classes: Sequence[str], fingerprint: str
) -> tuple[MemberPlan, ...]:
    """Return the plan of every member, for data of these classes and this fingerprint."""
    members = loadout.ensemble.members if loadout.ensemble else (Member(),)
    data = cohort.spec.data
    data_plan = DataPlan(
        fingerprint=fingerprint,
        classes=tuple(classes),
        validation_fraction=data.validation_fraction,
        train_fraction=data.train_fraction,
        split_seed=data.split_seed,
    )
    return tuple(
        _member_plan(loadout, cohort, data_plan, member, index)
        for index, member in enumerate(members)
    )


def _member_plan(
    loadout: Loadout, cohort: Cohort, data: DataPlan, member: Member, index: int
) -> MemberPlan:
    spec, resources = loadout.spec, cohort.spec.resources
    plan = MemberPlan(
        data=data,
        optimizer=OptimizerPlan(learning_rate=_own(member.learning_rate, spec.learning_rate)),
        batch_size=_own(member.batch_size, spec.batch_size),
        epochs=_own(member.epochs, spec.epochs),
        seed=_own(member.seed, spec.seed + index),
        threads=resources.threads,
        precision=resources.precision,
        device="cuda" if resources.gpus > 0 else "cpu",
    )
    tunings = dict(member.tunings())
    for bought in spec.purchases:
        plan = bought.tuned(tunings.get(bought.item, {})).apply(plan)
    return plan


def _own(value: T | None, common: T) -> T:
    return common if value is None else value


def combine_of(loadout: Loadout) -> Combine:
    """Say how the members' outputs become the job's; one member alone is its own mean."""
    return loadout.ensemble.combine if loadout.ensemble else "mean"
