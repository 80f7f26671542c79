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

    Equals torchvision's `gaussian_blur(image, [5, 9], sigma)`. The kernel is a product of a column
    and a row, and each of them symmetric: a sum over shifted views of the whole batch, which on a
    CPU beats a convolution with as many groups as there are channels.

    Args:
        images: at least 5 px a side, or there would be too little to mirror.
        sigmas_px: not negative; a tiny one leaves the image as it is.
    """
    _, _, height, width = images.shape
    across, down = KERNEL_WIDTH // 2, KERNEL_HEIGHT // 2
    padded = functional.pad(images, (across, across, down, down), mode="reflect")

    weights = _half_kernels(sigmas_px, down).to(images.device)  # (9 // 2 + 1, B, 1, 1, 1)
    columns = padded[:, :, down : down + height] * weights[0]
    for offset in range(1, down + 1):
        above = padded[:, :, down - offset : down - offset + height]
        below = padded[:, :, down + offset : down + offset + height]
        columns.addcmul_(above + below, weights[offset])

    weights = _half_kernels(sigmas_px, across).to(images.device)
    blurred = columns[..., across : across + width] * weights[0]
    for offset in range(1, across + 1):
        left = columns[..., across - offset : across - offset + width]
        right = columns[..., across + offset : across + offset + width]
        blurred.addcmul_(left + right, weights[offset])
    return blurred


def _half_kernels(sigmas_px: Tensor, radius: int) -> Tensor:
    """Return the weights (radius + 1, B, 1, 1, 1) of a kernel's middle and of one side."""
    distance = torch.arange(-radius, radius + 1) / sigmas_px.clamp(min=MIN_SIGMA_PX)[:, None]
    kernels = torch.softmax(-0.5 * distance.square(), dim=1)  # (B, 2 * radius + 1)
    return kernels[:, radius:].T[:, :, None, None, None]
