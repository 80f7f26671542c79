"""Mixup: every image of a batch is blended with another one, and so are their labels.

In: a batch of images and their labels. Out: blended images and soft labels, for `jobs.losses`.
`jobs.train` calls this after `jobs.augment`: what is blended are the augmented images.

Zhang et al. 2018, mixup: beyond empirical risk minimization, https://arxiv.org/abs/1710.09412.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


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
    shares, partners = draw(alpha, len(images), generator)
    return blend(images, functional.one_hot(labels, num_classes).float(), shares, partners)


def draw(alpha: float, num_images: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw every image's share (B,) float32 in the blend, and its partner's place (B,) int64."""
    shares = generator.beta(alpha, alpha, size=num_images).astype(np.float32)
    return torch.from_numpy(shares), torch.from_numpy(generator.permutation(num_images))


def blend(
    images: Tensor, labels: Tensor, shares: Tensor, partners: Tensor
) -> tuple[Tensor, Tensor]:
    """Return share * x_i + (1 - share) * x_partner for images (B, 3, H, W) and labels (B, C)."""
    shares, partners = shares.to(images.device), partners.to(images.device)
    of_images, of_labels = shares[:, None, None, None], shares[:, None]
    return (
        of_images * images + (1 - of_images) * images[partners],
        of_labels * labels + (1 - of_labels) * labels[partners],
    )
