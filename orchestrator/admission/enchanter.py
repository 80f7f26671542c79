"""The item that buys several members, and what may differ between them.

In: the list `members` of a loadout's ensemble-enchanter; out: for one member, its free settings and
its tuned purchases. What members may differ in follows from the classes in `items`: the free
settings, and every parameter that carries no price (but what the whole job shares, as the images'
size). Whether an item is there, and how much of it was bought, is the same for all. Next: `shop`.
"""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model

from jobs.plan import Combine, MemberPlan
from orchestrator.admission.items import SHELVES
from orchestrator.admission.manifest import BatchSize, Epochs, LearningRate, Listed, Model, Seed
from orchestrator.admission.purchase import Purchase

MEMBER_ITEMS: tuple[type[Purchase], ...] = tuple(chain.from_iterable(SHELVES.values()))


def _tuning(purchase: type[Purchase]) -> type[Model]:
    """Make the model of an item's unpriced parameters, each of which may be left out."""
    fields: dict[str, Any] = {}
    for name in purchase.tunable():
        field = purchase.model_fields[name]
        kind: Any = field.annotation
        if field.metadata:
            kind = Annotated[kind, *field.metadata]
        fields[name] = (kind | None, Field(default=None, description=field.description))
    return create_model(f"{purchase.__name__}Tuning", __base__=Model, **fields)


def _member_items() -> type[Model]:
    """Make the model of a member's `items`: one optional key for each item that can be tuned."""
    fields: dict[str, Any] = {
        purchase.key().replace("-", "_"): (
            _tuning(purchase) | None,
            Field(default=None, alias=purchase.key(), description=purchase.blurb()),
        )
        for purchase in MEMBER_ITEMS
        if purchase.tunable()
    }
    return create_model("MemberItems", __base__=Model, **fields)


if TYPE_CHECKING:
    MemberItems = Model
else:
    MemberItems = _member_items()


class Member(Model):
    """What differs in one member of the ensemble; what is left out is as in the spec."""

    learning_rate: LearningRate | None = None
    batch_size: BatchSize | None = None
    epochs: Epochs | None = None
    seed: Seed | None = Field(
        default=None, description="left out: the spec's seed plus the member's index"
    )
    items: MemberItems | None = Field(
        default=None, description="other parameters of items that are bought"
    )

    def tunings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the key and the changed parameters of every item that differs."""
        for name, tuning in self.items or ():
            if tuning is not None:
                yield name.replace("_", "-"), tuning.model_dump(exclude_none=True)


class EnsembleEnchanter(Purchase):
    """Train several members, each with its own settings, and combine what they say.

    Networks that were trained apart make different mistakes. Where two of three see a howler, it
    mostly is one: a group is right more often than its average member, as long as the members do
    not all err alike. So make them differ: other seeds (each has its own anyway), learning rates,
    batch sizes, angles. Whatever else you buy is paid once and works in all of them.

    `mean` averages the probabilities and is hard to beat. `vote` counts heads and makes sense from
    three members on. `stacking` learns on the validation images whom to trust, which helps where
    members differ much in strength, and can be fooled by how few images those are. The price is
    most of a budget. Several weak networks remain weak: make one member learn well first.
    """

    title = "Ensemble Enchanter"
    plain_words = ("ensemble", "stacking", "voting", "several networks")
    price_bnn = 60

    item: Literal["ensemble-enchanter"]
    combine: Combine = Field(
        default="mean",
        description="mean of the members' probabilities; a majority vote (a tie goes by the mean); "
        "or stacking, a linear layer fitted on validation images",
    )
    min_members: int | None = Field(
        default=None,
        ge=1,
        description="how many trained members are enough, should others be lost; all by default",
    )
    members: Listed[Member] = Field(
        min_length=2,
        max_length=100,
        description="what differs in each member",
        examples=[[{}, {"learningRate": 0.05}]],
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Leave the plan of a single member as it is."""
        return plan
