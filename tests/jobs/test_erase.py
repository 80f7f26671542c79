import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from jobs.erase import Rectangles, draw_rectangles, erase
from jobs.plan import AugmentPlan

MANY = 4000


def _draw(
    plan: AugmentPlan, num_images: int, height_px: int, width_px: int, seed: int = 1
) -> Rectangles:
    generator = torch.Generator().manual_seed(seed)
    return draw_rectangles(plan, num_images, height_px, width_px, generator)


@pytest.mark.parametrize(("height_px", "width_px"), [(64, 64), (20, 33)])
def test_each_image_equals_torchvisions(height_px, width_px):
    images = torch.rand(64, 3, height_px, width_px) + 0.1
    drawn = _draw(AugmentPlan(erase_p=0.5), 64, height_px, width_px)
    assert 10 < drawn.erased.sum() < 54
    before = images.clone()
    erased = erase(images, drawn)
    assert torch.equal(images, before)
    for index in range(64):
        expected = images[index]
        if drawn.erased[index]:
            expected = reference.erase(
                expected,
                i=drawn.top[index].item(),
                j=drawn.left[index].item(),
                h=drawn.height[index].item(),
                w=drawn.width[index].item(),
                v=torch.zeros(1, 1, 1),
            )
            assert not torch.equal(expected, images[index])
        assert torch.equal(erased[index], expected)


@pytest.mark.parametrize("max_area", [0.05, 0.2, 0.25])
def test_area_and_aspect_fill_their_ranges(max_area):
    side_px = 1000  # large, so that rounding to whole pixels hides nothing
    drawn = _draw(AugmentPlan(erase_p=1, erase_max_area=max_area), MANY, side_px, side_px)
    area = (drawn.height * drawn.width / side_px**2).numpy()
    aspect = (drawn.height / drawn.width).numpy()
    _is_uniform(area, 0.02, max_area)
    _is_uniform(np.log(aspect), math.log(0.3), math.log(3.3))
    assert abs(np.corrcoef(area, np.log(aspect))[0, 1]) < 0.05


def _is_uniform(values: np.ndarray, low: float, high: float) -> None:
    """Kolmogorov and Smirnov's test at the 1 % level."""
    width = high - low
    assert low - 0.02 * width < values.min() < values.max() < high + 0.02 * width
    quantiles = (np.arange(len(values)) + 0.5) / len(values)
    assert np.abs((np.sort(values) - low) / width - quantiles).max() < 1.63 / len(values) ** 0.5


def test_sides_are_rounded_as_torchvision_rounds_them():
    """By its formula in Python's floats, from the same uniform random numbers."""
    uniform = torch.rand(5, 200, generator=torch.Generator().manual_seed(1)).double().tolist()
    drawn = _draw(AugmentPlan(erase_p=0.5), 200, 64, 64)
    for index in range(200):
        area = 64 * 64 * (0.02 + 0.18 * uniform[1][index])
        aspect = math.exp(math.log(0.3) + math.log(3.3 / 0.3) * uniform[2][index])
        assert drawn.height[index] == round(math.sqrt(area * aspect))
        assert drawn.width[index] == round(math.sqrt(area / aspect))
        assert drawn.erased[index] == (uniform[0][index] < 0.5)


def test_places_are_uniform_from_edge_to_edge():
    drawn = _draw(AugmentPlan(erase_p=1), 20 * MANY, 64, 64)
    for start, length in ((drawn.top, drawn.height), (drawn.left, drawn.width)):
        counts = torch.bincount(start[length == 14], minlength=51)
        assert len(counts) == 64 - 14 + 1
        expected = counts.sum() / 51
        assert expected > 20
        # Chi-square with 50 degrees of freedom; 76.2 is the 1 % level.
        assert ((counts - expected) ** 2 / expected).sum() < 76.2


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_as_many_images_are_erased_as_p_says(probability):
    erased = _draw(AugmentPlan(erase_p=probability), MANY, 64, 64).erased.float().mean()
    assert erased == pytest.approx(probability, abs=4 * 0.5 / MANY**0.5 * (0 < probability < 1))


@pytest.mark.parametrize("side_px", [4, 5, 8, 32])
def test_in_every_image_something_is_left_and_something_erased(side_px):
    drawn = _draw(AugmentPlan(erase_p=1, erase_max_area=0.25), MANY, side_px, side_px)
    for start, length in ((drawn.top, drawn.height), (drawn.left, drawn.width)):
        assert start.min() == 0
        assert (start + length).max() == side_px
        assert 1 <= length.min() <= length.max() < side_px
