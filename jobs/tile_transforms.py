"""The matrices that transform a convolution's tiles for `jobs.spectral`.

In: the kernel's side. Out: `Steps`, which take a tile's inputs and a kernel to the factors of their
spectra, and the products of these to the tile's outputs.

A complex product is three real ones (Gauss): (a + bi)(c + di) = (k1 - k3) + (k1 + k2)i with
k1 = c(a + b), k2 = a(d - c), k3 = b(c + d). The matrices give each frequency's three factors, and
take its three products together again, while they transform. What is real has one factor, and what
a conjugate tells has none: a tile of 12 x 12 has 214.
"""

from collections.abc import Sequence
from functools import cache
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from jobs.tiles import TILE


class Band(NamedTuple):
    """One row of frequencies; n inputs, m outputs and k weights a side, f factors.

    A complex row has 2n numbers, the real parts first, and f = 3n. A real row has n, and half of
    its frequencies tell the others; those that are their own counterparts come first.
    """

    columns: Tensor  # (f, 2n or n), to the factors a + b, a, b
    weight_columns: Tensor  # (f, 2k or k), to the factors c, d - c, c + d
    columns_back: Tensor  # (2m or m, f), from the products
    inputs: slice  # what is its own of n * n numbers
    weights: slice  # of n * k
    outputs: slice  # of n * m
    factors: slice  # of all bands'


class Steps(NamedTuple):
    """A tile's whole way; n inputs, m outputs and k weights a side.

    Columns of real numbers are known by half of their frequencies: the real ones come first, then
    the real and the imaginary part of each of the others.
    """

    rows: Tensor  # (n, n), from a column of inputs
    weight_rows: Tensor  # (n, k)
    rows_back: Tensor  # (m, n)
    bands: tuple[Band, ...]
    num_factors: int
    """Of all bands."""
    most_factors: int
    """Of one band."""


@cache
def steps(kernel: int, dtype: torch.dtype) -> Steps:
    """Return the matrices for kernels of so many weights a side; made once."""
    size = TILE + kernel - 1
    own = [0] if size % 2 else [0, size // 2]
    paired = range(1, (size + 1) // 2)

    def rows(places: int, sign: int) -> Tensor:
        cosine, sine = _waves(paired, places, size)
        pairs = torch.stack([cosine, sign * sine], dim=1).flatten(0, 1)
        return torch.cat([_waves(own, places, size)[0], pairs])

    # One of each pair is left out.
    counted = torch.tensor([1.0] * len(own) + [2.0] * 2 * len(paired), dtype=torch.float64)
    real, complex_ = _real_columns(own, paired, kernel, size), _columns(range(size), kernel, size)
    bands = list[Band]()
    row = factor = 0
    for columns, num_rows in [(real, 1)] * len(own) + [(complex_, 2)] * len(paired):
        row_stop, factor_stop = row + num_rows, factor + len(columns[0])
        inputs, weights, outputs = (
            slice(row * side, row_stop * side) for side in (size, kernel, TILE)
        )
        forth, weight_columns, back = (matrix.to(dtype) for matrix in columns)
        factors = slice(factor, factor_stop)
        bands.append(Band(forth, weight_columns, back, inputs, weights, outputs, factors))
        row, factor = row_stop, factor_stop
    return Steps(
        rows(size, -1).to(dtype),
        # What networks call a convolution is a correlation: the weights' spectrum is conjugated.
        rows(kernel, 1).to(dtype),
        (rows(TILE, -1).T * counted / size).to(dtype).contiguous(),
        tuple(bands),
        num_factors=factor,
        most_factors=len(complex_[0]),
    )


def _waves(frequencies: Sequence[int], places: int, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (frequencies, places)."""
    numbers = torch.tensor(frequencies, dtype=torch.float64)
    angles = 2 * pi / size * torch.outer(numbers, torch.arange(places, dtype=torch.float64))
    return angles.cos(), angles.sin()


def _columns(frequencies: Sequence[int], kernel: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The three matrices of a complex row, at these frequencies."""
    cosine, sine = _waves(frequencies, size, size)
    real, imaginary = torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)
    forth = torch.cat([real + imaginary, real, imaginary])
    cosine, sine = _waves(frequencies, kernel, size)
    real, imaginary = torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)
    weights = torch.cat([real, imaginary - real, real + imaginary])
    cosine, sine = (wave.T for wave in _waves(frequencies, TILE, size))
    real = torch.cat([cosine - sine, -sine, -cosine], 1)
    imaginary = torch.cat([sine + cosine, cosine, -sine], 1)
    return forth, weights, torch.cat([real, imaginary]) / size


def _real_columns(
    own: Sequence[int], paired: Sequence[int], kernel: int, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The three matrices of a real row: of each pair of frequencies only one, counted twice."""
    forth, weights, back = _columns(paired, kernel, size)
    return (
        torch.cat([_waves(own, size, size)[0], forth[:, :size]]),
        torch.cat([_waves(own, kernel, size)[0], weights[:, :kernel]]),
        torch.cat([_waves(own, TILE, size)[0].T / size, 2 * back[:TILE]], 1),
    )
