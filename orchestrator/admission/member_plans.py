"""A loadout and a cohort's rules -> the plan of every member.

In: values that are each within their own bounds, and what is known of the data; out: one
`MemberPlan` a member. Pure. `admit` looks for senseless plans among them; `submission` stores
those of admitted loadouts.
"""

from collections.abc import Sequence
from typing import TypeVar

from jobs.plan import Combine, DataPlan, MemberPlan, OptimizerPlan
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.enchanter import Member
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.purchase import Purchase

T = TypeVar("T")
UNKNOWN_CLASSES = ("", "")  # as many as a plan needs, before the data is read


def members_of(loadout: Loadout) -> tuple[Member, ...]:
    """Return what differs in each member; a job without an ensemble has one, and nothing does."""
    return loadout.ensemble.members if loadout.ensemble else (Member(),)


def purchase_of(bought: Purchase, member: Member) -> Purchase:
    """Return a purchase as one member uses it."""
    return bought.tuned(dict(member.tunings()).get(bought.item, {}))


def member_plans(
    loadout: Loadout,
    cohort: Cohort,
    classes: Sequence[str] = UNKNOWN_CLASSES,
    fingerprint: str = "",
) -> tuple[MemberPlan, ...]:
    """Return the plan of every member, for data of these classes and this fingerprint."""
    indices = range(loadout.num_members)
    return tuple(member_plan(loadout, cohort, index, classes, fingerprint) for index in indices)


def member_plan(
    loadout: Loadout,
    cohort: Cohort,
    index: int,
    classes: Sequence[str] = UNKNOWN_CLASSES,
    fingerprint: str = "",
) -> MemberPlan:
    """Return the plan of one member, with everything that was bought."""
    member = members_of(loadout)[index]
    plan = plan_without_items(loadout, cohort, index, classes, fingerprint)
    for bought in loadout.spec.purchases:
        plan = purchase_of(bought, member).apply(plan)
    return plan


def plan_without_items(
    loadout: Loadout,
    cohort: Cohort,
    index: int,
    classes: Sequence[str] = UNKNOWN_CLASSES,
    fingerprint: str = "",
) -> MemberPlan:
    """Return the plan of a member as if nothing were bought: its free settings, the cohort's data.

    `index` is the member's; it moves the seed that the spec gives to all of them.
    """
    spec, resources = loadout.spec, cohort.spec.resources
    member = members_of(loadout)[index]
    return MemberPlan(
        data=data_plan(cohort, classes, fingerprint),
        optimizer=OptimizerPlan(learning_rate=_own(member.learning_rate, spec.learning_rate)),
        batch_size=_own(member.batch_size, spec.batch_size),
        epochs=_own(member.epochs, spec.epochs),
        seed=_own(member.seed, spec.seed + index),
        threads=resources.threads,
        precision=resources.precision,
        device="cuda" if resources.gpus > 0 else "cpu",
        workers=resources.workers_per_member,
    )


def data_plan(cohort: Cohort, classes: Sequence[str], fingerprint: str) -> DataPlan:
    """Return what a cohort says about the data of these classes and this fingerprint."""
    data = cohort.spec.data
    return DataPlan(
        fingerprint=fingerprint,
        classes=tuple(classes),
        validation_fraction=data.validation_fraction,
        train_fraction=data.train_fraction,
        split_seed=data.split_seed,
    )


def _own(value: T | None, common: T) -> T:
    return common if value is None else value


def combine_of(loadout: Loadout) -> Combine:
    """Say how the members' outputs become the job's; one member alone is its own mean."""
    return loadout.ensemble.combine if loadout.ensemble else "mean"


def min_members_of(loadout: Loadout) -> int:
    """Say how many trained members are enough; all of them, unless the ensemble says otherwise."""
    ensemble = loadout.ensemble
    if ensemble is None or ensemble.min_members is None:
        return loadout.num_members
    return ensemble.min_members
