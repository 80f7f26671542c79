"""A worker's part of an epoch: together the parts are the epoch, image by image."""

import numpy as np
import pytest
import torch

from jobs.augment import apply_changes, draw_changes
from jobs.epoch_plan import EpochPlan
from jobs.losses import hard_loss
from jobs.mixup import apply_mixes, draw_mixes
from jobs.plan import AugmentPlan

NUM_IMAGES, BATCH, SIDE = 23, 5, 8
CHANGED = AugmentPlan(rotate_degrees=20, flip_vertical_p=0.5, blur_strength=2, erase_p=0.5)


def whole_epoch_plan(mixed: bool) -> EpochPlan:
    """23 images in batches of 5, the last one of 3; each is its own row, in another order."""
    changes = draw_changes(CHANGED, NUM_IMAGES, SIDE, SIDE, torch.Generator().manual_seed(1))
    generator = np.random.default_rng(2)
    mixes = draw_mixes(0.4, NUM_IMAGES, BATCH, generator) if mixed else None
    return EpochPlan.whole(generator.permutation(NUM_IMAGES), changes, mixes, BATCH)


def seen(
    epoch_plan: EpochPlan, images: torch.Tensor, labels: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What the network sees of each batch, and the labels; without what only serves blending."""
    batches = []
    for batch in epoch_plan.batches:
        rows = torch.from_numpy(epoch_plan.order[batch.start : batch.end])
        shown = apply_changes(images[rows], epoch_plan.changes.part(batch.start, batch.end))
        targets = labels[rows]
        if epoch_plan.mixes is not None:
            mix = epoch_plan.mixes.part(batch.start, batch.end)
            shown, targets = apply_mixes(shown, targets, 3, mix)
        num_own = batch.stop - batch.start
        batches.append((shown[:num_own], targets[:num_own]))
    return batches


@pytest.mark.parametrize("num_workers", [2, 3, 4])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("focused", [False, True])
def test_the_parts_of_a_batch_are_the_batch(num_workers: int, mixed: bool, focused: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(NUM_IMAGES, 3, SIDE, SIDE, generator=generator)
    labels = torch.randint(3, (NUM_IMAGES,), generator=generator)
    weights = torch.tensor([1.0, 5.0, 1.0]) if focused else None
    epoch_plan = whole_epoch_plan(mixed)
    counts = None if weights is None else weights[labels[torch.from_numpy(epoch_plan.order)]]
    parts = [epoch_plan.part_of(rank, num_workers, counts) for rank in range(num_workers)]
    seen_by = [seen(part, images, labels) for part in parts]
    num_idle = 0
    for number, (shown, targets) in enumerate(seen(epoch_plan, images, labels)):
        each = zip(parts, seen_by, strict=True)
        mine = [(part.batches[number], shown_to[number]) for part, shown_to in each]
        num_idle += sum(batch.share == 0 for batch, _ in mine)
        own = [pair for batch, pair in mine if batch.share > 0]
        assert sum(batch.share for batch, _ in mine) == pytest.approx(1)
        torch.testing.assert_close(torch.cat([pair[0] for pair in own]), shown)
        torch.testing.assert_close(torch.cat([pair[1] for pair in own]), targets)
        # The sum of the parts' losses is the batch's.
        readout = torch.randn(3 * SIDE * SIDE, 3, generator=generator)
        loss = sum(
            batch.share * batch.label_scale * hard_loss(part.flatten(1) @ readout, its, weights)
            for batch, (part, its) in mine
        )
        expected = hard_loss(shown.flatten(1) @ readout, targets, weights)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert num_idle == (num_workers == 4)


def test_a_course_of_one_worker_is_in_batches_of_which_the_last_may_be_small() -> None:
    batches = whole_epoch_plan(mixed=False).batches
    assert [batch.stop - batch.start for batch in batches] == [5, 5, 5, 5, 3]
    assert all((batch.share, batch.label_scale) == (1, 1) for batch in batches)
