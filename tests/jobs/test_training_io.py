"""The training loop with techniques of another's making, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jobs.errors import DataError, Diverged
from jobs.losses import hard_loss
from jobs.monkeynet import build_model
from jobs.plan import (
    AugmentPlan,
    CustomPlan,
    DistillPlan,
    EpochReport,
    LossPlan,
    ModelPlan,
    TeacherSpec,
)
from jobs.teacher import Teaching
from jobs.train import train_member
from jobs.training_io import (
    EpochTrained,
    MemberRecorder,
    Techniques,
    check_teaching,
    class_weights,
    step_generator,
)
from tests.jobs.attempts import digest, history
from tests.jobs.trainings import Odd, Training, started

MIXED = AugmentPlan(rotate_degrees=15, flip_horizontal_p=0.2, blur_strength=1, mixup_alpha=0.4)
FOCUSED = LossPlan(focus_class="b", focus_weight=5)


# --- techniques ----------------------------------------------------------------------------------


def test_techniques_that_do_the_same_give_the_same_bits(plan, labelled):
    plan = plan.model_copy(
        update={"model": ModelPlan(dropout=0.2), "augment": MIXED, "loss": FOCUSED}
    )
    expected: list[EpochReport] = []
    result = train_member(plan, labelled, expected.append)

    def build(num_classes: int, size_px: int) -> nn.Module:
        return build_model(plan.model, num_classes, size_px)

    def build_loss(weights: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
        assert weights is not None
        assert weights.tolist() == [1, 5, 1]
        return lambda logits, targets: hard_loss(logits, targets, weights)

    training = Training(plan, labelled, Techniques(build, build_loss, lambda images, _: images))
    assert digest(training.run()) == digest(result)
    assert history(training.reports) == history(expected)


@pytest.mark.parametrize(
    "techniques",
    [
        Techniques(build_model=lambda *_: Odd()),
        Techniques(build_loss=lambda _: lambda logits, targets: 2 * hard_loss(logits, targets)),
        Techniques(augment=lambda images, _: images * 0.5),
    ],
    ids=["build_model", "build_loss", "augment"],
)
def test_each_technique_changes_the_result(plan, labelled, techniques):
    result = Training(plan, labelled, techniques).run()
    assert digest(result) != digest(train_member(plan, labelled, lambda _: None))


def test_augment_comes_after_ours_and_before_mixup(plan, labelled):
    """It sees the bought augmentations' results, and mixup what it made of them."""
    seen: list[Tensor] = []

    def keep(images: Tensor, _: torch.Generator) -> Tensor:
        seen.append(images.clone())
        return torch.ones_like(images)

    class Ones(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3))

        def forward(self, images: Tensor) -> Tensor:
            if self.training:
                torch.testing.assert_close(images, torch.ones_like(images))
            return self.bias.expand(len(images), 3)

    mixed = plan.model_copy(update={"augment": MIXED, "epochs": 1})
    Training(mixed, labelled, Techniques(lambda *_: Ones(), None, keep)).run()
    plain = mixed.model_copy(update={"augment": AugmentPlan(mixup_alpha=0.4)})
    augmented, seen = seen, []
    Training(plain, labelled, Techniques(lambda *_: Ones(), None, keep)).run()
    assert len(augmented) == len(seen)
    assert not torch.equal(augmented[0], seen[0])
    assert seen[0].max() <= 1


def test_each_step_has_a_random_stream_of_its_own(plan, labelled):
    """However much a step draws, the next one gets the same; and ours stay as they were."""

    def drawn_by(count: int) -> tuple[list[float], list[Tensor]]:
        firsts: list[float] = []
        batches: list[Tensor] = []

        def draw(images: Tensor, generator: torch.Generator) -> Tensor:
            firsts.append(float(torch.rand(count, generator=generator)[0]))
            batches.append(images)
            return images

        changed = plan.model_copy(update={"augment": MIXED, "epochs": 2})
        Training(changed, labelled, Techniques(augment=draw)).run()
        return firsts, batches

    (few, batches), (many, same) = drawn_by(1), drawn_by(1000)
    assert few == many
    assert len(set(few)) == len(few)
    assert all(torch.equal(one, other) for one, other in zip(batches, same, strict=True))


def test_step_generators_depend_on_seed_and_step():
    firsts = [
        float(torch.rand(1, generator=step_generator(seed, step)))
        for seed, step in ((1, 0), (1, 1), (2, 0), (2**64 - 1, 0), (1, 0))
    ]
    assert firsts[0] == firsts[-1]
    assert len(set(firsts)) == 4


# --- what is refused -----------------------------------------------------------------------------


CUSTOM = CustomPlan(
    file="net.py", source="def augment(images, generator): ...", defines=("augment",)
)


def test_a_plan_with_team_code_is_not_trained_here(plan, labelled):
    custom = plan.model_copy(update={"custom": CUSTOM})
    with pytest.raises(ValueError, match=r"the plan has team code, net\.py"):
        train_member(custom, labelled, lambda _: None)


def test_known_logits_are_not_those_of_images_that_a_team_changes(plan):
    teacher = TeacherSpec(sha256="0" * 64)
    plan = plan.model_copy(update={"distill": DistillPlan(), "custom": CUSTOM})
    logits = np.zeros((5, 3), np.float32)
    with pytest.raises(ValueError, match="must see augmented images itself"):
        check_teaching(plan, Teaching(teacher, b"", logits), 5)
    check_teaching(plan, Teaching(teacher, b""), 5)
    own_loss = CUSTOM.model_copy(update={"defines": ("build_loss",)})
    check_teaching(plan.model_copy(update={"custom": own_loss}), Teaching(teacher, b"", logits), 5)


def test_a_focus_on_no_class_of_the_data():
    with pytest.raises(DataError, match="focused on the class 'z'"):
        class_weights(LossPlan(focus_class="z"), ("a", "b"), "cpu")
    assert class_weights(LossPlan(), ("a", "b"), "cpu") is None


def test_a_judgement_that_is_not_finite_is_neither_kept_nor_reported(plan, tmp_path):
    reports: list[EpochReport] = []
    recorder = MemberRecorder(plan, torch.tensor([0]), reports.append, tmp_path / "0", None)
    trained = EpochTrained(2, 0.5, 0.5, 0.05, 100.0, 1.0)
    with pytest.raises(Diverged) as caught:
        recorder.close_epoch(started(plan), trained, 7, torch.tensor([[float("nan"), 0, 0]]))
    assert caught.value.args == (2, 7, 0.05)
    assert reports == []
    assert not (tmp_path / "0").exists()
