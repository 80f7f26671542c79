"""An epoch's parameters, drawn at once and applied batch by batch."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from jobs.augment import Changes, apply_changes, augment, draw, draw_changes
from jobs.erase import draw_rectangles
from jobs.plan import AugmentPlan

SIDE_PX = 20
ROTATE = AugmentPlan(rotate_degrees=15)
SHIFT = AugmentPlan(shift_fraction=0.2)
FLIP = AugmentPlan(flip_horizontal_p=0.5, flip_vertical_p=0.5)
BLUR = AugmentPlan(blur_strength=8)
ERASE = AugmentPlan(erase_p=0.5)
EVERYTHING = AugmentPlan(
    rotate_degrees=15, shift_fraction=0.2, flip_horizontal_p=0.5, flip_vertical_p=0.5,
    blur_strength=8, erase_p=0.5,
)  # fmt: skip


def _images(num_images: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(num_images, 3, SIDE_PX, SIDE_PX, generator=generator)


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _drawn(plan: AugmentPlan, num_images: int, generator: torch.Generator) -> Changes:
    return draw_changes(plan, num_images, SIDE_PX, SIDE_PX, generator)


@pytest.mark.parametrize("plan", [EVERYTHING, ROTATE, SHIFT, FLIP, BLUR, ERASE])
@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_applied_by_parts_is_applied_to_all(plan, batch_size):
    images, changes = _images(20), _drawn(plan, 20, _generator())
    at_once = apply_changes(images, changes)
    assert not torch.equal(at_once, images)
    for start in range(0, 20, batch_size):  # the last part is shorter than the others
        stop = start + batch_size
        part = apply_changes(images[start:stop], changes.part(start, stop))
        assert torch.equal(part, at_once[start:stop])
    assert torch.equal(images, _images(20))


@pytest.mark.parametrize("plan", [EVERYTHING, ROTATE, SHIFT, FLIP, BLUR, ERASE])
def test_augment_draws_and_applies(plan):
    expected = apply_changes(_images(8), _drawn(plan, 8, _generator()))
    assert torch.equal(augment(_images(8), plan, _generator()), expected)


def test_with_nothing_to_do_nothing_is_drawn_and_the_batch_comes_back():
    images, generator = _images(4), _generator()
    changes = _drawn(AugmentPlan(mixup_alpha=1), 100, generator)
    assert changes == Changes() == changes.part(4, 8) == changes.to("cpu")
    assert apply_changes(images, changes.part(4, 8)) is images
    assert torch.equal(generator.get_state(), _generator().get_state())


@pytest.mark.parametrize("alone", [ROTATE, SHIFT, BLUR, ERASE])
def test_one_more_augmentation_changes_no_others_parameters_in_any_epoch(alone):
    """The grid holds rotation, shift and flips: `draw` is looked at for these."""
    generator, more_generator = _generator(), _generator()
    for _ in range(3):
        before, more_before = generator.clone_state(), more_generator.clone_state()
        changes = _drawn(alone, 30, generator)
        more = _drawn(EVERYTHING, 30, more_generator)
        assert torch.equal(generator.get_state(), more_generator.get_state())
        for mine, others in ((changes.kernels, more.kernels), (changes.erased, more.erased)):
            if mine is not None:
                assert all(map(torch.equal, mine, others))
        drawn = draw(alone, 30, SIDE_PX, SIDE_PX, before)
        more_drawn = draw(EVERYTHING, 30, SIDE_PX, SIDE_PX, more_before)
        if alone is ROTATE:
            assert torch.equal(drawn.angle_degrees, more_drawn.angle_degrees)
        if alone is SHIFT:
            assert torch.equal(drawn.shift_x_px, more_drawn.shift_x_px)
            assert torch.equal(drawn.shift_y_px, more_drawn.shift_y_px)


def test_epochs_differ():
    generator = _generator()
    first, second = _drawn(EVERYTHING, 30, generator), _drawn(EVERYTHING, 30, generator)
    images = _images(30)
    assert not torch.equal(apply_changes(images, first), apply_changes(images, second))


@pytest.mark.parametrize(("height_px", "width_px"), [(64, 64), (17, 24), (224, 224)])
def test_without_a_rotation_every_pixel_keeps_its_exact_value(height_px, width_px):
    plan = AugmentPlan(shift_fraction=0.2, flip_horizontal_p=0.5, flip_vertical_p=0.5)
    images = torch.rand(16, 3, height_px, width_px, generator=_generator()) + 0.5
    moved = augment(images, plan, _generator())
    drawn = draw(plan, 16, height_px, width_px, _generator())
    for index in range(16):
        axes = [
            axis
            for axis, flipped in ((2, drawn.flip_horizontal), (1, drawn.flip_vertical))
            if flipped[index]
        ]
        image, expected = images[index].flip(axes), torch.zeros_like(images[index])
        x, y = int(drawn.shift_x_px[index]), int(drawn.shift_y_px[index])
        to_y, to_x = slice(max(y, 0), height_px + min(y, 0)), slice(max(x, 0), width_px + min(x, 0))
        from_y, from_x = (
            slice(max(-y, 0), height_px - max(y, 0)),
            slice(max(-x, 0), width_px - max(x, 0)),
        )
        expected[:, to_y, to_x] = image[:, from_y, from_x]
        assert torch.equal(moved[index], expected)


# --- the distributions are torchvision's ---------------------------------------------------------

MANY = 2000


def _same_distribution(ours: torch.Tensor, theirs: list[float]) -> None:
    """The largest distance between two empirical distributions (Smirnov), at the 0.1 % level."""
    values = np.unique(np.concatenate([ours.numpy(), theirs]))
    below = [np.searchsorted(np.sort(each), values, side="right") for each in (ours, theirs)]
    assert np.abs(below[0] / len(ours) - below[1] / len(theirs)).max() < 1.95 * (2 / MANY) ** 0.5


def test_rotations_and_shifts_are_distributed_as_torchvisions():
    plan = AugmentPlan(rotate_degrees=15, shift_fraction=0.1)
    drawn = draw(plan, MANY, 64, 64, _generator())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        transform = v2.RandomAffine(15, translate=(0.1, 0.1))
        theirs = [transform.make_params([torch.zeros(3, 64, 64)]) for _ in range(MANY)]
    _same_distribution(drawn.angle_degrees, [each["angle"] for each in theirs])
    _same_distribution(drawn.shift_x_px, [each["translate"][0] for each in theirs])
    _same_distribution(drawn.shift_y_px, [each["translate"][1] for each in theirs])


def test_rectangles_are_distributed_as_torchvisions():
    drawn = draw_rectangles(AugmentPlan(erase_p=1), MANY, 64, 64, _generator())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        transform = v2.RandomErasing(p=1, scale=(0.02, 0.2), ratio=(0.3, 3.3))
        theirs = [transform.make_params([torch.zeros(3, 64, 64)]) for _ in range(MANY)]
    for ours, name in zip((drawn.top, drawn.left, drawn.height, drawn.width), "ijhw", strict=True):
        _same_distribution(ours, [each[name] for each in theirs])
    area = [each["h"] * each["w"] for each in theirs]
    _same_distribution(drawn.height * drawn.width, area)


def test_kornias_distributions_are_the_same():
    """So that the benchmark compares the same work; kornia's shifts are no whole pixels."""
    augmentation = pytest.importorskip("kornia.augmentation", reason="the extra is not installed")
    shape, generator = torch.Size((MANY, 3, 64, 64)), _generator()
    drawn = draw(AugmentPlan(rotate_degrees=15, shift_fraction=0.1), MANY, 64, 64, generator)
    rectangles = draw_rectangles(AugmentPlan(erase_p=1), MANY, 64, 64, generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        affine = augmentation.RandomAffine(15.0, translate=(0.1, 0.1), p=1.0)
        moved = affine.forward_parameters(shape)
        erasing = augmentation.RandomErasing((0.02, 0.2), (0.3, 3.3), p=1.0)
        erased = erasing.forward_parameters(shape)
    _same_distribution(drawn.angle_degrees, moved["angle"].tolist())
    _same_distribution(drawn.shift_x_px, moved["translations"][:, 0].round().tolist())
    _same_distribution(drawn.shift_y_px, moved["translations"][:, 1].round().tolist())
    _same_distribution(rectangles.height, erased["heights"].tolist())
    _same_distribution(rectangles.width, erased["widths"].tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_never_waited_for_and_sees_the_same_parameters():
    images, changes = _images(32), _drawn(EVERYTHING, 32, _generator())
    expected = apply_changes(images, changes)
    there, changes_there = images.to("cuda"), changes.to("cuda")
    apply_changes(there, changes_there)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        parts = [apply_changes(there[at : at + 8], changes_there.part(at, at + 8)) for at in (0, 8)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(torch.cat(parts).cpu(), expected[:16], atol=1e-4, rtol=0)
