"""A batch of images -> the same batch, each image changed with random parameters of its own.

In: (B, 3, H, W) float32 in [0, 1] and an `AugmentPlan`. Out: a tensor of the same shape. Flip,
rotation and shift, in this order, are one affine map and one interpolation: an image loses less
sharpness, and a batch less time, than in three steps. `jobs.blur` and `jobs.erase` follow.
`jobs.train` calls this for every batch; `jobs.mixup`, which needs labels, is next.

Drawing parameters and applying them are two functions: tests compare the second, image by image,
with torchvision.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from jobs.blur import blur, draw_sigmas
from jobs.erase import draw_rectangles, erase
from jobs.plan import AugmentPlan


@dataclass(frozen=True)
class Drawn:
    """One batch's flips, rotations and shifts, one of each per image."""

    flip_horizontal: Tensor  # (B,) bool
    flip_vertical: Tensor  # (B,) bool
    angle_degrees: Tensor  # (B,) float32, clockwise
    shift_x_px: Tensor  # (B,) float32, whole numbers, to the right
    shift_y_px: Tensor  # (B,) float32, whole numbers, down


def augment(images: Tensor, plan: AugmentPlan, generator: torch.Generator) -> Tensor:
    """Change a batch as the plan says; with nothing to do here, return the batch itself.

    Each augmentation's parameters stay as they are, in this batch and in all later ones, when
    another one is added or left out.

    Args:
        images: (B, 3, H, W) float32 in [0, 1].
        plan: probabilities and ranges; 0 turns an augmentation off.
        generator: on the CPU, so that every device sees the same parameters.
    """
    warps = plan.rotate_degrees > 0 or plan.shift_fraction > 0
    flips = plan.flip_horizontal_p > 0 or plan.flip_vertical_p > 0
    blurs, erases = plan.blur_strength > 0, plan.erase_p > 0
    if not (warps or flips or blurs or erases):
        return images
    num_images, _, height_px, width_px = images.shape

    # Looked up ahead, without using them up, the batch's first random bits seed the streams of blur
    # and erasing: however much these draw, the generator goes on in the same place.
    blur_seed, erase_seed = torch.randint(2**63 - 1, (2,), generator=generator.clone_state())
    drawn = draw(plan, num_images, height_px, width_px, generator)
    if warps:
        images = warp(images, drawn)
    elif flips:
        images = flip(images, drawn)
    if blurs:
        blurring = torch.Generator().manual_seed(int(blur_seed))
        images = blur(images, draw_sigmas(plan, num_images, width_px, blurring))
    if erases:
        erasing = torch.Generator().manual_seed(int(erase_seed))
        images = erase(images, draw_rectangles(plan, num_images, height_px, width_px, erasing))
    return images


def draw(
    plan: AugmentPlan, num_images: int, height_px: int, width_px: int, generator: torch.Generator
) -> Drawn:
    """Draw every image's parameters; what the plan turns off comes out as False or 0.

    Each image always uses five random numbers, so that an added augmentation leaves the others'
    parameters as they were.
    """
    uniform = torch.rand(5, num_images, generator=generator, dtype=torch.float32)
    shift = (2 * uniform[3:] - 1) * plan.shift_fraction  # of a side
    return Drawn(
        flip_horizontal=uniform[0] < plan.flip_horizontal_p,
        flip_vertical=uniform[1] < plan.flip_vertical_p,
        angle_degrees=(2 * uniform[2] - 1) * plan.rotate_degrees,
        # Whole pixels, as torchvision's RandomAffine: a shift alone must not blur.
        shift_x_px=(shift[0] * width_px).round(),
        shift_y_px=(shift[1] * height_px).round(),
    )


def flip(images: Tensor, drawn: Drawn) -> Tensor:
    """Flip images (B, 3, H, W) without interpolating: every pixel keeps its exact value."""
    horizontal = drawn.flip_horizontal.to(images.device)[:, None, None, None]
    vertical = drawn.flip_vertical.to(images.device)[:, None, None, None]
    images = torch.where(horizontal, images.flip(3), images)
    return torch.where(vertical, images.flip(2), images)


def warp(images: Tensor, drawn: Drawn) -> Tensor:
    """Flip, rotate about the centre, then shift (B, 3, H, W); bilinear, black where nothing is.

    Equals torchvision's `affine(angle, translate)` of the flipped image. A spatial transformer's
    grid does it (Jaderberg et al. 2015, https://arxiv.org/abs/1506.02025): for every output pixel
    the place in the input, so the matrix is the inverse F R^T (out - shift) of the change.
    """
    _, _, height, width = images.shape
    angle = drawn.angle_degrees * (math.pi / 180)
    cos, sin = torch.cos(angle), torch.sin(angle)
    sign_x = 1 - 2 * drawn.flip_horizontal.to(torch.float32)
    sign_y = 1 - 2 * drawn.flip_vertical.to(torch.float32)
    # grid_sample's coordinates run from -1 to 1 along each side, whatever its length.
    shift_x, shift_y = drawn.shift_x_px * (2 / width), drawn.shift_y_px * (2 / height)
    xx, xy = sign_x * cos, sign_x * sin * (height / width)
    yx, yy = -sign_y * sin * (width / height), sign_y * cos
    to_input = torch.stack(
        [
            torch.stack([xx, xy, -(xx * shift_x + xy * shift_y)], dim=1),
            torch.stack([yx, yy, -(yx * shift_x + yy * shift_y)], dim=1),
        ],
        dim=1,
    ).to(images.device)  # (B, 2, 3)
    grid = functional.affine_grid(to_input, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
