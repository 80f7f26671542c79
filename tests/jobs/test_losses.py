import math

import pytest
import torch
from torch.nn import functional

from jobs.losses import distillation_loss, hard_loss


def _logits(seed: int = 0, num_images: int = 6, num_classes: int = 4) -> torch.Tensor:
    return torch.randn(num_images, num_classes, generator=torch.Generator().manual_seed(seed)) * 2


LABELS = torch.tensor([0, 1, 2, 3, 1, 1])
WEIGHTS = torch.tensor([1.0, 5.0, 1.0, 0.5])


# --- labels --------------------------------------------------------------------------------------


def test_labels_without_weights_give_torchs_bits():
    assert torch.equal(hard_loss(_logits(), LABELS), functional.cross_entropy(_logits(), LABELS))


@pytest.mark.parametrize("as_targets", [lambda y: y, lambda y: functional.one_hot(y, 4).float()])
def test_hard_labels_with_weights_equal_torchs(as_targets):
    expected = functional.cross_entropy(_logits(), LABELS, weight=WEIGHTS)
    torch.testing.assert_close(hard_loss(_logits(), as_targets(LABELS), WEIGHTS), expected)


@pytest.mark.parametrize("weights", [None, torch.ones(4)])
def test_soft_labels_without_weights_equal_torchs(weights):
    soft = torch.softmax(_logits(1), dim=1)
    expected = functional.cross_entropy(_logits(), soft)
    torch.testing.assert_close(hard_loss(_logits(), soft, weights), expected)


def test_weighted_soft_labels_by_hand():
    # p = (1/4, 3/4) for the first image and (1/2, 1/2) for the second; class 1 counts 3 times.
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    soft = torch.tensor([[0.6, 0.4], [0.0, 1.0]])
    # sum of w y (-log p): 1 * 0.6 * ln 4 + 3 * 0.4 * ln(4/3) + 3 * 1 * ln 2
    #                    = 0.83177662 + 0.34521849 + 2.07944154 = 3.25643665
    # sum of w y: 0.6 + 3 * 0.4 + 3 * 1 = 4.8
    loss = hard_loss(logits, soft, torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx(3.25643665 / 4.8, rel=1e-6)


def test_twice_the_weights_are_the_same_loss():
    soft = torch.softmax(_logits(1), dim=1)
    torch.testing.assert_close(
        hard_loss(_logits(), soft, 2 * WEIGHTS), hard_loss(_logits(), soft, WEIGHTS)
    )


# --- distillation --------------------------------------------------------------------------------


def test_distillation_by_hand():
    # T = 2. Softened, the teacher says (3/4, 1/4): its logits are 2 ln 3 and 0.
    # The student says (1/2, 1/2).
    teacher, student = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    # KL = 3/4 ln((3/4) / (1/2)) + 1/4 ln((1/4) / (1/2)) = 3/4 ln 3/2 - 1/4 ln 2
    #    = 0.30409883 - 0.17328680 = 0.13081204
    # loss = 0.5 * 0.7 + 0.5 * 2^2 * 0.13081204 = 0.35 + 0.26162407
    loss = distillation_loss(student, teacher, torch.tensor(0.7), temperature=2, alpha=0.5)
    assert loss.item() == pytest.approx(0.61162407, rel=1e-6)

    # A second image on which both agree adds nothing, and halves the mean over the batch.
    loss = distillation_loss(
        torch.cat([student, torch.ones(1, 2)]), torch.cat([teacher, torch.zeros(1, 2)]),
        torch.tensor(0.7), temperature=2, alpha=0.5,
    )  # fmt: skip
    assert loss.item() == pytest.approx(0.35 + 0.26162407 / 2, rel=1e-6)


def test_the_divergence_is_no_mean_over_classes():
    teacher, student = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    nowhere = torch.full((1, 6), -1e4)  # classes that neither believes in
    zero = torch.tensor(0.0)
    torch.testing.assert_close(
        distillation_loss(
            torch.cat([student, nowhere], dim=1), torch.cat([teacher, nowhere], dim=1), zero, 2, 0.5
        ),
        distillation_loss(student, teacher, zero, 2, 0.5),
    )


def test_alpha_of_one_is_the_labels_loss_alone():
    hard = hard_loss(_logits(), LABELS)
    assert torch.equal(distillation_loss(_logits(), _logits(1), hard, 3, alpha=1), hard)


def test_a_student_that_agrees_has_no_soft_loss_whatever_the_offset():
    loss = distillation_loss(_logits(), _logits() + 7, torch.tensor(0.0), 3, alpha=0)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    worse = distillation_loss(_logits(), _logits(1), torch.tensor(0.0), 3, alpha=0)
    assert worse > 0.1


def test_the_gradient_is_the_difference_of_the_softened_outputs():
    """d/dz of T^2 KL is T (q - p) / B: from Hinton's equation 2, times T^2."""
    student = _logits().requires_grad_()
    distillation_loss(student, _logits(1), torch.tensor(0.0), 4, alpha=0).backward()
    softened = torch.softmax(student.detach() / 4, dim=1) - torch.softmax(_logits(1) / 4, dim=1)
    torch.testing.assert_close(student.grad, 4 * softened / 6)


def test_the_gradients_scale_hardly_depends_on_the_temperature():
    norms = []
    for temperature in (20, 40, 80, 160):
        student = _logits().requires_grad_()
        zero = torch.tensor(0.0)
        distillation_loss(student, _logits(1), zero, temperature, alpha=0).backward()
        norms.append(student.grad.norm().item())
    assert max(norms) < 1.05 * min(norms)


def test_no_gradient_flows_into_the_teachers_weights_when_there_is_none():
    student, teacher = _logits().requires_grad_(), _logits(1)
    distillation_loss(student, teacher, hard_loss(student, LABELS), 3, 0.5).backward()
    assert student.grad is not None
    assert teacher.grad is None
