"""Random erasing: a black rectangle in some of a batch's images.

In: (B, 3, H, W) float32 and an `AugmentPlan`. Out: a tensor of the same shape. `jobs.augment` calls
this last, so that nothing blurs or moves a rectangle's edges.

Zhong et al. 2017, https://arxiv.org/abs/1708.04896, with the parameters of torchvision's
`RandomErasing`, but drawn for each image of a batch.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from jobs.plan import AugmentPlan

MIN_AREA = 0.02
ASPECT_RANGE = (0.3, 3.3)  # height / width


@dataclass(frozen=True)
class Rectangles:
    """The rectangles of N images, one per image, in whole px."""

    erased: Tensor  # (N,) bool: whether the image gets its rectangle
    top: Tensor  # (N,) int64
    left: Tensor  # (N,) int64
    height: Tensor  # (N,) int64
    width: Tensor  # (N,) int64


def draw_rectangles(
    plan: AugmentPlan, num_images: int, height_px: int, width_px: int, generator: torch.Generator
) -> Rectangles:
    """Draw every image's rectangle: area uniform, aspect ratio log-uniform, place uniform.

    A rectangle of a quarter of a square is less than the whole side long, whatever its aspect
    ratio, so none needs to be drawn again. Only in tiny images rounding has to be kept in bounds.
    """
    uniform = torch.rand(5, num_images, generator=generator, dtype=torch.float32)
    area = (MIN_AREA + (plan.erase_max_area - MIN_AREA) * uniform[1]) * (height_px * width_px)
    low, high = (math.log(ratio) for ratio in ASPECT_RANGE)
    aspect = torch.exp(low + (high - low) * uniform[2])
    height = (area * aspect).sqrt().round().long().clamp(1, height_px - 1)
    width = (area / aspect).sqrt().round().long().clamp(1, width_px - 1)
    return Rectangles(
        erased=uniform[0] < plan.erase_p,
        top=_place(uniform[3], height_px - height),
        left=_place(uniform[4], width_px - width),
        height=height,
        width=width,
    )


def erase(images: Tensor, rectangles: Rectangles) -> Tensor:
    """Set each image's rectangle to 0; images are (B, 3, H, W) and finite."""
    rows, columns = outside(rectangles, images.shape[2], images.shape[3])
    return blacken(images, rows.to(images.device), columns.to(images.device))


def outside(rectangles: Rectangles, height_px: int, width_px: int) -> tuple[Tensor, Tensor]:
    """Return which rows (N, 1, H, 1) and columns (N, 1, 1, W) are clear of an image's rectangle.

    1 where they are, else 0, in float32; an image that is not erased has no other rows.
    """
    rows = _between(rectangles.top, rectangles.height, height_px) & rectangles.erased[:, None]
    columns = _between(rectangles.left, rectangles.width, width_px)
    return (~rows).float()[:, None, :, None], (~columns).float()[:, None, None, :]


def blacken(images: Tensor, rows: Tensor, columns: Tensor, in_place: bool = False) -> Tensor:
    """Set finite images (B, 3, H, W) to 0 where `outside` says 0 of both the row and the column."""
    # A product: on a CPU, filling by a mask takes five times as long.
    keep = torch.maximum(rows, columns)  # (B, 1, H, W)
    return images.mul_(keep) if in_place else images * keep


def _place(uniform: Tensor, last: Tensor) -> Tensor:
    """Return whole numbers (B,) from 0 to `last`, all equally likely, for `uniform` in [0, 1)."""
    # A product close to its upper end may round up to it.
    return (uniform * (last + 1)).long().minimum(last)


def _between(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return (B, size) bool: which places lie in [start, start + length)."""
    places = torch.arange(size)
    return (places >= start[:, None]) & (places < (start + length)[:, None])
