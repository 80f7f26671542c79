"""Mixup: every image of a batch is blended with another one, and so are their labels.

In: a batch of images and their labels. Out: blended images and soft labels, for `jobs.losses`.
`jobs.train` draws an epoch's `Mixes` at once and applies a batch's part of them after
`jobs.augment`: what is blended are the augmented images. `mixup` does both for a single batch.

Zhang et al. 2018, mixup: beyond empirical risk minimization, https://arxiv.org/abs/1710.09412.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Mixes:
    """What each of N images, in batches, is blended with."""

    shares: Tensor  # (N,) float32: of the image itself
    partners: Tensor  # (N,) int64: the partner's place in the same batch

    def to(self, device: str | torch.device) -> "Mixes":
        """Return these on a device; the host does not wait for the copies to arrive."""
        if torch.device(device).type == "cpu":
            return self
        shares, partners = self.shares.pin_memory(), self.partners.pin_memory()
        return Mixes(shares.to(device, non_blocking=True), partners.to(device, non_blocking=True))

    def part(self, start: int, stop: int) -> "Mixes":
        """Return the mixes of the batch of images `start` to `stop`, as views."""
        return Mixes(self.shares[start:stop], self.partners[start:stop])


def mixup(
    images: Tensor, labels: Tensor, num_classes: int, alpha: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Blend each image, and its label, with a partner from the same batch.

    An image may be its own partner, and then stays as it is.

    Args:
        images: (B, 3, H, W) float32.
        labels: (B,) int64.
        num_classes: C.
        alpha: of Beta(alpha, alpha); small values seldom blend much.
        generator: numpy's, as torch's Beta distribution takes none.

    Returns:
        images (B, 3, H, W) and soft labels (B, C), rows of which sum to 1.
    """
    mixes = draw_mixes(alpha, len(images), len(images), generator).to(images.device)
    return apply_mixes(images, labels, num_classes, mixes)


def draw_mixes(
    alpha: float, num_images: int, batch_size: int, generator: np.random.Generator
) -> Mixes:
    """Draw the mixes of an epoch of N images in the order in which they come; the last batch of
    `batch_size` may be shorter."""
    shares = generator.beta(alpha, alpha, size=num_images).astype(np.float32)
    sizes = [min(batch_size, num_images - start) for start in range(0, num_images, batch_size)]
    partners = np.concatenate([generator.permutation(size) for size in sizes])
    return Mixes(torch.from_numpy(shares), torch.from_numpy(partners))


def apply_mixes(
    images: Tensor, labels: Tensor, num_classes: int, mixes: Mixes
) -> tuple[Tensor, Tensor]:
    """Blend a batch, labels (B,) int64 included, as `mixup` does, with mixes on its device."""
    one_hot = functional.one_hot(labels, num_classes).float()
    return blend(images, one_hot, mixes.shares, mixes.partners)


def draw(alpha: float, num_images: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw every image's share (B,) float32 in the blend, and its partner's place (B,) int64."""
    mixes = draw_mixes(alpha, num_images, num_images, generator)
    return mixes.shares, mixes.partners


def blend(
    images: Tensor, labels: Tensor, shares: Tensor, partners: Tensor
) -> tuple[Tensor, Tensor]:
    """Return share * x_i + (1 - share) * x_partner for images (B, 3, H, W) and labels (B, C)."""
    return (
        torch.lerp(images.index_select(0, partners), images, shares[:, None, None, None]),
        torch.lerp(labels.index_select(0, partners), labels, shares[:, None]),
    )
