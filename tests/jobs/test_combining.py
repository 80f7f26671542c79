import numpy as np
import pytest
import torch

from jobs.combining import combined
from jobs.ensemble import combine


@pytest.mark.parametrize("how", ["mean", "vote"])
@pytest.mark.parametrize("num_members", [1, 2, 3, 5, 12])
def test_it_is_what_a_network_says(how, num_members):
    probs = np.random.default_rng(1).dirichlet(np.ones(10), (num_members, 300)).astype(np.float32)
    ours = combined(probs, how)
    assert ours.dtype == np.float32
    theirs = combine(torch.from_numpy(probs), how).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=3e-7)


def test_of_equal_votes_the_mean_decides():
    probs = np.array([[[0.6, 0.4, 0]], [[0.1, 0.9, 0]]], np.float32)
    assert combined(probs, "vote").argmax(axis=1) == [1]


def test_stackers_are_asked_elsewhere():
    with pytest.raises(ValueError, match="combined by 'stacking'"):
        combined(np.full((1, 1, 4), 0.25, np.float32), "stacking")
