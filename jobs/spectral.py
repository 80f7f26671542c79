"""A convolution as products of Fourier transforms: a sixth of the multiplications.

In: images, weights and biases of a convolution with stride 1. Out: what `conv2d` gives, and its
gradients, up to rounding. `jobs.fused` computes a turbo boost's layers with it, where `pays` says
that it is faster than the direct way.

Each image is cut into tiles of 8 x 8 outputs, each from 12 x 12 inputs with a kernel of 5. A tile's
two-dimensional Fourier transform, times that of the weights, summed over the channels, is the
transform of its output. Tiled transforms on CPUs: Zlateski et al. 2018,
https://arxiv.org/abs/1809.07851; in training: Mathieu et al. 2014, https://arxiv.org/abs/1312.5851.

All steps are products of real matrices, which is the thing that a processor does best, and each
step's gradient is the product with the matrix transposed. A complex product is three real ones
(Gauss): (a + bi)(c + di) = (k1 - k3) + (k1 + k2)i with k1 = c(a + b), k2 = a(d - c),
k3 = b(c + d). The matrices of `_Steps` give each number's three factors, and take the three
products together again, while they transform.
"""

from functools import cache
from math import ceil, pi
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Outputs of a tile, a side. Larger tiles take fewer products, but more of the weights' transform.
TILE = 8
# With fewer tiles, transforming the weights costs more than the products save.
MIN_TILES = 32
MIN_CHANNELS, KERNELS = 16, range(5, TILE + 2)
# Tiles may reach over the image's far sides, in vain: this much more than its own places.
MAX_EXCESS = 1.25
# Values of a row that are worked on together, so that what lies between two steps stays in a cache.
ROW = 16384


def pays(convolution: nn.Conv2d, images: Tensor) -> bool:
    """Whether this is the faster way for images (B, K, H, W): known by their shape alone.

    The convolution has square kernels, one padding, a bias and a stride of 1, and nothing else.
    bfloat16 stays with the direct way, since sums of transforms need float32.
    """
    if torch.is_autocast_enabled("cpu") or images.dtype != torch.float32:
        return False
    kernel, padding = convolution.kernel_size[0], convolution.padding[0]
    assert isinstance(padding, int)
    outputs = [side + 2 * padding - kernel + 1 for side in images.shape[2:]]
    tiles = [ceil(side / TILE) for side in outputs]
    return (
        kernel in KERNELS
        and convolution.in_channels >= MIN_CHANNELS
        and len(images) * tiles[0] * tiles[1] >= MIN_TILES
        and tiles[0] * tiles[1] * TILE**2 <= MAX_EXCESS * outputs[0] * outputs[1]
    )


class _Steps(NamedTuple):
    """The matrices of a tile's way; n inputs, m outputs and k weights a side, h = n // 2 + 1.

    Transforms of real numbers are known by half of their rows; those rows' weight in the way back
    is doubled, but for the rows that are their own counterparts.
    """

    rows: Tensor  # (2h, n), from the inputs of a column: (real, imaginary) of each frequency
    columns: Tensor  # (3n, 2n), from a row's (real..., imaginary...): factors a + b, a, b
    weight_rows: Tensor  # (2h, k)
    weight_columns: Tensor  # (3n, 2k): factors c, d - c, c + d
    columns_back: Tensor  # (2m, 3n), from the products: (real..., imaginary...) of m outputs
    rows_back: Tensor  # (m, 2h)


@cache
def _steps(kernel: int, dtype: torch.dtype) -> _Steps:
    size = TILE + kernel - 1
    half = size // 2 + 1

    def waves(frequencies: int, places: int) -> tuple[Tensor, Tensor]:
        numbers = [torch.arange(count, dtype=torch.float64) for count in (frequencies, places)]
        angles = 2 * pi / size * torch.outer(*numbers)
        return angles.cos(), angles.sin()

    def from_reals(cosine: Tensor, sine: Tensor) -> Tensor:
        return torch.stack([cosine, sine], dim=1).flatten(0, 1)

    cosine, sine = waves(half, size)
    rows = from_reals(cosine, -sine)
    cosine, sine = waves(size, size)
    real, imaginary = torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)
    columns = torch.cat([real + imaginary, real, imaginary])
    # What networks call a convolution is a correlation: the weights' transform is conjugated.
    weight_rows = from_reals(*waves(half, kernel))
    cosine, sine = waves(size, kernel)
    real, imaginary = torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)
    weight_columns = torch.cat([real, imaginary - real, real + imaginary])
    cosine, sine = (wave.T for wave in waves(size, TILE))
    real = torch.cat([cosine - sine, -sine, -cosine], 1)
    imaginary = torch.cat([sine + cosine, cosine, -sine], 1)
    columns_back = torch.cat([real, imaginary]) / size
    cosine, sine = waves(half, TILE)
    counted = torch.full((half, 1), 2.0, dtype=torch.float64)
    counted[0] = 1
    if size % 2 == 0:
        counted[-1] = 1
    rows_back = from_reals(counted * cosine, -counted * sine).T / size
    made = (rows, columns, weight_rows, weight_columns, columns_back, rows_back)
    return _Steps(*(matrix.to(dtype).contiguous() for matrix in made))


class SpectralConvolution(torch.autograd.Function):
    """A convolution with stride 1, by tiles, whose images may want a gradient."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, padding: int, keep: bool
    ) -> Tensor:
        """Map images (B, K, H, W) and weights (O, K, k, k) to (B, O, H', W'), channels last.

        The images' transforms are four times their size: kept for gradients only, if `keep`.
        """
        batch, channels, *sides = images.shape
        outputs, _, kernel, _ = weight.shape
        made = [side + 2 * padding - kernel + 1 for side in sides]
        down, across = (ceil(side / TILE) for side in made)
        far = [
            tiles * TILE + kernel - 1 - side - padding
            for tiles, side in zip((down, across), sides, strict=True)
        ]
        padded = functional.pad(
            images.permute(0, 2, 3, 1), (0, 0, padding, far[1], padding, far[0])
        ).contiguous()
        weights = _weights_transform(weight)
        together = max(1, ROW // (down * across * max(channels, outputs)))
        result = torch.empty(
            (batch, outputs, down * TILE, across * TILE),
            dtype=images.dtype,
            memory_format=torch.channels_last,
        )
        places = result.permute(0, 2, 3, 1).view(batch, down, TILE, across, TILE, outputs)
        transforms = [
            _outputs(some, weights, into, keep)
            for some, into in zip(
                torch.split(padded, together), torch.split(places, together), strict=True
            )
        ]
        if keep:
            ctx.save_for_backward(weights, *transforms)
        ctx.padding, ctx.kernel, ctx.sides, ctx.together = padding, kernel, sides, together
        result += bias[:, None, None]
        if result.shape[2:] == torch.Size(made):
            return result
        # No view of it, which the next layer would not be allowed to change in place.
        return result[:, :, : made[0], : made[1]].clone(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Map the gradient (B, O, H', W') to those of images, weights and biases."""
        weights, *transforms = ctx.saved_tensors
        slope = gradients[0].permute(0, 2, 3, 1)  # (B, H', W', O)
        far = [-side % TILE for side in slope.shape[1:3]]
        if any(far):
            slope = functional.pad(slope, (0, 0, 0, far[1], 0, far[0]))
        weights_slope = torch.empty_like(weights)
        images_slope = [
            _gradients(some, transform, weights, weights_slope, is_first=number == 0)
            for number, (some, transform) in enumerate(
                zip(torch.split(slope, ctx.together), transforms, strict=True)
            )
        ]
        above, (height, width) = ctx.padding, ctx.sides
        padded = torch.cat(images_slope)[:, above : above + height, above : above + width]
        return (
            padded.permute(0, 3, 1, 2),
            _weights_transform_back(weights_slope, ctx.kernel),
            gradients[0].sum(dim=(0, 2, 3)),
            None,
            None,
        )


def _weights_transform(weight: Tensor) -> Tensor:
    """Map weights (O, K, k, k) to factors (h, 3n, K, O)."""
    outputs, channels, kernel, _ = weight.shape
    steps = _steps(kernel, weight.dtype)
    by_place = weight.permute(2, 3, 1, 0).reshape(kernel, -1)
    by_row = (steps.weight_rows @ by_place).view(-1, 2 * kernel, channels * outputs)
    made = torch.bmm(steps.weight_columns.expand(len(by_row), -1, -1), by_row)
    return made.view(len(by_row), -1, channels, outputs)


def _weights_transform_back(slope: Tensor, kernel: int) -> Tensor:
    """Map the gradient of what `_weights_transform` makes to that of what it takes."""
    half, _, channels, outputs = slope.shape
    steps = _steps(kernel, slope.dtype)
    by_row = torch.bmm(steps.weight_columns.T.expand(half, -1, -1), slope.flatten(2))
    by_place = steps.weight_rows.T @ by_row.view(2 * half, -1)
    return by_place.view(kernel, kernel, channels, outputs).permute(3, 2, 0, 1)


def _outputs(padded: Tensor, weights: Tensor, into: Tensor, keep: bool) -> Tensor:
    """Write the outputs of images (b, H, W, K) into (b, T, m, T', m, O); return their transform.

    It has the shape (h, 3n, b * T * T', K), and is good for nothing if not to `keep`.
    """
    batch, down, _, across, _, outputs = into.shape
    half, factors, channels, _ = weights.shape
    size = factors // 3
    steps = _steps(size - TILE + 1, padded.dtype)
    image, row, place, _ = padded.stride()
    tiles = padded.as_strided(
        (size, size, batch, down, across, channels),
        (row, place, image, row * TILE, place * TILE, 1),
    ).reshape(size, -1)
    by_row = (steps.rows @ tiles).view(half, 2 * size, -1)
    kept = half if keep else 1
    transform = padded.new_empty(kept, factors, batch * down * across, channels)
    products = padded.new_empty(factors, batch * down * across, outputs)
    back = padded.new_empty(half, 2 * TILE, batch * down * across * outputs)
    for frequency in range(half):
        made = transform[frequency % kept]
        torch.mm(steps.columns, by_row[frequency], out=made.view(factors, -1))
        torch.bmm(made, weights[frequency], out=products)
        torch.mm(steps.columns_back, products.view(factors, -1), out=back[frequency])
    places = steps.rows_back @ back.view(2 * half, -1)
    places = places.view(TILE, TILE, batch, down, across, outputs)
    into.copy_(places.permute(2, 3, 0, 4, 1, 5))
    return transform


def _gradients(
    slope: Tensor, transform: Tensor, weights: Tensor, weights_slope: Tensor, *, is_first: bool
) -> Tensor:
    """Map the outputs' gradient (b, H', W', O) to that of the padded images (b, H, W, K).

    That of the weights' transform is added to `weights_slope`, or written there at first.
    """
    batch, *sides, outputs = slope.shape
    down, across = (side // TILE for side in sides)
    half, factors, num_tiles, channels = transform.shape
    size = factors // 3
    steps = _steps(size - TILE + 1, slope.dtype)
    places = slope.reshape(batch, down, TILE, across, TILE, outputs).permute(2, 4, 0, 1, 3, 5)
    by_row = (steps.rows_back.T @ places.reshape(TILE, -1)).view(half, 2 * TILE, -1)
    products = slope.new_empty(factors, num_tiles, outputs)
    columns = slope.new_empty(factors, num_tiles, channels)
    back = slope.new_empty(half, 2 * size, num_tiles * channels)
    for frequency in range(half):
        torch.mm(steps.columns_back.T, by_row[frequency], out=products.view(factors, -1))
        weighed = weights_slope[frequency]
        made = transform[frequency].transpose(1, 2)
        torch.baddbmm(weighed, made, products, beta=0 if is_first else 1, out=weighed)
        torch.bmm(products, weights[frequency].transpose(1, 2), out=columns)
        torch.mm(steps.columns.T, columns.view(factors, -1), out=back[frequency])
    tiles = (steps.rows.T @ back.view(2 * half, -1)).view(size, size, batch, down, across, channels)
    return _overlapping_sum(tiles.permute(2, 3, 0, 4, 1, 5))


def _overlapping_sum(tiles: Tensor) -> Tensor:
    """Map tiles (b, T, n, T', n, K), each 8 places from the next, to their sum (b, H, W, K)."""
    batch, down, size, across, _, channels = tiles.shape
    over = size - TILE
    # As if there were one tile more, of which only what others reach into is kept.
    total = tiles.new_zeros(batch, down + 1, TILE, across + 1, TILE, channels)
    total[:, :-1, :, :-1] += tiles[:, :, :TILE, :, :TILE]
    total[:, 1:, :over, :-1] += tiles[:, :, TILE:, :, :TILE]
    total[:, :-1, :, 1:, :over] += tiles[:, :, :TILE, :, TILE:]
    total[:, 1:, :over, 1:, :over] += tiles[:, :, TILE:, :, TILE:]
    height, width = down * TILE + over, across * TILE + over
    return total.view(batch, (down + 1) * TILE, -1, channels)[:, :height, :width]
