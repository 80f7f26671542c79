"""A batch of images -> the same batch, each image changed with random parameters of its own.

In: (B, 3, H, W) float32 in [0, 1] and an `AugmentPlan`. Out: a tensor of the same shape. Flip,
rotation and shift, in this order, are one affine map and one interpolation: an image loses less
sharpness, and a batch less time, than in three steps. `jobs.blur` and `jobs.erase` follow.

`jobs.train` draws a whole epoch's `Changes` at once, on the CPU, and applies its part of them to
every batch: generators and tiny tensors cost more than the images of a small batch, and a GPU gets
an epoch's parameters in one go and never waits. `augment` does both for a single batch.
`jobs.mixup`, which needs labels, is next.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from jobs.blur import convolve, draw_sigmas, half_kernels
from jobs.erase import blacken, draw_rectangles, outside
from jobs.plan import AugmentPlan

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Drawn:
    """The flips, rotations and shifts of N images, one of each per image."""

    flip_horizontal: Tensor  # (N,) bool
    flip_vertical: Tensor  # (N,) bool
    angle_degrees: Tensor  # (N,) float32, clockwise
    shift_x_px: Tensor  # (N,) float32, whole numbers, to the right
    shift_y_px: Tensor  # (N,) float32, whole numbers, down


@dataclass(frozen=True)
class Changes:
    """What happens to each of N images, ready to be applied; all float32, None: nothing of it."""

    flips: Pair | None = None  # horizontal, vertical: (N, 1, 1, 1) each, 1 where flipped, else 0
    grid: Pair | None = None  # rows (N, 2, H, 1), columns (N, 2, 1, W), see `grid_lines`
    kernels: Pair | None = None  # down (N, 5, 1, 1, 1), across (N, 3, 1, 1, 1)
    erased: Pair | None = None  # rows (N, 1, H, 1), columns (N, 1, 1, W), 0 inside, else 1
    whole_px: bool = False  # the grid meets pixels and nothing between them

    def to(self, device: str | torch.device) -> "Changes":
        """Return these on a device; the host does not wait for the copies to arrive."""
        if torch.device(device).type == "cpu":
            return self
        # A view with gaps would be copied by way of memory that is not pinned.
        return self._each(
            lambda tensor: tensor.contiguous().pin_memory().to(device, non_blocking=True)
        )

    def part(self, start: int, stop: int) -> "Changes":
        """Return the changes of images `start` to `stop`, as views."""
        return self._each(lambda tensor: tensor[start:stop])

    def at(self, rows: Tensor) -> "Changes":
        """Return the changes of the images at these rows (n,) int64, as copies."""
        return self._each(lambda tensor: tensor.index_select(0, rows))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Changes":
        pairs = (self.flips, self.grid, self.kernels, self.erased)
        flips, grid, kernels, erased = (
            None if pair is None else (change(pair[0]), change(pair[1])) for pair in pairs
        )
        return Changes(flips, grid, kernels, erased, self.whole_px)


def augment(images: Tensor, plan: AugmentPlan, generator: torch.Generator) -> Tensor:
    """Change a batch as the plan says; with nothing to do here, return the batch itself.

    Args:
        images: (B, 3, H, W) float32 in [0, 1].
        plan: probabilities and ranges; 0 turns an augmentation off.
        generator: on the CPU, so that every device sees the same parameters.
    """
    num_images, _, height_px, width_px = images.shape
    changes = draw_changes(plan, num_images, height_px, width_px, generator)
    return apply_changes(images, changes.to(images.device))


def draw_changes(
    plan: AugmentPlan, num_images: int, height_px: int, width_px: int, generator: torch.Generator
) -> Changes:
    """Draw all parameters of a batch, or of an epoch's images in the order in which they come.

    Each augmentation's parameters stay as they are, here and in all later calls, when another one
    is added or left out. With nothing to do, nothing is drawn.

    Args:
        plan: probabilities and ranges; 0 turns an augmentation off.
        num_images: N.
        height_px: of every image.
        width_px: of every image.
        generator: on the CPU, so that every device sees the same parameters.
    """
    warps = plan.rotate_degrees > 0 or plan.shift_fraction > 0
    flips = plan.flip_horizontal_p > 0 or plan.flip_vertical_p > 0
    blurs, erases = plan.blur_strength > 0, plan.erase_p > 0
    if not (warps or flips or blurs or erases):
        return Changes()

    # Looked up ahead, without using them up, the first random bits seed the streams of blur and
    # erasing: however much these draw, the generator goes on in the same place.
    blur_seed, erase_seed = torch.randint(2**63 - 1, (2,), generator=generator.clone_state())
    drawn = draw(plan, num_images, height_px, width_px, generator)
    flipped = _as_shares(drawn) if flips and not warps else None
    grid = grid_lines(drawn, height_px, width_px) if warps else None
    kernels = erased = None
    if blurs:
        blurring = torch.Generator().manual_seed(int(blur_seed))
        kernels = half_kernels(draw_sigmas(plan, num_images, width_px, blurring))
    if erases:
        erasing = torch.Generator().manual_seed(int(erase_seed))
        rectangles = draw_rectangles(plan, num_images, height_px, width_px, erasing)
        erased = outside(rectangles, height_px, width_px)
    return Changes(flipped, grid, kernels, erased, whole_px=plan.rotate_degrees == 0)


def apply_changes(images: Tensor, changes: Changes) -> Tensor:
    """Change images (B, 3, H, W); with nothing to do, return the batch itself.

    Nothing here depends on values, so that a host that queues work for a GPU never waits for it.
    The result is in C order, which is what a CPU interpolates fastest.

    Args:
        images: float32 in [0, 1]; they stay as they are.
        changes: one for each image, on the images' device.
    """
    given = images
    if changes.flips:
        images = _flip(images, *changes.flips)
    if changes.grid:
        images = _sample(images, *changes.grid, "nearest" if changes.whole_px else "bilinear")
    if changes.kernels:
        images = convolve(images, *changes.kernels)
    if changes.erased:
        images = blacken(images, *changes.erased, images is not given)
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
    return _flip(images, *(share.to(images.device) for share in _as_shares(drawn)))


def warp(images: Tensor, drawn: Drawn) -> Tensor:
    """Flip, rotate about the centre, then shift (B, 3, H, W); bilinear, black where nothing is.

    Equals torchvision's `affine(angle, translate)` of the flipped image.
    """
    rows, columns = grid_lines(drawn, images.shape[2], images.shape[3])
    return _sample(images, rows.to(images.device), columns.to(images.device), "bilinear")


def grid_lines(drawn: Drawn, height_px: int, width_px: int) -> Pair:
    """Return rows (N, 2, H, 1) and columns (N, 2, 1, W) of a grid to sample images at.

    A spatial transformer's grid (Jaderberg et al. 2015, https://arxiv.org/abs/1506.02025) has for
    every output pixel the place in the input, so its matrix is the inverse F R^T (out - shift) of
    the change. As the map is affine, that place is the sum of what the pixel's row and its column
    say: a few hundred numbers an image instead of a product of matrices for every pixel.
    """
    angle = drawn.angle_degrees * (math.pi / 180)
    cos, sin = torch.cos(angle), torch.sin(angle)
    sign_x = 1 - 2 * drawn.flip_horizontal.to(torch.float32)
    sign_y = 1 - 2 * drawn.flip_vertical.to(torch.float32)
    # grid_sample's coordinates run from -1 to 1 along each side, whatever its length.
    shift_x, shift_y = drawn.shift_x_px * (2 / width_px), drawn.shift_y_px * (2 / height_px)
    xx, xy = sign_x * cos, sign_x * sin * (height_px / width_px)
    yx, yy = -sign_y * sin * (width_px / height_px), sign_y * cos
    offset = torch.stack([xx * shift_x + xy * shift_y, yx * shift_x + yy * shift_y], dim=1)
    of_x, of_y = torch.stack([xx, yx], dim=1), torch.stack([xy, yy], dim=1)
    rows = of_y[:, :, None] * _centres(height_px)
    columns = of_x[:, :, None] * _centres(width_px) - offset[:, :, None]
    return rows[:, :, :, None], columns[:, :, None, :]


def _centres(side_px: int) -> Tensor:
    """Return where each of a side's pixels has its centre, (side,) from -1 to 1."""
    return (2 * torch.arange(side_px, dtype=torch.float32) + 1) / side_px - 1


def _sample(images: Tensor, rows: Tensor, columns: Tensor, mode: str) -> Tensor:
    """Take images (B, 3, H, W) at a grid given by its lines; black outside of them."""
    # All x, then all y: a pixel's two side by side would take ten times as long to add.
    grid = (rows + columns).permute(0, 2, 3, 1)  # (B, H, W, 2)
    return functional.grid_sample(
        images, grid, mode=mode, padding_mode="zeros", align_corners=False
    )


def _as_shares(drawn: Drawn) -> Pair:
    """Return horizontal and vertical flips as (N, 1, 1, 1) float32: 1 where flipped, else 0."""
    horizontal, vertical = drawn.flip_horizontal.float(), drawn.flip_vertical.float()
    return horizontal[:, None, None, None], vertical[:, None, None, None]


def _flip(images: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
    # With a share of 0 or 1, lerp returns exactly one of its ends, and in a fifth of where's time.
    images = torch.lerp(images, images.flip(3), horizontal)
    return images.lerp_(images.flip(2), vertical)
