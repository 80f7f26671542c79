"""What `gamectl tune` may turn: a loadout's free settings and its items' unpriced parameters.

In: an admitted loadout, its cohort's limits, and which of its networks is meant. Out: `Knob`s, each
with a range around its value. They are derived from the models: the free settings from
`LoadoutSpec`, the parameters from each item's `tunable` fields, whose bounds they keep. Pure. Next
on the path: `candidates` draws settings from them.

A number between two bounds is drawn by its odds, how far it is from the one against how far it is
from the other: up to five times less or more than those of the present value. So 0.0001 of at most
1 is searched by powers, 0.9 close to 1, and 0.5 on both sides; nothing ever leaves its bounds.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from orchestrator.admission.cohort import Cohort
from orchestrator.admission.enchanter import MEMBER_ITEMS
from orchestrator.admission.loadout import Loadout, LoadoutSpec
from orchestrator.admission.member_plans import members_of, purchase_of
from orchestrator.admission.shop import nearest
from orchestrator.errors import Refused

Value = float | int | str
ODDS_FACTOR = 5.0
AT_LIMIT = 0.1
"""Of the way between the bounds: how far below a cohort's limit one that stands there is sought."""
SIGNIFICANT = 3
"""Digits of a number that is drawn: enough to search with, and nice to read in a loadout."""
SEED = "seed"
"""The free setting that stays: a lucky seed is no better setting."""


@dataclass(frozen=True)
class Odds:
    """Numbers between two bounds, around a centre."""

    low: float
    high: float
    centre: float
    whole: bool

    def draw(self, random: Random) -> Value:
        """One of them; with three digits, or a whole number."""
        place = (self.centre - self.low) / (self.high - self.low)
        shift = random.uniform(-1, 1) * math.log(ODDS_FACTOR)
        odds = place / (1 - place) * math.exp(shift)
        value = self.low + (self.high - self.low) * odds / (1 + odds)
        if self.whole:
            return min(max(round(value), math.ceil(self.low)), math.floor(self.high))
        return float(f"{value:.{SIGNIFICANT}g}")


@dataclass(frozen=True)
class Whole:
    """Whole numbers, each as likely as the other."""

    low: int
    high: int

    def draw(self, random: Random) -> Value:
        """One of them."""
        return random.randint(self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def draw(self, random: Random) -> Value:
        """One of them."""
        return random.choice(self.words)


Range = Odds | Whole | Choice


@dataclass(frozen=True)
class Knob:
    """One setting that may be changed."""

    item: str | None
    """The item whose parameter it is; None for a free setting."""
    key: str
    """What a file calls it."""
    value: Value
    """As the loadout has it."""
    range: Range

    @property
    def name(self) -> str:
        """`learningRate`, or `drop-shield.rate`."""
        return self.key if self.item is None else f"{self.item}.{self.key}"

    @property
    def by_powers(self) -> bool:
        """Whether its values are better shown on a logarithmic axis."""
        return (
            isinstance(self.range, Odds)
            and self.value not in (0, "")
            and (self.range.centre - self.range.low < (self.range.high - self.range.low) / 10)
        )


def knobs_of(
    loadout: Loadout, cohort: Cohort, member: int, keep: Collection[str] = ()
) -> tuple[Knob, ...]:
    """Everything that may be changed for one member of the loadout (0 without an ensemble).

    Raises `Refused` where `keep` names what is none of it, or leaves nothing.
    """
    knobs = tuple(_knobs(loadout, cohort, member))
    names = [knob.name for knob in knobs]
    for name in keep:
        if name not in names:
            raise Refused(
                f"--keep {name}: it is not searched; the settings are {', '.join(names)}"
                f"{nearest(name, names)}"
            )
    left = tuple(knob for knob in knobs if knob.name not in keep)
    if not left:
        raise Refused("nothing is left to search: --keep names every setting")
    return left


def _knobs(loadout: Loadout, cohort: Cohort, index: int) -> Iterator[Knob]:
    member = members_of(loadout)[index]
    limits = cohort.spec.limits
    for name, field in LoadoutSpec.model_fields.items():
        if name in (SEED, "purchases"):
            continue
        own = getattr(member, name)
        value = getattr(loadout.spec, name) if own is None else own
        limit = getattr(limits, name, None)
        reach: Range | None
        if name == "epochs":  # more of them mostly help, and cost time: no powers
            least = max(1, value // 2)
            reach = Whole(least, limits.epochs) if least < limits.epochs else None
        else:
            reach = _range(field, value, limit)
        if reach is not None:
            yield Knob(None, field.alias or name, value, reach)
    for bought in loadout.spec.purchases:
        used = purchase_of(bought, member)
        if not isinstance(used, MEMBER_ITEMS):  # the ensemble itself is about all of them
            continue
        for name in used.tunable():
            field = type(used).model_fields[name]
            value = getattr(used, name)
            reach = _range(field, value)
            if reach is not None:
                yield Knob(bought.item, field.alias or name, value, reach)


def _range(field: FieldInfo, value: Any, limit: float | None = None) -> Range | None:
    """Where to look for other values; None where there is nothing to go by, as for a name."""
    kind = field.annotation
    if get_origin(kind) is Literal:
        return Choice(get_args(kind))
    if kind not in (int, float):
        return None
    low, high = _bounds(field.metadata)
    high = high if limit is None else min(high, limit)
    if not low < high < math.inf:
        return None
    if limit is not None and value >= high:  # it was chosen, and the cohort allows no more
        return Odds(low, high, high - AT_LIMIT * (high - low), whole=kind is int)
    inside = (each for each in (value, field.default) if low < each < high)
    return Odds(low, high, next(inside, (low + high) / 2), whole=kind is int)


def _bounds(metadata: Sequence[Any]) -> tuple[float, float]:
    """The bounds that a field's constraints set; a value never comes to an open one."""
    lows = [
        getattr(each, name) for each in metadata for name in ("ge", "gt") if hasattr(each, name)
    ]
    highs = [
        getattr(each, name) for each in metadata for name in ("le", "lt") if hasattr(each, name)
    ]
    return max(lows, default=-math.inf), min(highs, default=math.inf)
