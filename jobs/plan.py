"""The contract between control plane and training side: what one member trains.

In: nothing but values; `orchestrator.admission` makes a `MemberPlan` from a loadout. Out: the plan,
which travels as JSON to a slot, where `jobs.train` reads it. It knows no prices and no teams.

A member's result is a pure function of its plan and of the data that the plan's fingerprint names
(on one instruction set): whatever can change a bit of the result is a field here, and nothing else
is. Pydantic is the only import, so that the command line can reason about plans without torch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["fp32", "bf16"]
Device = Literal["cpu", "cuda"]
Combine = Literal["mean", "vote"]
Probability = Annotated[float, Field(ge=0, le=1)]

BASE_CHANNELS = 32
BASE_POOL = 8


class Plan(BaseModel):
    """An immutable value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataPlan(Plan):
    """Which images, at which size, and who gets which part of them."""

    fingerprint: str = Field(description="SHA-256 over the training images and their classes")
    classes: tuple[str, ...] = Field(min_length=2, description="class names, in label order")
    image_size_px: int = Field(default=64, ge=1, description="images are squares of this side")
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    train_fraction: float = Field(
        default=0.7, gt=0, le=1, description="of what is left after the validation images"
    )
    split_seed: int = Field(default=0, ge=0)


class ModelPlan(Plan):
    """MonkeyNET and what was added to it."""

    turbo_blocks: int = Field(default=0, ge=0, description="further convolution blocks")


class AugmentPlan(Plan):
    """Random changes to training images; every image of a batch draws its own parameters."""

    rotate_degrees: float = Field(default=0, ge=0, le=180, description="uniform in ± this")
    shift_fraction: float = Field(
        default=0, ge=0, le=0.5, description="uniform in ± this, of a side"
    )
    flip_horizontal_p: Probability = 0
    flip_vertical_p: Probability = 0


class OptimizerPlan(Plan):
    """Stochastic gradient descent."""

    learning_rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0, ge=0, lt=1)
    weight_decay: float = Field(default=0, ge=0, description="L2 penalty")


class MemberPlan(Plan):
    """Everything that decides the bits of one trained member."""

    data: DataPlan
    model: ModelPlan = ModelPlan()
    augment: AugmentPlan = AugmentPlan()
    optimizer: OptimizerPlan = OptimizerPlan()
    batch_size: int = Field(default=8, ge=1)
    epochs: int = Field(default=20, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    threads: int = Field(default=1, ge=1, description="torch's intra-op threads")
    precision: Precision = "fp32"
    device: Device = "cpu"


class EpochReport(Plan):
    """What a member says after every epoch. Losses are means per image."""

    epoch: int = Field(ge=1, description="the first epoch is 1")
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    images_per_second: float = Field(description="training images, this epoch, without validation")


def feature_side_px(image_size_px: int, turbo_blocks: int) -> int:
    """Side of the feature maps that the first linear layer sees; 0 where pooling leaves nothing.

    The base network widens by 2 (kernel 3, padding 2) and pools by 8. A boosted one keeps the side
    (kernel 5, padding 2) and halves it in every block, the first one included.
    """
    if turbo_blocks == 0:
        return (image_size_px + 2) // BASE_POOL
    return image_size_px >> (turbo_blocks + 1)
