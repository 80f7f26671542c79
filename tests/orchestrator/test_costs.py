"""Predicted costs against measured trainings, the real networks and torchvision's own figures."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from jobs.evaluation import EVAL_BATCH
from jobs.monkeynet import build_model
from jobs.plan import (
    AugmentPlan,
    DataPlan,
    DistillPlan,
    MemberPlan,
    ModelPlan,
    OptimizerPlan,
    TeacherSpec,
)
from jobs.split import split_images
from orchestrator.forecasting.architectures import architecture
from orchestrator.forecasting.costs import (
    SLOT_BYTES,
    VALIDATED_AT_ONCE,
    image_bytes,
    kind,
    memory_bytes,
    num_images,
    work,
)
from orchestrator.forecasting.network_sizes import network, tiled

CLASSES = ("n0", "n1")


def plan(
    side: int = 64,
    turbo: int = 0,
    batch: int = 8,
    *,
    attention: bool = False,
    dropout: float = 0.0,
    epochs: int = 1,
    teacher: tuple[str, int] | None = None,
    threads: int = 1,
    momentum: float = 0.0,
    **augment: Any,
) -> MemberPlan:
    spec = (
        TeacherSpec(sha256="", architecture=teacher[0], image_size_px=teacher[1])
        if teacher
        else None
    )
    return MemberPlan(
        data=DataPlan(fingerprint="", classes=CLASSES, image_size_px=side, train_fraction=1),
        model=ModelPlan(turbo_blocks=turbo, attention=attention, dropout=dropout),
        augment=AugmentPlan(**augment),
        optimizer=OptimizerPlan(momentum=momentum),
        distill=DistillPlan(teacher=spec) if spec else None,
        batch_size=batch,
        epochs=epochs,
        threads=threads,
    )


MEASURED: list[tuple[MemberPlan, int, float]] = [
    (plan(32, batch=4), 200, 43),
    (plan(32, turbo=2), 132, 189),
    (plan(48), 200, 39),
    (plan(), 200, 56),
    (plan(batch=32), 200, 58),
    (plan(96), 177, 121),
    (plan(224, batch=4), 32, 101),
    (plan(turbo=1), 66, 155),
    (plan(turbo=2, batch=32), 80, 254),
    (plan(128, turbo=2), 20, 248),
    (plan(attention=True), 160, 262),
    (plan(turbo=1, batch=32, attention=True), 160, 462),
    (plan(dropout=0.3), 160, 46),
    (plan(rotate_degrees=20, shift_fraction=0.1, flip_horizontal_p=0.5), 160, 55),
    (plan(blur_strength=1), 160, 55),
    (plan(mixup_alpha=0.2), 160, 53),
    (plan(teacher=("resnet18", 64)), 200, 57),
    (plan(teacher=("resnet18", 128), flip_horizontal_p=0.5), 48, 520),
    (plan(batch=32, teacher=("mobilenet_v2", 128), flip_horizontal_p=0.5), 42, 215),
    (plan(teacher=("resnet50", 128), flip_horizontal_p=0.5), 42, 1138),
]
"""A plan, training and validation images together, and milliseconds of CPU time for an epoch: the
fastest of some on one core of an AMD EPYC, torch 2.15.0."""


@pytest.mark.parametrize(("measured_plan", "num_images", "milliseconds"), MEASURED)
def test_work_is_what_was_measured(
    measured_plan: MemberPlan, num_images: int, milliseconds: float
) -> None:
    assert work(measured_plan, num_images) * 1000 == pytest.approx(milliseconds, rel=0.25)


def test_work_grows_with_everything_that_takes_time() -> None:
    base = work(plan(), 1000)
    assert work(plan(epochs=3), 1000) == pytest.approx(3 * base)
    dearer = [
        plan(side=96), plan(turbo=1), plan(batch=4), plan(attention=True), plan(dropout=0.3),
        plan(rotate_degrees=10), plan(shift_fraction=0.1), plan(flip_horizontal_p=0.5),
        plan(flip_vertical_p=0.5), plan(blur_strength=1), plan(erase_p=0.5), plan(mixup_alpha=0.2),
        plan(teacher=("resnet18", 64)),
    ]  # fmt: skip
    assert all(work(each, 1000) > base for each in dearer)
    assert work(plan(), 2000) > 1.9 * base
    assert work(plan(threads=2), 1000) < base


def test_flips_are_free_where_images_are_warped_anyway() -> None:
    warped = plan(rotate_degrees=10)
    assert work(plan(rotate_degrees=10, flip_horizontal_p=0.5), 1000) == work(warped, 1000)


def test_a_teacher_costs_most_where_it_must_look_itself() -> None:
    known = work(plan(teacher=("resnet18", 64)), 1000)
    assert work(plan(teacher=("vgg16", 224)), 1000) == known
    live = [
        work(plan(teacher=(name, side), flip_horizontal_p=0.5), 1000)
        for name, side in (("resnet18", 64), ("resnet50", 64), ("resnet50", 224))
    ]
    assert known < live[0] / 3
    assert live == sorted(live)


def test_a_teacher_that_is_not_known_yet_is_the_usual_one() -> None:
    unknown = plan(flip_horizontal_p=0.5).model_copy(update={"distill": DistillPlan()})
    usual = plan(teacher=("resnet18", 64), flip_horizontal_p=0.5)
    for cost in (work, memory_bytes):
        assert cost(unknown, 1000) == cost(usual, 1000)
    assert kind(unknown) == kind(usual)


def test_tensors_that_are_paged_in_anew_cost_more_an_image() -> None:
    # 96 px: the feature maps of 32 images stay within 64 MiB, those of 64 do not.
    assert work(plan(96, batch=64), 1000) > 1.05 * work(plan(96, batch=32), 1000)


def test_a_boost_costs_more_where_transforms_do_not_pay() -> None:
    # Four tiles each: seven images are too few of them, and bfloat16 is computed the direct way.
    few, enough = plan(32, turbo=1, batch=7), plan(32, turbo=1, batch=8)
    assert not tiled(few, 7)
    assert [layer.channels for layer in tiled(enough, 8)] == [32]
    assert not tiled(enough.model_copy(update={"precision": "bf16"}), 8)
    assert memory_bytes(few, 1000) < memory_bytes(enough, 1000) - 20 * (1 << 20)


@pytest.mark.parametrize("side", [32, 64, 100])
@pytest.mark.parametrize("turbo", [0, 1, 2])
def test_the_networks_sizes_are_those_of_the_real_one(side: int, turbo: int) -> None:
    real = build_model(ModelPlan(turbo_blocks=turbo), len(CLASSES), side)
    outputs: list[int] = []
    macs: list[int] = []

    def see(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        outputs.append(output.numel())
        macs.append(output.numel() * layer.weight[0].numel())

    for layer in real.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(see)
    real(torch.zeros(1, 3, side, side))
    sizes = network(plan(side, turbo))
    assert sizes.outputs == tuple(outputs)
    assert [layer.macs for layer in sizes.deep] == macs[1:]
    num_parameters = sum(weights.numel() for weights in real.parameters())
    assert sizes.num_parameters == pytest.approx(num_parameters, rel=0.02)


def test_as_many_images_are_validated_at_once_as_is_foretold() -> None:
    assert VALIDATED_AT_ONCE == EVAL_BATCH


def test_the_number_of_images_is_that_of_the_split() -> None:
    data = DataPlan(fingerprint="", classes=CLASSES, train_fraction=0.7)
    split = split_images(np.arange(250) % 2, np.arange(250), data)
    num_train, num_validation = num_images(MemberPlan(data=data), 250)
    assert num_train == pytest.approx(len(split.train), abs=2)
    assert num_validation == pytest.approx(len(split.validation), abs=2)


@pytest.mark.parametrize("name", models.list_models(module=models))
def test_architectures_are_torchvisions(name: str) -> None:
    size = architecture(name)
    smallest = []
    for weights in models.get_model_weights(name):
        crop = np.ravel(weights.transforms().crop_size)[0]
        smallest.append(weights.meta["_ops"] * 1e6 / crop**2)
    num_parameters = min(w.meta["num_params"] for w in models.get_model_weights(name))
    assert size.kilo_macs == pytest.approx(min(smallest), rel=0.01)
    assert size.mega_parameters == pytest.approx(num_parameters / 1e6, rel=0.01)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "resnet34"])
def test_activations_are_what_the_layers_put_out(name: str) -> None:
    side, num_outputs = 64, 0

    def see(_layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal num_outputs
        num_outputs += output.numel()

    with torch.device("meta"):
        net = models.get_model(name, weights=None)
        for layer in net.eval().modules():
            if isinstance(layer, nn.Conv2d):
                layer.register_forward_hook(see)
        net(torch.zeros(1, 3, side, side))
    assert architecture(name).activations == pytest.approx(num_outputs / side**2, rel=0.05)


def test_an_architecture_that_is_not_known_counts_as_a_middling_one() -> None:
    assert architecture("resnet18_of_next_year") == architecture("resnet50")


def test_a_kind_names_what_decides_the_speed() -> None:
    assert kind(plan()) == "64px"
    assert kind(plan(turbo=1, attention=True, erase_p=0.5)) == "64px turbo1 attention augmented"
    assert kind(plan(48, dropout=0.2, mixup_alpha=1, threads=2)) == "48px dropout mixup 2threads"
    assert kind(plan(teacher=("resnet18", 64))) == "64px distilled"
    live = plan(teacher=("resnet50", 128), mixup_alpha=1)
    assert kind(live) == "64px mixup distilled resnet50 128px"
    assert kind(plan(batch=32, epochs=9)) == kind(plan())


MEASURED_MB: list[tuple[MemberPlan, int]] = [
    (plan(), 60),
    (plan(batch=128), 285),
    (plan(turbo=2, batch=32), 156),
    (plan(128, turbo=1, batch=32), 439),
    (plan(96, turbo=2, batch=64), 469),
    (plan(96, batch=256), 1049),
    (plan(224), 227),
    (plan(224, batch=32), 728),
    (plan(128, batch=128, attention=True), 1376),
    (plan(turbo=4, momentum=0.9), 337),
    (plan(turbo=5, batch=4, momentum=0.9), 820),
]
"""How much a process grew by training a plan on a few images more than a batch."""
FIRST_USE_BYTES = 35e6
"""Of that growth, what any first training adds: a warm slot has it already."""


@pytest.mark.parametrize(("measured_plan", "growth_mb"), MEASURED_MB)
def test_memory_is_what_was_measured(measured_plan: MemberPlan, growth_mb: int) -> None:
    num_images = max(40, measured_plan.batch_size * 5 // 4 + 10)
    measured = SLOT_BYTES - FIRST_USE_BYTES + growth_mb * 1e6
    assert memory_bytes(measured_plan, num_images) == pytest.approx(measured, rel=0.15)


@pytest.mark.parametrize("other", [{"precision": "bf16"}, {"device": "cuda"}])
def test_transforms_are_counted_where_they_are_computed(other: dict[str, str]) -> None:
    boosted, base = plan(turbo=1), plan()
    assert memory_bytes(boosted.model_copy(update=other), 1000) < memory_bytes(boosted, 1000)
    assert memory_bytes(base.model_copy(update=other), 1000) == memory_bytes(base, 1000)


def test_memory_grows_with_everything_that_takes_room() -> None:
    base = memory_bytes(plan(), 1000)
    larger = [
        plan(96), plan(turbo=1), plan(batch=32), plan(attention=True), plan(dropout=0.3),
        plan(teacher=("resnet18", 64), flip_horizontal_p=0.5),
    ]  # fmt: skip
    assert all(memory_bytes(each, 1000) > base for each in larger)
    assert memory_bytes(plan(epochs=9), 1000) == base
    # Of the images, only the copy of those to validate on.
    assert memory_bytes(plan(), 2000) - base == image_bytes(64, 200)
