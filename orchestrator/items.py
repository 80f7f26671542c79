"""The items of the shop that change how one member trains: one class each.

In: the parameters that a loadout gives; out: a changed member plan. To add an item, add a class:
`shop` finds it, and the price list, the JSON Schema, the checks of a loadout and what ensemble
members may differ in follow from it. Prices and defaults are the rule book's.
"""

from typing import Annotated, Literal

from pydantic import Field

from jobs.plan import MemberPlan
from orchestrator.purchase import Purchase, changed

Chance = Annotated[float, Field(ge=0, le=1)]


class InfoInfusion(Purchase):
    """Train on all training images instead of a part of them."""

    title = "Info Infusion"
    also_called = ("Data Potion",)
    price_bnn = 20

    item: Literal["info-infusion"]

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Take every image that is not a validation image."""
        return changed(plan, "data", train_fraction=1.0)


class SpeedBoost(Purchase):
    """Momentum: a step also follows the direction of the steps before it."""

    title = "Speed Boost"

    item: Literal["speed-boost"]
    momentum: float = Field(default=0.9, gt=0, lt=1, description="share of the last step kept")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on the optimizer's momentum."""
        return changed(plan, "optimizer", momentum=self.momentum)


class WeightDecay(Purchase):
    """An L2 penalty keeps the weights small, against overfitting."""

    title = "Weight Decay"
    price_bnn = 20

    item: Literal["weight-decay"]
    penalty: float = Field(default=1e-4, gt=0, le=1, description="weight of the L2 penalty")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on the optimizer's weight decay."""
        return changed(plan, "optimizer", weight_decay=self.penalty)


class WhirlAndSwirl(Purchase):
    """Every training image is rotated by a random angle."""

    title = "Whirl and Swirl"
    price_bnn = 10

    item: Literal["whirl-and-swirl"]
    degrees: float = Field(default=15, gt=0, le=180, description="angles are uniform in ± this")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on random rotations."""
        return changed(plan, "augment", rotate_degrees=self.degrees)


class FlipTrick(Purchase):
    """Training images are mirrored at random, left to right and upside down."""

    title = "Flip Trick"
    price_bnn = 10

    item: Literal["flip-trick"]
    horizontal: Chance = Field(default=0.2, description="chance of a flip left to right")
    vertical: Chance = Field(default=0.2, description="chance of a flip upside down")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on random flips."""
        return changed(
            plan, "augment", flip_horizontal_p=self.horizontal, flip_vertical_p=self.vertical
        )


class TokyoDataDrift(Purchase):
    """Every training image is shifted by a random distance."""

    title = "Need for Shift: Tokyo Data Drift"
    price_bnn = 5

    item: Literal["tokyo-data-drift"]
    shift: float = Field(
        default=0.1, gt=0, le=0.5, description="shifts are uniform in ± this, of each side"
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on random shifts."""
        return changed(plan, "augment", shift_fraction=self.shift)


class NeuralTurboBoost(Purchase):
    """Add further convolution blocks (convolution, ReLU, max pooling) to the network."""

    title = "Neural Turbo Boost"
    price_bnn = 20
    sold_by = "blocks"

    item: Literal["neural-turbo-boost"]
    blocks: int = Field(default=1, ge=1, le=16, description="how many blocks; each has the price")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Deepen the network."""
        return changed(plan, "model", turbo_blocks=self.blocks)
