"""The images of one training, where its device finds them.

In: uint8 images, in memory or memory-mapped. Out: batches of them as float32 on the device.
`jobs.train` takes its batches here.

A GPU is given all images once, as bytes, and gathers every batch itself, so that nothing crosses
over while it trains. A CPU copies a batch's images out of wherever they are.
"""

import numpy as np
import torch
from torch import Tensor

Places = np.ndarray | Tensor
"""Which images make batches, (N,) int64: on the CPU for numpy, on a GPU a tensor of its own."""


class Pixels:
    """Images (N, 3, S, S) uint8, in any memory layout, on a device."""

    def __init__(self, images: np.ndarray, device: str) -> None:
        self._device = device
        self._images = images
        self._there = None if device == "cpu" else torch.from_numpy(np.array(images)).to(device)

    def __len__(self) -> int:
        return len(self._images)

    def places(self, rows: np.ndarray) -> Places:
        """Return rows (n,) int64 as `batch` takes them, for a whole epoch at once."""
        return rows if self._there is None else moved(rows, self._device)

    def batch(self, places: Places) -> Tensor:
        """Return the images at these places, (n, 3, S, S) float32 in [0, 1], in C order.

        A convolution gives other bits for another layout of the same pixels.
        """
        if self._there is not None:
            assert isinstance(places, Tensor)
            return self._there.index_select(0, places).float().div_(255)
        return to_float(self._images[places], self._device)


def to_float(images: np.ndarray, device: str) -> Tensor:
    """(B, 3, S, S) uint8, in any memory layout -> float32 in [0, 1] on the device, in C order.

    The copy makes read-only maps safe to hand to torch.
    """
    return torch.from_numpy(np.array(images, order="C")).to(device).float().div_(255)


def moved(values: np.ndarray, device: str) -> Tensor:
    """Return values on a device; the host does not wait for them to arrive."""
    tensor = torch.from_numpy(values)
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)
