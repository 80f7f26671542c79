"""The contract between control plane and training side: what one member trains.

In: nothing but values; `orchestrator.admission.member_plans` makes a `MemberPlan` from a loadout.
Out: the plan, which travels as JSON to a slot, where `jobs.train` reads it. It knows no prices and
no teams.

A member's result is a pure function of its plan and of the data that the plan's fingerprint names
(on one instruction set): whatever can change a bit of the result is a field here, and nothing else
is. Pydantic is the only import, so that the command line can reason about plans without torch.
"""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["fp32", "bf16"]
Device = Literal["cpu", "cuda"]
Combine = Literal["mean", "vote", "stacking"]
Schedule = Literal["constant", "cosine", "step", "one-cycle", "plateau"]
Normalize = Literal["none", "imagenet"]
TeamFunction = Literal["build_model", "build_loss", "augment"]
Isolation = Literal["bubblewrap", "process"]
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
    dropout: float = Field(default=0, ge=0, lt=1, description="rate of both kinds of dropout")
    attention: bool = Field(default=False, description="spatial attention after the last block")


class AugmentPlan(Plan):
    """Random changes to training images; every image of a batch draws its own parameters."""

    rotate_degrees: float = Field(default=0, ge=0, le=180, description="uniform in ± this")
    shift_fraction: float = Field(
        default=0, ge=0, le=0.5, description="uniform in ± this, of a side"
    )
    flip_horizontal_p: Probability = 0
    flip_vertical_p: Probability = 0
    blur_strength: float = Field(
        default=0, ge=0, le=8, description="1: sigma is uniform in 0.1 to 5 px of a 500 px side"
    )
    erase_p: Probability = 0
    erase_max_area: float = Field(
        default=0.2, ge=0.02, le=0.25, description="a rectangle's area is uniform in 0.02 to this"
    )
    mixup_alpha: float = Field(default=0, ge=0, description="of Beta(alpha, alpha); 0: no mixup")


class OptimizerPlan(Plan):
    """Stochastic gradient descent."""

    learning_rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0, ge=0, lt=1)
    weight_decay: float = Field(default=0, ge=0, description="L2 penalty")


class SchedulePlan(Plan):
    """How the learning rate changes: decay ** epochs done x the schedule's factor."""

    decay: float = Field(default=1, gt=0, le=1, description="factor of every epoch")
    kind: Schedule = "constant"
    factor: float = Field(
        default=0.5, gt=0, lt=1, description="step and plateau: what the rate is multiplied by"
    )
    every_epochs: int = Field(default=5, ge=1, description="step: epochs between two drops")
    patience_epochs: int = Field(
        default=3, ge=0, description="plateau: epochs without a lower validation loss put up with"
    )
    warmup: float = Field(
        default=0.3, gt=0, lt=1, description="one-cycle: share of the training in which it rises"
    )


class LossPlan(Plan):
    """Cross-entropy, with one class that may count more than the others."""

    focus_class: str | None = Field(default=None, description="a class name of the data")
    focus_weight: float = Field(default=1, gt=0, description="how often that class counts")


class TeacherSpec(Plan):
    """Which trained network a student learns from; everything of it that can change a bit."""

    sha256: str = Field(description="of the file with the state dict")
    architecture: str = Field(default="resnet18", description="a torchvision classifier")
    image_size_px: int = Field(default=64, ge=8, description="images are resized to this side")
    normalize: Normalize = Field(default="none", description="what is done to pixels in [0, 1]")


class DistillPlan(Plan):
    """A teacher's softened outputs, beside the labels."""

    temperature: float = Field(default=3, gt=0)
    alpha: float = Field(default=0.5, ge=0, lt=1, description="share of the labels' loss")
    teacher: TeacherSpec | None = Field(
        default=None, description="None until the data, and with it the teacher, is known"
    )


class CustomPlan(Plan):
    """A team's own Python file, which nothing outside a sandbox ever imports; see `jobs.custom`."""

    file: str = Field(description="its name, for messages")
    source: str = Field(description="its text")
    defines: tuple[TeamFunction, ...] = Field(min_length=1, description="what it replaces or adds")

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.source.encode()).hexdigest()


class SandboxRules(Plan):
    """How team code is kept apart and what it may use; decides no bit of a result."""

    isolation: Isolation = Field(
        default="bubblewrap", description="`process`: a plain child, which protects from nothing"
    )
    wall_seconds: float = Field(default=3600, gt=0, description="of one attempt")
    cpu_seconds: float = Field(default=7200, gt=0, description="of each of its processes")
    memory_mib: int = Field(
        default=4096, ge=512, description="of all its processes, and a sandbox's temporary files"
    )
    processes: int = Field(default=64, ge=8, description="processes and threads at a time")
    open_files: int = Field(default=256, ge=32, description="of each of its processes")
    temporary_mib: int = Field(default=256, ge=1, description="of its temporary folder")
    output_mib: int = Field(default=16, ge=1, description="of what it prints")

    @property
    def state_mib(self) -> int:
        """The most that weights and momentum of a team's network take: they come out at once."""
        return min(self.memory_mib // 4, 256)


class MemberPlan(Plan):
    """Everything that decides the bits of one trained member."""

    data: DataPlan
    model: ModelPlan = ModelPlan()
    augment: AugmentPlan = AugmentPlan()
    optimizer: OptimizerPlan = OptimizerPlan()
    schedule: SchedulePlan = SchedulePlan()
    loss: LossPlan = LossPlan()
    distill: DistillPlan | None = None
    custom: CustomPlan | None = None
    batch_size: int = Field(default=8, ge=1)
    epochs: int = Field(default=20, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)
    threads: int = Field(default=1, ge=1, description="torch's intra-op threads")
    precision: Precision = "fp32"
    device: Device = "cpu"
    workers: int = Field(
        default=1, ge=1, description="processes that share every batch; each sums in its own order"
    )

    @property
    def augmented(self) -> bool:
        """Whether images are changed before the network sees them, so that no two epochs agree."""
        own = self.custom is not None and "augment" in self.custom.defines
        return own or self.augment != AugmentPlan()

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON values; without what it does not use, as before there was any."""
        unused = {"custom": self.custom is None, "workers": self.workers == 1}
        return self.model_dump(
            mode="json", exclude={name for name, is_so in unused.items() if is_so}
        )


class TeacherPlan(Plan):
    """Everything that decides the bits of a trained teacher: a torchvision classifier."""

    data: DataPlan
    architecture: str = Field(default="resnet18", description="a torchvision classifier")
    normalize: Normalize = "none"
    initial_sha256: str = Field(
        default="", description="of the weights that it starts from; empty: drawn from the seed"
    )
    augment: AugmentPlan = AugmentPlan(rotate_degrees=15, shift_fraction=0.1, flip_horizontal_p=0.5)
    learning_rate: float = Field(default=0.05, gt=0, description="the highest of its one cycle")
    batch_size: int = Field(default=32, ge=2, description="batch normalization needs two")
    epochs: int = Field(default=40, ge=1)
    patience_epochs: int = Field(
        default=10, ge=1, description="it stops after so many epochs without a better one"
    )
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
    seconds: float = Field(
        description="of wall clock for the whole epoch: training, validation and the previous "
        "epoch's checkpoint"
    )


def feature_side_px(image_size_px: int, turbo_blocks: int) -> int:
    """Side of the feature maps that the first linear layer sees; 0 where pooling leaves nothing.

    The base network widens by 2 (kernel 3, padding 2) and pools by 8. A boosted one keeps the side
    (kernel 5, padding 2) and halves it in every block, the first one included.
    """
    if turbo_blocks == 0:
        return (image_size_px + 2) // BASE_POOL
    return image_size_px >> (turbo_blocks + 1)
