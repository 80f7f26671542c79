import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from jobs.blur import blur, draw_sigmas
from jobs.plan import AugmentPlan


def _images(num_images: int, height_px: int = 20, width_px: int = 20) -> torch.Tensor:
    return torch.rand(
        num_images, 3, height_px, width_px, generator=torch.Generator().manual_seed(0)
    )


def _sigmas(strength: float, num_images: int, side_px: int, seed: int = 1) -> torch.Tensor:
    plan = AugmentPlan(blur_strength=strength)
    return draw_sigmas(plan, num_images, side_px, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("height_px", "width_px"), [(64, 64), (5, 5), (17, 24)])
@pytest.mark.parametrize("strength", [1, 8])
def test_each_image_equals_torchvisions(height_px, width_px, strength):
    images, sigmas = _images(16, height_px, width_px), _sigmas(strength, 16, 64)
    assert len(sigmas.unique()) == 16  # every image has its own
    blurred = blur(images, sigmas)
    for image, sigma, result in zip(images, sigmas.tolist(), blurred, strict=True):
        expected = reference.gaussian_blur(image, [5, 9], [sigma, sigma])  # width, then height
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)
    assert (blurred - images).abs().max() > 0.1


def test_a_point_becomes_a_kernel_of_5_by_9():
    image = torch.zeros(1, 3, 21, 21)
    image[:, :, 10, 10] = 1
    rows, columns = torch.nonzero(blur(image, torch.tensor([3.0]))[0, 0], as_tuple=True)
    assert (rows.min(), rows.max()) == (10 - 4, 10 + 4)
    assert (columns.min(), columns.max()) == (10 - 2, 10 + 2)


@pytest.mark.parametrize("sigma", [0.0, 1e-45, 1e-30, 1e-6, 0.01])
def test_a_tiny_sigma_changes_nothing(sigma):
    images = _images(2)
    assert torch.equal(blur(images, torch.tensor([sigma, sigma])), images)


def test_a_huge_sigma_is_a_plain_mean():
    images = _images(1, 9, 5)
    blurred = blur(images, torch.tensor([1e20]))
    torch.testing.assert_close(blurred[0, :, 4, 2], images[0].mean(dim=(1, 2)))


@pytest.mark.parametrize(("strength", "side_px"), [(1, 500), (1, 64), (8, 224)])
def test_sigmas_are_uniform_in_the_rule_books_range_scaled_to_the_image(strength, side_px):
    unit = strength * side_px / 500
    sigmas = _sigmas(strength, 4000, side_px).sort().values / unit
    assert sigmas[0] >= 0.1 * (1 - 1e-6)
    assert sigmas[-1] <= 5 * (1 + 1e-6)
    # The largest distance from a uniform distribution's quantiles (Kolmogorov and Smirnov).
    quantiles = (torch.arange(4000) + 0.5) / 4000
    assert ((sigmas - 0.1) / 4.9 - quantiles).abs().max() < 1.63 / 4000**0.5  # the 1 % level
