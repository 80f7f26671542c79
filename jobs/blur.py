"""Gaussian blur of a batch, with a sigma of its own for every image.

In: (B, 3, H, W) float32 and an `AugmentPlan`. Out: a tensor of the same shape. `jobs.augment` calls
this after flip, rotation and shift, and before erasing.

Drawing sigmas and blurring are two functions: tests compare the second, image by image, with
torchvision.
"""

import torch
from torch import Tensor
from torch.nn import functional

from jobs.plan import AugmentPlan

KERNEL_WIDTH, KERNEL_HEIGHT = 5, 9
# The rule book's range, and the side of the photos that it blurs before resizing them.
SIGMA_RANGE_PX = (0.1, 5.0)
RULE_BOOK_SIDE_PX = 500
# Far below this, a tap's distance over sigma would overflow. Neighbours weigh exactly 0 already.
MIN_SIGMA_PX = 1e-3


def draw_sigmas(
    plan: AugmentPlan, num_images: int, side_px: int, generator: torch.Generator
) -> Tensor:
    """Draw every image's sigma (B,) in px, uniform in 0.1 to 5 x strength x side_px / 500."""
    low, high = SIGMA_RANGE_PX
    uniform = torch.rand(num_images, generator=generator, dtype=torch.float32)
    return (low + (high - low) * uniform) * (plan.blur_strength * side_px / RULE_BOOK_SIDE_PX)


def blur(images: Tensor, sigmas_px: Tensor) -> Tensor:
    """Blur each image (B, 3, H, W) with its sigma (B,); borders are mirrored.

    Equals torchvision's `gaussian_blur(image, [5, 9], sigma)`.

    Args:
        images: at least 5 px a side, or there would be too little to mirror.
        sigmas_px: not negative; a tiny one leaves the image as it is.
    """
    return convolve(images, *(kernel.to(images.device) for kernel in half_kernels(sigmas_px)))


def half_kernels(sigmas_px: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `convolve` needs for sigmas (N,): (N, 5, 1, 1, 1) and (N, 3, 1, 1, 1)."""
    down, across = (_half_kernel(sigmas_px, side // 2) for side in (KERNEL_HEIGHT, KERNEL_WIDTH))
    return down, across


def convolve(images: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Blur images (B, 3, H, W) with a column and a row of weights each; borders are mirrored.

    The kernel is a product of a column and a row, and each of them symmetric: a sum over shifted
    views of the whole batch, which on a CPU beats a convolution with as many groups as there are
    channels.

    Args:
        images: at least 5 px a side.
        down: (B, 5, 1, 1, 1), the weights of the column's middle and of the four on either side.
        across: (B, 3, 1, 1, 1), those of the row's.
    """
    _, _, height, width = images.shape
    num_across, num_down = KERNEL_WIDTH // 2, KERNEL_HEIGHT // 2
    padded = functional.pad(images, (num_across, num_across, num_down, num_down), mode="reflect")

    middle, *sides = down.unbind(1)
    columns = padded[:, :, num_down : num_down + height] * middle
    for offset, weight in enumerate(sides, start=1):
        above = padded[:, :, num_down - offset : num_down - offset + height]
        below = padded[:, :, num_down + offset : num_down + offset + height]
        columns.addcmul_(above + below, weight)

    middle, *sides = across.unbind(1)
    blurred = columns[..., num_across : num_across + width] * middle
    for offset, weight in enumerate(sides, start=1):
        left = columns[..., num_across - offset : num_across - offset + width]
        right = columns[..., num_across + offset : num_across + offset + width]
        blurred.addcmul_(left + right, weight)
    return blurred


def _half_kernel(sigmas_px: Tensor, radius: int) -> Tensor:
    """Return the weights (N, radius + 1, 1, 1, 1) of a kernel's middle and of one side."""
    distance = torch.arange(-radius, radius + 1) / sigmas_px.clamp(min=MIN_SIGMA_PX)[:, None]
    kernels = torch.softmax(-0.5 * distance.square(), dim=1)  # (N, 2 * radius + 1)
    return kernels[:, radius:, None, None, None]
