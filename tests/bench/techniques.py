"""Every technique on a GPU: the same bits again, also after a stop, and no wait between batches.

In: a device that has kernels of its own for each of them. Out: a row for each technique with how
often the host waited in an epoch's batches, or with what went wrong. Part of `gpu`; the plans are
also those that `tests.jobs.test_gpu` holds against a pretended GPU.
"""

import hashlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from jobs.errors import Stopped
from jobs.images import LabelledImages
from jobs.plan import (
    AugmentPlan,
    DataPlan,
    Device,
    DistillPlan,
    EpochReport,
    LossPlan,
    MemberPlan,
    ModelPlan,
    OptimizerPlan,
    TeacherPlan,
    TeacherSpec,
)
from jobs.reproducible import reproducible
from jobs.teacher import build_classifier
from jobs.teacher_training import train_teacher
from jobs.train import train_member
from jobs.values import Teaching
from tests.bench.rows import Row, at_most, skipped

EPOCHS = 2
EVERY_AUGMENTATION = AugmentPlan(
    flip_horizontal_p=0.5,
    flip_vertical_p=0.5,
    rotate_degrees=15,
    shift_fraction=0.1,
    blur_strength=1,
    erase_p=0.5,
)
MIXED = AugmentPlan(mixup_alpha=0.4)
EVERYTHING = EVERY_AUGMENTATION.model_copy(update={"mixup_alpha": 0.4})
Report = Callable[[EpochReport], None]
Asked = Callable[[], bool]
Train = Callable[[Report, Asked, Path | None], bytes]
"""A training: what it reports to, what it asks, and where its checkpoint is; returns weights."""
WAIT = "synchronizing CUDA operation"
"""What torch warns of in its sync debug mode; it sees no copy to or from pageable memory."""


class DifferentBits(Exception):
    """The same plan has given other weights."""


def techniques(first_class: str) -> Mapping[str, Mapping[str, Any]]:
    """What differs from the base member's plan, by the technique."""
    focus = LossPlan(focus_class=first_class, focus_weight=3)
    return {
        "none": {},
        "momentum, weight decay": {"optimizer": OptimizerPlan(momentum=0.9, weight_decay=1e-4)},
        "flips": {"augment": AugmentPlan(flip_horizontal_p=0.5)},
        "every augmentation": {"augment": EVERY_AUGMENTATION},
        "mixup": {"augment": MIXED},
        "turbo boost, dropout, attention": {
            "model": ModelPlan(turbo_blocks=1, dropout=0.2, attention=True)
        },
        "focus": {"loss": focus},
        "focus and mixup": {"loss": focus, "augment": MIXED},
        "a teacher's known answers": {"distill": DistillPlan()},
        "a teacher that is asked": {"distill": DistillPlan(), "augment": EVERYTHING},
    }


def a_teacher(num_classes: int, size_px: int, architecture: str) -> Teaching:
    """A teacher that was not trained; its answers are not known yet."""
    with reproducible(1, "cpu", seed=0):
        network = build_classifier(architecture, num_classes)
    spec = TeacherSpec(
        sha256="s", architecture=architecture, image_size_px=size_px, normalize="imagenet"
    )
    return Teaching(spec, safetensors.torch.save(network.state_dict()))


def taught(plan: MemberPlan, teacher: Teaching, num_images: int) -> Teaching | None:
    """What a member is given of a teacher: nothing, answers that are made up, or its weights."""
    if plan.distill is None:
        return None
    if plan.augmented:
        return teacher
    answers = np.random.default_rng(0).normal(size=(num_images, len(plan.data.classes)))
    return Teaching(teacher.spec, teacher.weights, answers.astype(np.float32))


def rows(
    data: DataPlan, images: LabelledImages, device: Device, failed: list[str]
) -> Iterator[Row]:
    """A row for each technique, and for a teacher's own training; `failed` gets what went wrong."""
    size_px = data.image_size_px
    teacher = a_teacher(len(data.classes), size_px, "resnet18")
    changes = {**techniques(data.classes[0]), "bfloat16": {"precision": "bf16"}}
    for name, changed in changes.items():
        plan = MemberPlan(data=data, epochs=EPOCHS, device=device).model_copy(update=changed)
        given = taught(plan, teacher, len(images.labels))

        def train(
            report: Report,
            asked: Asked,
            checkpoint: Path | None,
            plan: MemberPlan = plan,
            given: Teaching | None = given,
        ) -> bytes:
            return train_member(plan, images, report, asked, given, checkpoint).weights

        yield _row(name, train, failed)
    of_teacher = TeacherPlan(data=data, epochs=EPOCHS, normalize="imagenet", device=device)

    def train_a_teacher(report: Report, asked: Asked, _: Path | None) -> bytes:
        return train_teacher(of_teacher, images, None, report, asked).weights

    yield _row("a teacher's training", train_a_teacher, failed)


def _row(name: str, train: Train, failed: list[str]) -> Row:
    what = f"waits in an epoch's batches, {name}"
    try:
        same_bits_after_a_stop(name, train)
        waits = waits_in(lambda report, asked: train(report, asked, None))
    except Exception as error:
        failed.append(f"{name}: {error}")
        return skipped(what, str(error))
    return at_most(what, waits, "waits", 0.0, note="the same bits twice")


def same_bits_after_a_stop(name: str, train: Train) -> None:
    """Trains at one go, and again with a stop after the first epoch.

    What keeps no checkpoint begins anew. Raises `DifferentBits`.
    """

    def stop(_: EpochReport) -> None:
        raise Stopped

    def go_on() -> bool:
        return False

    whole = train(lambda _: None, go_on, None)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        checkpoint = Path(folder) / "checkpoint"
        with suppress(Stopped):
            train(stop, go_on, checkpoint)
        resumed = train(lambda _: None, go_on, checkpoint)
    if _digest(resumed) != _digest(whole):
        raise DifferentBits(f"{name}, stopped after an epoch and resumed")


class Between:
    """What a counter says before the second epoch's first batch, and before its last one."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self.counts: list[int] = []
        self.epochs = 0

    def before_batch(self) -> bool:
        """To be asked before every batch."""
        if self.epochs == 1:
            self.counts.append(self._count())
        return False

    def report(self, _: EpochReport) -> None:
        """To be called after every epoch."""
        self.epochs += 1


def waits_in(train: Callable[[Report, Asked], object]) -> int:
    """How often the host waits for the GPU between the second epoch's first and last batch.

    CUDA's sync debug mode warns at every wait, and `should_stop` is asked before every batch.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        between = Between(lambda: sum(WAIT in str(each.message) for each in caught))

        def before_batch() -> bool:
            if between.epochs == 1:
                torch.cuda.set_sync_debug_mode("warn")
            return between.before_batch()

        def report(epoch: EpochReport) -> None:
            torch.cuda.set_sync_debug_mode("default")
            between.report(epoch)

        try:
            train(report, before_batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return between.counts[-1] - between.counts[0]


def _digest(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()
