import numpy as np
import pytest
import torch

from jobs.mixup import apply_mixes, blend, draw, draw_mixes, mixup


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


@pytest.mark.parametrize("batch_size", [1, 5, 8, 20, 32])
def test_an_epochs_partners_stay_in_their_batches(batch_size):
    mixes = draw_mixes(1.0, 20, batch_size, _generator())
    assert len(mixes.shares.unique()) == 20
    for start in range(0, 20, batch_size):
        part = mixes.part(start, start + batch_size)
        size = min(batch_size, 20 - start)
        assert torch.equal(part.shares, mixes.shares[start : start + size])
        assert sorted(part.partners.tolist()) == list(range(size))


def test_an_epochs_mixes_applied_by_parts_follow_the_formula():
    images, labels = torch.rand(10, 3, 6, 6), torch.arange(10) % 3
    mixes = draw_mixes(0.7, 10, 4, _generator(3)).to("cpu")
    for start in (0, 4, 8):
        stop = min(start + 4, 10)
        mixed, soft = apply_mixes(
            images[start:stop], labels[start:stop], 3, mixes.part(start, start + 4)
        )
        for i in range(start, stop):
            share, j = mixes.shares[i], start + int(mixes.partners[i])
            expected = share * images[i] + (1 - share) * images[j]
            torch.testing.assert_close(mixed[i - start], expected)
            one_hot = torch.eye(3)
            expected = share * one_hot[labels[i]] + (1 - share) * one_hot[labels[j]]
            torch.testing.assert_close(soft[i - start], expected)


def test_a_batch_alone_is_an_epoch_of_one_batch():
    images, labels = torch.rand(6, 3, 4, 4), torch.arange(6) % 3
    expected = mixup(images, labels, 3, 0.5, _generator(1))
    mixes = draw_mixes(0.5, 6, 8, _generator(1))
    assert all(map(torch.equal, apply_mixes(images, labels, 3, mixes), expected))


def test_an_image_that_is_its_own_partner_keeps_its_bits():
    images = torch.rand(64, 3, 6, 6)
    shares, partners = torch.rand(64), torch.arange(64)
    mixed, _ = blend(images, torch.eye(64), shares, partners)
    assert torch.equal(mixed, images)
