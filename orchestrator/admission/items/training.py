"""Items that change the optimizer and its learning rate.

In: a loadout's parameters; out: the plan's `optimizer` and `schedule` sections. Next: `losses`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from jobs.plan import MemberPlan
from orchestrator.admission.purchase import Purchase, changed


class SpeedBoost(Purchase):
    """Momentum: a step also follows the direction of the steps before it.

    Picture a ball that rolls downhill instead of a walker who stops after every step. Where the
    steps agree, the ball gains speed; where they zigzag, it evens them out. At 0.9 the steps in a
    constant direction become up to ten times as long.

    In a game of 20 epochs that is a great deal: the base network is far from done when time runs
    out, and momentum takes it further in the same time. But it multiplies the learning rate. What
    was bold before now overshoots, and a loss that jumps around or becomes `nan` is the sign of it.
    Lower the learning rate then, or the momentum to 0.8.
    """

    title = "Speed Boost"
    plain_words = ("momentum",)

    item: Literal["speed-boost"]
    momentum: float = Field(default=0.9, gt=0, lt=1, description="share of the last step kept")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on the optimizer's momentum."""
        return changed(plan, "optimizer", momentum=self.momentum)


class WeightDecay(Purchase):
    """An L2 penalty keeps the weights small, against overfitting.

    Every step also shrinks each weight a little, so only weights that keep proving useful stay
    large. A network with small weights draws smoother borders between species and depends less on
    the odd pixel.

    The effect is the penalty times the learning rate times the number of steps. With the defaults,
    0.01 and some 1,500 steps, a penalty of 0.0001 shrinks an unused weight by 0.15 % in all: you
    will hardly see it. Try 0.001 to 0.01, more with a higher learning rate or more epochs. Too
    much, and the network forgets as fast as it learns. Buy it when the training accuracy runs far
    ahead of the validation accuracy.
    """

    title = "Weight Decay"
    plain_words = ("L2 penalty", "regularization", "L2")
    price_bnn = 20

    item: Literal["weight-decay"]
    penalty: float = Field(default=1e-4, ge=1e-6, le=1, description="weight of the L2 penalty")

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Switch on the optimizer's weight decay."""
        return changed(plan, "optimizer", weight_decay=self.penalty)


class LearningRateDecay(Purchase):
    """The learning rate shrinks by the same factor after every epoch.

    Large steps find the right region quickly, small steps settle in it. A member's result is its
    last epoch, so it should not end in the middle of a leap: with a falling rate the last epochs
    polish instead of wander.

    With 0.95 the rate of the twentieth epoch is 38 % of the first, with 0.9 it is 14 %. Start
    higher than you would without, at twice the rate or more. A factor that is too small brings the
    network to a halt while it still has much to learn. With the cosine, step and plateau schedules
    of rate-rollercoaster the two factors multiply. One-cycle prescribes the whole course, and is
    refused beside this item.
    """

    title = "Learning rate decay"
    plain_words = ("exponential decay",)
    price_bnn = 5

    item: Literal["learning-rate-decay"]
    factor: float = Field(
        default=0.95, gt=0, lt=1, description="what the rate is multiplied by after every epoch"
    )

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Let the learning rate shrink from epoch to epoch."""
        return changed(plan, "schedule", decay=self.factor)

    def wasted_on(self, plan: MemberPlan) -> str | None:
        """The rate shrinks between epochs."""
        return "there is only one epoch" if plan.epochs == 1 else None


class RateRollercoaster(Purchase):
    """A schedule changes the learning rate while the network trains.

    Four rides. `cosine` glides from your learning rate to zero along half a wave: nothing to tune,
    a good first choice. `step` multiplies it by `factor` every few epochs. `plateau` does so when
    the validation loss has not fallen for more than `retrying` epochs. `one-cycle` climbs to your
    learning rate during `warmup`, a share of the training, and falls to almost nothing.

    All of them end slowly, which suits a game where the last epoch counts. So start faster: two to
    five times the usual rate, most of all for one-cycle. At the usual 0.01 the base network is
    short of steps already, and a schedule only takes more from it. With learning-rate-decay the
    rates multiply; one-cycle is refused beside it.
    """

    title = "Rate Rollercoaster"
    also_called = ("Speed Dial",)
    plain_words = (
        "learning rate scheduler", "scheduler", "learning rate schedule", "schedule", "cosine",
        "one-cycle", "plateau",
    )  # fmt: skip
    price_bnn = 10
    example: ClassVar[Mapping[str, Any]] = {"schedule": "step", "factor": 0.5, "every": 5}

    item: Literal["rate-rollercoaster"]
    schedule: Literal["cosine", "step", "one-cycle", "plateau"] = Field(
        default="cosine", description="how the learning rate changes"
    )
    factor: float = Field(
        default=0.5, gt=0, lt=1, description="step and plateau: what the rate is multiplied by"
    )
    every: int = Field(default=5, ge=1, le=10_000, description="step: epochs between two drops")
    patience: int = Field(
        default=3, ge=0, le=10_000, description="plateau: epochs without progress put up with"
    )
    warmup: float = Field(
        default=0.3, gt=0, lt=1, description="one-cycle: share of the training in which it rises"
    )

    FIELDS: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "factor": ("factor", ("step", "plateau")),
        "every": ("every_epochs", ("step",)),
        "patience": ("patience_epochs", ("plateau",)),
        "warmup": ("warmup", ("one-cycle",)),
    }
    """A parameter's field in the plan, and the schedules that it is for."""

    def idle(self) -> Mapping[str, str]:
        """Return the parameters of the other schedules."""
        return {
            name: f"it is for schedule {' or '.join(schedules)}, and this one is {self.schedule}"
            for name, (_, schedules) in self.FIELDS.items()
            if self.schedule not in schedules
        }

    def apply(self, plan: MemberPlan) -> MemberPlan:
        """Set the schedule, and of its parameters those that it has."""
        chosen = {
            field: getattr(self, name)
            for name, (field, schedules) in self.FIELDS.items()
            if self.schedule in schedules
        }
        return changed(plan, "schedule", kind=self.schedule, **chosen)

    def wasted_on(self, plan: MemberPlan) -> str | None:
        """A drop has to come while something is left to train."""
        if self.schedule == "step" and self.every >= plan.epochs:
            return f"the first drop would follow epoch {self.every}, and there are {plan.epochs}"
        # The first epoch cannot be bad, and the one after the drop is the first to differ.
        soonest = self.patience + 2
        if self.schedule == "plateau" and soonest >= plan.epochs:
            return (
                f"no drop can come before the end of epoch {soonest}, and there are {plan.epochs}"
            )
        return None
