"""Members' probabilities combined where no network is at hand, and no torch.

In: probabilities as numpy arrays. Out: those of the members together, as `jobs.ensemble.combine`
has them in a network, up to rounding. What is stacked is combined by `jobs.stacking`.
"""

import numpy as np
from numpy.typing import NDArray

PROB_FLOOR = 1e-6
"""To whoever stacks, a smaller probability counts as this one: the log of 0 is no feature to
calculate with."""


def combined(probs: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """Combine the members' probabilities (M, N, C) to (N, C) by "mean" or "vote".

    Raises:
        ValueError: it is to be combined in another way.
    """
    mean: NDArray[np.float32] = probs.mean(axis=0)
    if how == "mean":
        return mean
    if how != "vote":
        raise ValueError(f"probabilities combined by {how!r}; there are 'mean' and 'vote'")
    num_members, _, num_classes = probs.shape
    votes = np.eye(num_classes, dtype=np.float32)[probs.argmax(axis=2)].sum(axis=0)
    together: NDArray[np.float32] = (votes + mean) / np.float32(num_members + 1)
    return together
