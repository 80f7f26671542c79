"""What training minimizes: cross-entropy on labels, and distillation around it.

In: logits, labels (hard or soft) and, for distillation, a teacher's logits. Out: a scalar. Called
by `jobs.train` for every batch, in float32 whatever the precision of the network. Of an epoch's
losses, here is judged whether they are numbers.
"""

import torch
from torch import Tensor
from torch.nn import functional

from jobs.errors import Diverged


def hard_loss(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the cross-entropy with the labels, a mean over the batch.

    With weights it is the weighted mean, sum_ic w_c y_ic (-log p_ic) / sum_ic w_c y_ic.
    For one-hot labels this is torch's own weighted mean. For soft labels torch would divide by the
    number of images instead, so that a batch with more of a heavy class took larger steps.

    Args:
        logits: (B, C).
        targets: (B,) int64, or soft labels (B, C) float with rows that sum to 1.
        class_weights: (C,), positive; None: all 1.
    """
    if class_weights is None or targets.ndim == 1:
        return functional.cross_entropy(logits, targets, weight=class_weights)
    weighted = targets * class_weights
    return -(weighted * functional.log_softmax(logits, dim=1)).sum() / weighted.sum()


def distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, hard: Tensor, temperature: float, alpha: float
) -> Tensor:
    """Return alpha * hard + (1 - alpha) * T^2 * KL(teacher || student), both softened by T.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531. T^2 keeps the gradient's scale about the
    same for every temperature. The divergence is a mean over the batch only, not over classes.

    Args:
        student_logits: (B, C).
        teacher_logits: (B, C), without gradient.
        hard: the labels' loss, a scalar.
        temperature: above 1, the less likely classes count more.
        alpha: share of the labels' loss, 0 to 1.
    """
    divergence = functional.kl_div(
        torch.log_softmax(student_logits / temperature, dim=1),
        torch.log_softmax(teacher_logits / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return alpha * hard + (1 - alpha) * temperature**2 * divergence


def check_finite(losses: Tensor, val_loss: Tensor, epoch: int, learning_rate: float) -> None:
    """Raise Diverged for an epoch's first infinite or undefined loss.

    The validation loss tells of the last step: no later training loss does.
    """
    broken = torch.nonzero(~torch.isfinite(torch.cat([losses, val_loss[None]])))
    if len(broken):
        raise Diverged(epoch, min(int(broken[0]) + 1, len(losses)), learning_rate)
