"""What members see: training images as they are and as augmentation changes them, side by side.

In: the members' plans and the training part of the data. Out: rows of tiles for
`jobs.contact_sheet`: one row an image, one image of each class. Splitting, augmentation and mixup
are the functions that `jobs.train` calls, with the plan's own parameters. The random numbers are
not those of any epoch: each column is a batch of its own, of the images of all rows, and what it
shows might be drawn in training. Used by `gamectl preview`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs.augment import augment
from jobs.contact_sheet import Tile
from jobs.images import LabelledImages
from jobs.mixup import mixup
from jobs.plan import AugmentPlan, MemberPlan
from jobs.split import split_images

UNCHANGED = "unchanged"
MIN_SIDE_PX, MAX_SIDE_PX = 128, 256
MIN_SHARE = 0.005
"""A smaller share in a mix would be written as 0."""


@dataclass(frozen=True)
class Preview:
    """Rows of tiles; `titles` has each row's class."""

    rows: tuple[tuple[Tile, ...], ...]
    titles: tuple[str, ...]


def preview(
    plans: Sequence[MemberPlan], data: LabelledImages, num_draws: int, seed: int = 0
) -> Preview:
    """Show one training image of each class, untouched and then changed.

    Members with equal augmentation share their columns. All groups of columns start from the same
    random numbers: two members that differ in nothing but an angle turn the same image the same
    way, one further than the other.

    Args:
        plans: of the members of one job, which all have the same data.
        data: the training part, (N, 3, S, S) at the plans' image size.
        num_draws: changed images in a row, for each different augmentation.
        seed: chooses images and draws.

    Raises:
        DataError: the images cannot be divided as the plan says.
    """
    classes = plans[0].data.classes
    train = split_images(data.labels, data.groups, plans[0].data).train
    chooser = np.random.default_rng(seed)
    indices = np.array(
        [chooser.choice(train[data.labels[train] == label]) for label in range(len(classes))]
    )
    images = torch.from_numpy(data.images[indices]).float().div_(255)
    labels = torch.from_numpy(data.labels[indices])

    columns = [_tiles(images, ["untouched"] * len(images))]
    groups = _groups([plan.augment for plan in plans])
    for plan, members in groups.items():
        for batch, mixes in _batches(images, labels, classes, plan, num_draws, seed):
            who = _named(members, short=plan.mixup_alpha > 0) if len(groups) > 1 else ""
            if plan == AugmentPlan():
                who = f"{who}: {UNCHANGED}" if who else UNCHANGED
            columns.append(_tiles(batch, [who + mix for mix in mixes]))
    return Preview(tuple(zip(*columns, strict=True)), classes)


def side_px(image_size_px: int) -> int:
    """The side to show images at: large enough to see, and a whole multiple where enlarged."""
    enlarged = image_size_px * -(-MIN_SIDE_PX // image_size_px)
    return min(enlarged, MAX_SIDE_PX)


def _groups(plans: Sequence[AugmentPlan]) -> dict[AugmentPlan, list[int]]:
    """Each different augmentation, with the indices of the members that have it."""
    members: dict[AugmentPlan, list[int]] = {}
    for index, plan in enumerate(plans):
        members.setdefault(plan, []).append(index)
    return members


def _named(members: Sequence[int], short: bool) -> str:
    numbers = ", ".join(map(str, members))
    if short:  # a mix follows
        return f"m{numbers}: "
    return f"member {numbers}" if len(members) == 1 else f"members {numbers}"


def _batches(
    images: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    plan: AugmentPlan,
    num_batches: int,
    seed: int,
) -> Iterator[tuple[Tensor, list[str]]]:
    """Yield the images (B, 3, S, S), changed anew, and what each is a mix of, if mixed at all."""
    augmenting = torch.Generator().manual_seed(seed)
    mixing = np.random.default_rng(seed)
    for _ in range(num_batches):
        batch, mixes = augment(images, plan, augmenting), [""] * len(images)
        if plan.mixup_alpha > 0:
            batch, soft = mixup(batch, labels, len(classes), plan.mixup_alpha, mixing)
            mixes = [_mix(soft[i], int(labels[i]), classes) for i in range(len(images))]
        yield batch, mixes


def _mix(soft_label: Tensor, own: int, classes: Sequence[str]) -> str:
    """The classes of a mix with their shares, the row's own class first: `n3 .7 + n1 .3`."""
    order = sorted(range(len(classes)), key=lambda label: label != own)
    shares = [(classes[label], float(soft_label[label])) for label in order]
    shares = [(name, share) for name, share in shares if share >= MIN_SHARE]
    if len(shares) == 1:
        return shares[0][0]
    return " + ".join(f"{name} {f'{share:.2f}'.lstrip('0')}" for name, share in shares)


def _tiles(images: Tensor, captions: Sequence[str]) -> list[Tile]:
    """(B, 3, S, S) in [0, 1] -> tiles of (S, S, 3) uint8."""
    pixels = images.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [Tile(image, caption) for image, caption in zip(pixels, captions, strict=True)]
