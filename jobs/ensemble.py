"""Members' probabilities combined into one model.

In: member plans, their weights, how to combine and, for stacking, the fitted layer. Out: one module
from images (B, 3, S, S) in [0, 1] to probabilities (B, C), which `torch.export` can write to a
file. Tracking logs it, scoring evaluates it; `jobs.metrics` counts.
"""

from collections.abc import Sequence

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.combining import PROB_FLOOR
from jobs.monkeynet import build_model
from jobs.plan import Combine, MemberPlan


class Stacker(nn.Module):
    """The layer that `jobs.stacking` fits: weight (C, M * C) and bias (C,); float32."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, probs: Tensor) -> Tensor:
        """Map the members' probabilities (M, B, C) to combined ones (B, C)."""
        features = probs.clamp(min=PROB_FLOOR).log().permute(1, 0, 2).flatten(start_dim=1)
        return torch.softmax(functional.linear(features, self.weight, self.bias), dim=1)


class Ensemble(nn.Module):
    """Several members as one model, in evaluation mode.

    A stacker belongs to "stacking" and to nothing else; ValueError otherwise.
    """

    def __init__(
        self, members: Sequence[nn.Module], how: Combine, stacker: Stacker | None = None
    ) -> None:
        super().__init__()
        _check_stacker(how, stacker)
        self.members = nn.ModuleList(members)
        self.how = how
        self.stacker = stacker
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S) in [0, 1] to probabilities (B, C)."""
        probs = torch.stack([torch.softmax(member(images), dim=1) for member in self.members])
        return combine(probs, self.how, self.stacker)


def combine(probs: Tensor, how: Combine, stacker: Stacker | None = None) -> Tensor:
    """Combine the members' probabilities (M, B, C) to (B, C); rows sum to 1.

    "mean" averages. "vote" returns (votes + mean) / (M + 1): the class with the most votes wins,
    and the mean settles ties. The mean cannot overturn a vote: a class that somebody voted for has
    a mean of at least 1 / (M * C), so another's mean is larger by less than 1, which is what one
    vote more is worth. A row sums to (M votes + 1) / (M + 1).

    "stacking" asks the stacker, which was fitted to these members; ValueError where it is missing.
    """
    _check_stacker(how, stacker)
    if stacker is not None:
        combined: Tensor = stacker(probs)
        return combined
    mean = probs.mean(dim=0)
    if how == "mean":
        return mean
    num_members, _, num_classes = probs.shape
    classes = torch.arange(num_classes, device=probs.device)
    votes = (probs.argmax(dim=2, keepdim=True) == classes).to(probs.dtype).sum(dim=0)
    return (votes + mean) / (num_members + 1)


def load_ensemble(
    plans: Sequence[MemberPlan],
    weights: Sequence[bytes],
    how: Combine,
    stacker: Stacker | None = None,
) -> Ensemble:
    """Build the members that these plans describe, with their trained weights (safetensors).

    Raises:
        ValueError: no members, not one weights file a plan, members that differ in image size or
            classes, or "stacking" without the stacker that was fitted to them.
    """
    if not plans or len(plans) != len(weights):
        raise ValueError(
            f"{len(plans)} plans and {len(weights)} weights; an ensemble needs at least one plan "
            "and as many weights"
        )
    inputs = {(plan.data.image_size_px, plan.data.classes) for plan in plans}
    if len(inputs) > 1:
        raise ValueError(
            f"members with different image sizes or classes: {sorted(inputs)}; "
            "members of an ensemble share both"
        )
    members = []
    for plan, state in zip(plans, weights, strict=True):
        with torch.device("meta"):  # no initial weights: they would be drawn only to be replaced
            member = build_model(plan.model, len(plan.data.classes), plan.data.image_size_px)
        member.load_state_dict(safetensors.torch.load(state), assign=True)
        members.append(member)
    return Ensemble(members, how, stacker)


def _check_stacker(how: Combine, stacker: Stacker | None) -> None:
    if (how == "stacking") != (stacker is not None):
        raise ValueError(
            f"members combined by {how!r} {'with' if stacker is not None else 'without'} a "
            'stacker; "stacking" needs the one that was fitted to them, nothing else takes one'
        )
