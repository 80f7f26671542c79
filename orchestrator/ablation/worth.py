"""What each bought item is worth: a loadout beside the same loadout without it.

In: one admitted loadout and its cohort's rules. Out: its `Variants`, the loadouts to run (whole,
and without each item), as a `Reading` that `balance.side_cohort` gives several seeds; and, once
these have run, an `Ablation`: by how many points each item moved the accuracy. Pure. Next on the
path: `workflows` runs the side cohort in between; `table` and `picture` show the result.

Every comparison is paired: with and without an item networks train from the same seed. Where the
item leaves them alike they start from the same weights and see the same images in the same order,
so that luck which both have does not count. An ensemble is compared with its first member alone.
"""

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from orchestrator.admission.admit import admit
from orchestrator.admission.cohort import Cohort, CohortMetadata
from orchestrator.admission.combinations import PURCHASES, LocatedProblem
from orchestrator.admission.files import LoadoutFile, Reading
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.receipt import receipt_of
from orchestrator.admission.rewriting import renamed, take_out, values_of
from orchestrator.errors import Refused
from orchestrator.measuring.balance import MAX_LABEL, job_name, lost_members
from orchestrator.measuring.student import interval_of_points
from orchestrator.state import Job, newest_revisions

WHOLE = "whole"
MOST_POINTS = 100.0
JudgedBy = Literal["validation", "test"]
Verdict = Literal["helps", "hurts", "unclear"]


@dataclass(frozen=True)
class Variant:
    """The loadout without something, ready to be run."""

    items: tuple[str, ...]
    """What is left out: an item, then what hangs together with it. Nothing: the whole loadout."""
    cost_bnn: float
    """Of what is left out."""
    file: LoadoutFile

    @property
    def team(self) -> str:
        """What its jobs are named, but for the seed."""
        assert self.file.team is not None
        return self.file.team


@dataclass(frozen=True)
class Kept:
    """An item that cannot be left out, and why."""

    item: str
    reason: str


@dataclass(frozen=True)
class Variants:
    """All that can be compared of a loadout; the first one is whole."""

    team: str
    each: tuple[Variant, ...]
    kept: tuple[Kept, ...]
    spent_bnn: float
    """On all of it, at the prices that the variants' costs are of."""


@dataclass(frozen=True)
class Worth:
    """What an item is worth, in percentage points of accuracy."""

    items: tuple[str, ...]
    cost_bnn: float
    accuracies: tuple[float | None, ...]
    """Without it, in the order of the seeds; None where the network failed."""
    points: tuple[float | None, ...]
    """Of each seed: with it, minus without it."""
    mean_points: float | None
    """None where a network failed: a mean of the others would flatter risky settings."""
    low_points: float | None
    high_points: float | None
    """95 % interval of the mean over the seeds, given the images that it was measured on."""
    points_per_bnn: float | None

    @property
    def verdict(self) -> Verdict:
        """What the interval allows to say."""
        if self.low_points is not None and self.low_points > 0:
            return "helps"
        if self.high_points is not None and self.high_points < 0:
            return "hurts"
        return "unclear"


@dataclass(frozen=True)
class Ablation:
    """A loadout's items by their worth, the best first."""

    cohort: str
    team: str
    judged_by: JudgedBy
    num_images: int
    num_seeds: int
    spent_bnn: float
    accuracies: tuple[float | None, ...]
    """Of the whole loadout, in the order of the seeds."""
    mean: float | None
    worths: tuple[Worth, ...]
    kept: tuple[Kept, ...]
    failed: tuple[str, ...]
    """The side cohort's jobs that have no accuracy."""
    degraded: tuple[str, ...]
    """The runs that are scored without members that were lost, and how many they have left."""

    def to_dict(self) -> dict[str, Any]:
        """The form of `--output json`."""
        return asdict(self)


def variants(file: LoadoutFile, cohort: Cohort) -> Variants:
    """The loadout, whole and without each of its items.

    What an item needs goes with it: blocks that pool a smaller image away, or a parameter that only
    it had a use for. Raises `Refused` where nothing was bought.
    """
    assert file.loadout is not None
    bought = [each.item for each in file.loadout.spec.purchases]
    if not bought:
        raise Refused(f"{file.path} buys nothing, so there is nothing to leave out")
    found: dict[frozenset[str], Variant] = {}
    kept: list[Kept] = []
    for item in bought:
        made = _without(file, item, cohort)
        if isinstance(made, Kept):
            kept.append(made)
        else:
            found.setdefault(frozenset(made.items), made)
    whole = Variant((), 0, renamed(file, values_of(file), WHOLE))
    spent_bnn = receipt_of(file.loadout, cohort).total_bnn
    return Variants(file.loadout.team, (whole, *found.values()), tuple(kept), spent_bnn)


def to_run(reading: Reading, all_of_it: Variants, room: int) -> Reading:
    """The variants as loadouts of a cohort of their own, before they are given seeds.

    `room` is how many characters will be added to the cohort's name.
    """
    name = _fitting(f"{reading.cohort.name}-{all_of_it.team}-ablation", MAX_LABEL - room)
    cohort = reading.cohort.model_copy(update={"metadata": CohortMetadata(name=name)})
    return replace(reading, cohort=cohort, files=tuple(each.file for each in all_of_it.each))


def ablation(
    all_of_it: Variants,
    num_seeds: int,
    jobs: Sequence[Job],
    accuracies: Mapping[str, float],
    judged_by: JudgedBy,
    num_images: int,
) -> Ablation:
    """Sums the runs up: the side cohort's jobs, and by uid the accuracies of those that succeeded.

    Intervals are Student's, over the differences at each seed; none is narrower than counting whole
    images allows.
    """
    newest = {job.team: job for job in newest_revisions(jobs)}

    def measured(variant: Variant) -> tuple[float | None, ...]:
        runs = (newest[job_name(variant.team, number)] for number in range(num_seeds))
        return tuple(accuracies.get(job.uid) for job in runs)

    names = [job_name(it.team, n) for it in all_of_it.each for n in range(num_seeds)]
    whole, *others = all_of_it.each
    with_all = measured(whole)
    worths = [_worth(variant, with_all, measured(variant), num_images) for variant in others]
    worths.sort(key=lambda it: (it.mean_points is None, -(it.mean_points or 0), it.items))
    known = [accuracy for accuracy in with_all if accuracy is not None]
    return Ablation(
        cohort=jobs[0].cohort,
        team=all_of_it.team,
        judged_by=judged_by,
        num_images=num_images,
        num_seeds=num_seeds,
        spent_bnn=all_of_it.spent_bnn,
        accuracies=with_all,
        mean=statistics.fmean(known) if len(known) == num_seeds else None,
        worths=tuple(worths),
        kept=all_of_it.kept,
        failed=tuple(name for name in names if newest[name].uid not in accuracies),
        degraded=tuple(lost_members(newest[name] for name in names)),
    )


def _worth(
    variant: Variant,
    with_all: Sequence[float | None],
    without: tuple[float | None, ...],
    num_images: int,
) -> Worth:
    points = tuple(
        None if a is None or b is None else 100 * (a - b)
        for a, b in zip(with_all, without, strict=True)
    )
    known = [each for each in points if each is not None]
    mean = statistics.fmean(known) if len(known) == len(points) else None
    interval = interval_of_points(known, num_images) if mean is not None else None
    low = max(-MOST_POINTS, interval[0]) if interval else None
    high = min(MOST_POINTS, interval[1]) if interval else None
    priced = mean is not None and variant.cost_bnn > 0
    return Worth(
        items=variant.items,
        cost_bnn=variant.cost_bnn,
        accuracies=without,
        points=points,
        mean_points=mean,
        low_points=low,
        high_points=high,
        points_per_bnn=(mean or 0) / variant.cost_bnn if priced else None,
    )


def _without(file: LoadoutFile, item: str, cohort: Cohort) -> Variant | Kept:
    """The file without an item and what hangs together with it."""
    assert file.loadout is not None
    root, left_out = values_of(file), [item]
    _leave_out(root, item)
    while True:
        changed = renamed(file, root, f"without-{item}")
        assert changed.loadout is not None
        problem = next(iter(admit(changed.loadout, cohort).problems), None)
        if problem is None:
            receipt = receipt_of(changed.loadout, cohort)
            cost_bnn = receipt_of(file.loadout, cohort).total_bnn - receipt.total_bnn
            return Variant(tuple(left_out), cost_bnn, replace(changed, receipt=receipt))
        if problem.code == "not-used":  # a parameter that only the item had a use for
            take_out(root, problem.loc)
        elif (hanging := _item_at(changed.loadout, problem)) is not None:
            left_out.append(hanging)
            _leave_out(root, hanging)
        else:
            return Kept(item, problem.message)


def _item_at(loadout: Loadout, problem: LocatedProblem) -> str | None:
    """The item that cannot stay as things are; None where something else is wrong."""
    *at, index = problem.loc[: len(PURCHASES) + 1]
    if problem.code == "same-member" or tuple(at) != PURCHASES or not isinstance(index, int):
        return None
    return loadout.spec.purchases[index].item


def _leave_out(root: dict[str, Any], item: str) -> None:
    """Takes an item out, and what members say of it; of an ensemble its first member stays."""
    spec = root["spec"]
    gone = next(each for each in spec["purchases"] if each["item"] == item)
    spec["purchases"] = [each for each in spec["purchases"] if each is not gone]
    for bought in spec["purchases"]:
        for member in bought.get("members", ()):
            member.get("items", {}).pop(item, None)
    first = dict(next(iter(gone.get("members", ())), {}))
    tuned = first.pop("items", {})
    spec.update(first)
    for bought in spec["purchases"]:
        bought.update(tuned.get(bought["item"], {}))


def _fitting(name: str, max_chars: int) -> str:
    """The name, or as much of it as there is room for and a digest that tells it from others."""
    if len(name) <= max_chars:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: max_chars - len(digest) - 1].rstrip('-')}-{digest}"
