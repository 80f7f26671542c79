"""What an item of the shop is: its price, its parameters, and what it writes into a member plan.

In: one entry of a loadout's `purchases`; out: a member plan with the technique switched on. All
that is said about an item anywhere (catalog, lesson, help, JSON Schema, what members may differ in)
comes from its class. The items are one class each, in `items`; `enchanter` holds the one that is
about several members; `shop` puts them together.
"""

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import ConfigDict

from jobs.plan import MemberPlan, Plan
from orchestrator.admission.manifest import Model

Section = Literal["data", "model", "augment", "optimizer", "schedule", "loss"]


def _describe(schema: dict[str, Any], item: type[Any]) -> None:
    """Leave the lesson out of the JSON Schema, whose readers want a line."""
    schema["description"] = item.blurb()


class Purchase(Model):
    """One item that a team bought.

    A subclass is an item of the shop. The first paragraph of its docstring is the sentence that the
    shop shows, the others are its lesson, its fields are the parameters of the technique, and
    `item` holds its key as a Literal.
    """

    model_config = ConfigDict(json_schema_extra=_describe)

    title: ClassVar[str]
    also_called: ClassVar[tuple[str, ...]] = ()
    """Other names in the game."""
    plain_words: ClassVar[tuple[str, ...]] = ()
    """What the field calls it; the first is shown beside the title."""
    price_bnn: ClassVar[int] = 0
    """Default price of one unit; 0 for what the rule book leaves unpriced."""
    sold_by: ClassVar[str | None] = None
    """The parameter that says how many units are bought; None where there is only one."""
    shared: ClassVar[Mapping[str, str]] = {}
    """Parameters that carry no price and are still the same for all members, each with why."""
    without_effect: ClassVar[str] = "it changes no network"
    """Why the item may change nothing, as it is set or in some cohorts."""
    example: ClassVar[Mapping[str, Any]] = {}
    """Parameters for the shop's example, by their keys in a file; left out: all the defaults."""

    item: str

    @classmethod
    def key(cls) -> str:
        """Return the name that loadouts call the item by."""
        key: str = get_args(cls.model_fields["item"].annotation)[0]
        return key

    @classmethod
    def blurb(cls) -> str:
        """Return the sentence that the shop shows."""
        return _paragraphs(cls)[0]

    @classmethod
    def lesson(cls) -> str:
        """Return what a newcomer should know: paragraphs, with an empty line between two."""
        return "\n\n".join(_paragraphs(cls)[1:])

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Name the fields that tune the item, `item` itself left out."""
        return tuple(name for name in cls.model_fields if name != "item")

    @classmethod
    def tunable(cls) -> tuple[str, ...]:
        """Name the parameters that ensemble members may differ in: those without a price."""
        fixed = {cls.sold_by, *cls.shared}
        return tuple(name for name in cls.parameters() if name not in fixed)

    @property
    def quantity(self) -> int:
        """How many units are bought."""
        return int(getattr(self, self.sold_by)) if self.sold_by else 1

    def tuned(self, changes: dict[str, Any]) -> Self:
        """Return the purchase with other (valid) values of some parameters."""
        return self.model_copy(update=changes)

    def idle(self) -> Mapping[str, str]:
        """Return the parameters that mean nothing as the others are set, each with when it does."""
        return {}

    def wasted_on(self, plan: MemberPlan) -> str | None:
        """Why it changes nothing in a plan that has everything that was bought, or None.

        It is asked where `apply` has an effect; what it says depends on other settings.
        """
        del plan
        return None

    @abstractmethod
    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Return the plan with what was bought written into it.

        No two items write the same field of a plan, so their order does not matter. Only what
        changes the training is written: where an item has no effect, the plan stays equal.
        """


def _paragraphs(item: type[Purchase]) -> list[str]:
    """Return the paragraphs of a class's own docstring, each on one line."""
    text = inspect.cleandoc(item.__doc__ or "")
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def changed(plan: MemberPlan, section: Section, **changes: object) -> MemberPlan:
    """Return the plan with fields of one section changed, and checked against the plan's bounds."""
    part: Plan = getattr(plan, section)
    return plan.model_copy(
        update={section: type(part).model_validate({**part.model_dump(), **changes})}
    )
