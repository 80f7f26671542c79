import numpy as np
import pytest
import torch

from jobs.mixup import blend, draw, mixup


def _generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def test_each_image_follows_the_papers_formula():
    """x = l x_i + (1 - l) x_j and y = l y_i + (1 - l) y_j, written out for every image."""
    images, labels = torch.rand(16, 3, 6, 6), torch.arange(16) % 5
    mixed, soft = mixup(images, labels, 5, 0.7, _generator(3))
    shares, partners = draw(0.7, 16, _generator(3))
    assert len(shares.unique()) == 16  # every image has its own
    assert sorted(partners.tolist()) == list(range(16))
    for i in range(16):
        share, j = shares[i].item(), partners[i].item()
        torch.testing.assert_close(mixed[i], share * images[i] + (1 - share) * images[j])
        expected = [0.0] * 5
        expected[labels[i]] += share
        expected[labels[j]] += 1 - share
        torch.testing.assert_close(soft[i], torch.tensor(expected))


def test_a_worked_example():
    images = torch.tensor([0.0, 1.0, 0.5]).view(3, 1, 1, 1)
    one_hot = torch.eye(3)
    shares, partners = torch.tensor([0.75, 0.5, 0.9]), torch.tensor([1, 2, 2])
    mixed, soft = blend(images, one_hot, shares, partners)
    torch.testing.assert_close(mixed.flatten(), torch.tensor([0.25, 0.75, 0.5]))
    torch.testing.assert_close(
        soft, torch.tensor([[0.75, 0.25, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_betas(alpha):
    shares, _ = draw(alpha, 20000, _generator())
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha)
    assert shares.mean().item() == pytest.approx(0.5, abs=4 * (variance / 20000) ** 0.5)
    assert shares.var().item() == pytest.approx(variance, rel=0.05)


@pytest.mark.parametrize("alpha", [1e-300, 1e-3, 1e6, 1e300])
def test_extreme_alphas_give_shares(alpha):
    shares, _ = draw(alpha, 1000, _generator())
    assert ((shares >= 0) & (shares <= 1)).all()  # not-a-number is neither
    assert shares.mean().item() == pytest.approx(0.5, abs=0.06)
    if alpha < 0.1:
        assert ((shares < 0.01) | (shares > 0.99)).float().mean() > 0.95
    else:
        assert (shares - 0.5).abs().max() < 0.01


@pytest.mark.parametrize("num_images", [1, 2, 7])
def test_soft_labels_sum_to_one_in_batches_of_any_size(num_images):
    images, labels = torch.rand(num_images, 3, 4, 4), torch.arange(num_images) % 3
    mixed, soft = mixup(images, labels, 3, 0.2, _generator())
    assert soft.shape == (num_images, 3)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(num_images))
    if num_images == 1:  # its own partner
        torch.testing.assert_close(mixed, images)


def test_partners_change_from_batch_to_batch():
    generator = _generator()
    seen = {tuple(draw(1.0, 6, generator)[1].tolist()) for _ in range(20)}
    assert len(seen) > 15
