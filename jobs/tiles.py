"""Where a convolution is cut into tiles and computed by `jobs.spectral`: known by its shape alone.

In: kernel, channels, outputs and images of a convolution with stride 1. Out: whether that is the
faster way. This module needs no torch: the control plane, which foretells times, asks it as well.
"""

from collections.abc import Sequence
from math import ceil

# Outputs of a tile, a side. Larger tiles take fewer products, but more of the weights' transform.
TILE = 8
# With fewer tiles, transforming the weights costs about what the products save, or more.
MIN_TILES = 32
MIN_CHANNELS, KERNELS = 16, range(5, TILE + 2)
# Tiles may reach over the image's far sides, in vain: this much more than its own places.
MAX_EXCESS = 1.25


def tiles_pay(kernel: int, channels: int, outputs: Sequence[int], num_images: int) -> bool:
    """Whether tiles are faster for (height, width) outputs of a square kernel, in float32."""
    tiles = [ceil(side / TILE) for side in outputs]
    return (
        kernel in KERNELS
        and channels >= MIN_CHANNELS
        and num_images * tiles[0] * tiles[1] >= MIN_TILES
        and tiles[0] * tiles[1] * TILE**2 <= MAX_EXCESS * outputs[0] * outputs[1]
    )
