import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from jobs.augment import Drawn, augment, draw, flip, warp
from jobs.plan import AugmentPlan

EVERYTHING = AugmentPlan(
    rotate_degrees=30, shift_fraction=0.2, flip_horizontal_p=0.5, flip_vertical_p=0.5
)


def _images(num_images: int = 16, height_px: int = 20, width_px: int = 20) -> torch.Tensor:
    return torch.rand(
        num_images, 3, height_px, width_px, generator=torch.Generator().manual_seed(0)
    )


def _reference(image: torch.Tensor, drawn: Drawn, index: int) -> torch.Tensor:
    if drawn.flip_horizontal[index]:
        image = reference.horizontal_flip(image)
    if drawn.flip_vertical[index]:
        image = reference.vertical_flip(image)
    return reference.affine(
        image,
        angle=drawn.angle_degrees[index].item(),
        translate=[drawn.shift_x_px[index].item(), drawn.shift_y_px[index].item()],
        scale=1.0,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )


@pytest.mark.parametrize(("height_px", "width_px"), [(20, 20), (17, 24)])
def test_each_image_equals_torchvisions(height_px, width_px):
    images = _images(32, height_px, width_px)
    drawn = draw(EVERYTHING, 32, height_px, width_px, torch.Generator().manual_seed(1))
    assert len(drawn.angle_degrees.unique()) == 32  # every image has its own parameters
    warped = warp(images, drawn)
    for index in range(32):
        torch.testing.assert_close(
            warped[index], _reference(images[index], drawn, index), atol=2e-5, rtol=0
        )


def test_rotation_alone_equals_torchvisions_rotate():
    images = _images(8)
    plan = AugmentPlan(rotate_degrees=15)
    turned = augment(images, plan, torch.Generator().manual_seed(2))
    angles = draw(plan, 8, 20, 20, torch.Generator().manual_seed(2)).angle_degrees
    assert angles.min() < 0 < angles.max()
    for image, angle, result in zip(images, angles, turned, strict=True):
        # rotate counts angles anticlockwise, affine clockwise
        expected = reference.rotate(image, -angle.item(), InterpolationMode.BILINEAR)
        torch.testing.assert_close(result, expected, atol=2e-5, rtol=0)


def test_flips_keep_every_pixel_exactly():
    images = _images(64)
    plan = AugmentPlan(flip_horizontal_p=0.5, flip_vertical_p=0.5)
    flipped = augment(images, plan, torch.Generator().manual_seed(3))
    drawn = draw(plan, 64, 20, 20, torch.Generator().manual_seed(3))
    seen = set()
    for index in range(64):
        axes = [
            axis
            for axis, is_flipped in ((2, drawn.flip_horizontal), (1, drawn.flip_vertical))
            if is_flipped[index]
        ]
        seen.add(tuple(axes))
        assert torch.equal(flipped[index], images[index].flip(axes))
    assert len(seen) == 4


def test_fused_flips_equal_plain_flips():
    images = _images()
    drawn = draw(
        AugmentPlan(flip_horizontal_p=0.5, flip_vertical_p=0.5),
        16, 20, 20, torch.Generator().manual_seed(4),
    )  # fmt: skip
    torch.testing.assert_close(warp(images, drawn), flip(images, drawn), atol=1e-5, rtol=0)


def test_a_shift_moves_whole_pixels_and_leaves_black():
    images = _images(1)
    off, on = torch.tensor([False]), torch.tensor([0.0])
    shifted = warp(images, Drawn(off, off, on, torch.tensor([3.0]), torch.tensor([-2.0])))
    torch.testing.assert_close(shifted[0, :, :18, 3:], images[0, :, 2:, :17], atol=1e-5, rtol=0)
    assert shifted[0, :, :, :3].abs().max() < 1e-5
    assert shifted[0, :, 18:].abs().max() < 1e-5


@pytest.mark.parametrize("plan", [AugmentPlan(), AugmentPlan(mixup_alpha=1, erase_max_area=0.1)])
def test_nothing_to_do_here_changes_nothing_and_draws_nothing(plan):
    images, generator = _images(), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert augment(images, plan, generator) is images
    assert torch.equal(generator.get_state(), before)


def test_parameters_stay_in_their_ranges_and_fill_them():
    plan = AugmentPlan(
        rotate_degrees=15, shift_fraction=0.1, flip_horizontal_p=0.2, flip_vertical_p=1
    )
    drawn = draw(plan, 4000, 40, 64, torch.Generator().manual_seed(5))
    assert 14.9 < drawn.angle_degrees.abs().max() <= 15
    assert abs(drawn.angle_degrees.mean()) < 0.5
    assert np.unique(drawn.shift_x_px).tolist() == list(range(-6, 7))
    assert np.unique(drawn.shift_y_px).tolist() == list(range(-4, 5))
    assert abs(drawn.flip_horizontal.float().mean() - 0.2) < 0.03
    assert drawn.flip_vertical.all()


def test_one_more_augmentation_leaves_the_others_parameters():
    alone = draw(AugmentPlan(rotate_degrees=15), 8, 20, 20, torch.Generator().manual_seed(6))
    more = draw(
        AugmentPlan(rotate_degrees=15, flip_vertical_p=0.5),
        8, 20, 20, torch.Generator().manual_seed(6),
    )  # fmt: skip
    assert torch.equal(alone.angle_degrees, more.angle_degrees)


FLIP = AugmentPlan(flip_horizontal_p=0.5)
BLUR = AugmentPlan(blur_strength=8)
ERASE = AugmentPlan(erase_p=0.5)


def _batches(*plans: AugmentPlan, num_batches: int = 4) -> list[torch.Tensor]:
    """The same batches through each plan in turn, each plan with a generator of its own."""
    generators = [torch.Generator().manual_seed(7) for _ in plans]
    batches = []
    for _ in range(num_batches):
        images = _images()
        for plan, generator in zip(plans, generators, strict=True):
            images = augment(images, plan, generator)
        batches.append(images)
    return batches


@pytest.mark.parametrize("first", [EVERYTHING, FLIP])
def test_all_at_once_is_each_alone_with_the_same_parameters_one_after_another(first):
    """In this order: warp, blur, erase. None changes another's parameters, in any batch."""
    together = first.model_copy(update={"blur_strength": 8, "erase_p": 0.5})
    batches = _batches(together)
    for images, expected in zip(batches, _batches(first, BLUR, ERASE), strict=True):
        assert torch.equal(images, expected)
    assert not torch.equal(batches[0], _batches(first, ERASE, BLUR)[0])
    if first is EVERYTHING:  # a flip before a blur is a flip after it
        assert not torch.equal(batches[0], _batches(BLUR, first, ERASE)[0])


@pytest.mark.parametrize("plan", [FLIP, BLUR, ERASE])
def test_every_batch_has_parameters_of_its_own(plan):
    first, second, *_ = _batches(plan)
    assert not torch.equal(first, second)


def test_the_given_images_stay_as_they_are():
    plan = EVERYTHING.model_copy(update={"blur_strength": 8, "erase_p": 1})
    for part in (plan, FLIP, BLUR, ERASE):
        images = _images()
        augment(images, part, torch.Generator().manual_seed(8))
        assert torch.equal(images, _images())
