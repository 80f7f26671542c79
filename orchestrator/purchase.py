"""What an item of the shop is: its price, its parameters, and what it writes into a member plan.

In: one entry of a loadout's `purchases`; out: a member plan with the technique switched on. The
items are one class each, in `items`; `enchanter` holds the one that is about several members;
`shop` puts them together.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, Self, get_args

from jobs.plan import MemberPlan, Plan
from orchestrator.manifest import Model

Section = Literal["data", "model", "augment", "optimizer"]


class Purchase(Model):
    """One item that a team bought.

    A subclass is an item of the shop. Its docstring is the sentence that the shop shows, its fields
    are the parameters of the technique, and `item` holds its key as a Literal.
    """

    title: ClassVar[str]
    also_called: ClassVar[tuple[str, ...]] = ()
    price_bnn: ClassVar[int] = 0
    """Default price of one unit; 0 for what the rule book leaves unpriced."""
    sold_by: ClassVar[str | None] = None
    """The parameter that says how many units are bought; None where there is only one."""

    item: str

    @classmethod
    def key(cls) -> str:
        """Return the name that loadouts call the item by."""
        key: str = get_args(cls.model_fields["item"].annotation)[0]
        return key

    @classmethod
    def blurb(cls) -> str:
        """Return the sentence that the shop shows."""
        return " ".join((cls.__doc__ or "").split())

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Name the fields that tune the item, `item` itself left out."""
        return tuple(name for name in cls.model_fields if name != "item")

    @classmethod
    def tunable(cls) -> tuple[str, ...]:
        """Name the parameters that carry no price, so that ensemble members may differ in them."""
        return tuple(name for name in cls.parameters() if name != cls.sold_by)

    @property
    def quantity(self) -> int:
        """How many units are bought."""
        return int(getattr(self, self.sold_by)) if self.sold_by else 1

    def tuned(self, changes: dict[str, Any]) -> Self:
        """Return the purchase with other (valid) values of some parameters."""
        return self.model_copy(update=changes)

    @abstractmethod
    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Return the plan with what was bought written into it.

        No two items write the same field of a plan, so their order does not matter.
        """


def changed(plan: MemberPlan, section: Section, **changes: object) -> MemberPlan:
    """Return the plan with fields of one section changed, and checked against the plan's bounds."""
    part: Plan = getattr(plan, section)
    return plan.model_copy(
        update={section: type(part).model_validate({**part.model_dump(), **changes})}
    )
