"""What an epoch goes through: its images in order, what happens to each, and where batches end.

In: what was drawn for an epoch. Out: a `EpochPlan`, and of it the part that one of several workers
does. Pure: every worker draws the same and takes its part, so that images and parameters are those
of a worker alone. `jobs.train` goes through it; `jobs.workers` adds up what comes out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs.augment import Changes
from jobs.mixup import Mixes


@dataclass(frozen=True)
class Batch:
    """A batch, or a worker's part of one: images `start` to `stop` of an epoch.

    Up to `end` follow images that are not trained on themselves: others are blended with them.
    """

    start: int
    stop: int
    end: int
    size: int  # of the whole batch
    share: float = 1.0  # of the whole batch's images
    label_scale: float = 1.0  # share of the labels' weights / share of the images


@dataclass(frozen=True)
class EpochPlan:
    """An epoch, or a worker's part of one."""

    order: np.ndarray  # (n,) int64, rows of the images
    changes: Changes
    mixes: Mixes | None
    batches: tuple[Batch, ...]

    @classmethod
    def whole(
        cls, order: np.ndarray, changes: Changes, mixes: Mixes | None, batch_size: int
    ) -> "EpochPlan":
        """Return a whole epoch in batches, of which the last may be smaller."""
        starts = range(0, len(order), batch_size)
        stops = [min(start + batch_size, len(order)) for start in starts]
        pairs = zip(starts, stops, strict=True)
        batches = tuple(Batch(start, stop, stop, stop - start) for start, stop in pairs)
        return cls(order, changes, mixes, batches)

    def changes_on(self, device: str) -> tuple[Changes, Mixes | None]:
        """Return what happens to the images on a device; the host does not wait for it."""
        mixes = None if self.mixes is None else self.mixes.to(device)
        return self.changes.to(device), mixes

    def part_of(self, rank: int, num_workers: int, label_weights: Tensor | None) -> "EpochPlan":
        """Return one worker's part of a whole epoch: a contiguous part of every batch.

        A worker for which a small batch has no image left computes one that counts nothing.

        Args:
            rank: of the worker.
            num_workers: among how many each batch is divided, as evenly as possible.
            label_weights: (n,) how much each image's label counts; None: all the same.
        """
        weights = np.ones(len(self.order)) if label_weights is None else label_weights.numpy()
        partners = None
        if self.mixes is not None:
            first = np.concatenate([np.full(batch.size, batch.start) for batch in self.batches])
            partners = first + self.mixes.partners.numpy()
            shares = self.mixes.shares.numpy()
            weights = shares * weights + (1 - shares) * weights[partners]
        rows: list[np.ndarray] = []
        batches: list[Batch] = []
        num_rows = 0
        for batch in self.batches:
            ends = (batch.size * worker // num_workers for worker in (rank, rank + 1))
            low, high = (batch.start + end for end in ends)
            own = np.arange(low, max(high, low + 1))
            share, scale = (high - low) / batch.size, 1.0
            if share > 0:
                whole = weights[batch.start : batch.stop].sum()
                scale = float(weights[low:high].sum() / whole) / share
            blended = [] if partners is None else [partners[own]]
            rows += [own, *blended]
            stop = num_rows + len(own)
            end = stop + sum(map(len, blended))
            batches.append(Batch(num_rows, stop, end, batch.size, share, scale))
            num_rows = end
        taken = torch.from_numpy(np.concatenate(rows))
        mixes = None if self.mixes is None else _with_partners_behind(self.mixes, taken, batches)
        return EpochPlan(self.order[taken.numpy()], self.changes.at(taken), mixes, tuple(batches))


def _with_partners_behind(mixes: Mixes, taken: Tensor, batches: list[Batch]) -> Mixes:
    """Return the mixes of a part, in which each batch's images are followed by their partners."""
    shares = mixes.shares.index_select(0, taken)
    partners = torch.empty_like(taken)
    for batch in batches:
        num_own = batch.stop - batch.start
        behind = torch.arange(num_own, 2 * num_own)  # within the batch
        partners[batch.start : batch.stop] = behind
        partners[batch.stop : batch.end] = behind
    return Mixes(shares, partners)
