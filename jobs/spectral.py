"""A convolution as products of Fourier transforms: a seventh of its products over the channels.

In: images, weights and biases of a convolution with stride 1. Out: what `conv2d` gives, and its
gradients, up to rounding. `jobs.fused` computes a turbo boost's layers with it, where `pays` says
that it is faster than the direct way.

Each image is cut into tiles of 8 x 8 outputs, each from 12 x 12 inputs with a kernel of 5. A tile's
two-dimensional Fourier transform, times that of the weights, summed over the channels, is the
transform of its output. Tiled transforms on CPUs: Zlateski et al. 2018,
https://arxiv.org/abs/1809.07851; in training: Mathieu et al. 2014, https://arxiv.org/abs/1312.5851.

All steps are products of real matrices, which is the thing that a processor does best, and each
step's gradient is the product with the matrix transposed: `jobs.tile_transforms` has them. A tile's
spectrum is worked on in bands, a row of frequencies each.
"""

from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from jobs.tile_transforms import steps
from jobs.tiles import TILE, tiles_pay

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
    return tiles_pay(kernel, convolution.in_channels, outputs, len(images))


class SpectralConvolution(torch.autograd.Function):
    """A convolution with stride 1, by tiles, whose images may want a gradient."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, padding: int, keep: bool
    ) -> Tensor:
        """Map images (B, K, H, W) and weights (O, K, k, k) to (B, O, H', W'), channels last.

        The images' transforms, three times their size, are kept for gradients only, if `keep`.
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
            _outputs(some, weights, into, kernel, keep)
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
            _gradients(some, transform, weights, weights_slope, ctx.kernel, is_first=number == 0)
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
    """Map weights (O, K, k, k) to the F factors of all bands: (F, K, O)."""
    outputs, channels, kernel, _ = weight.shape
    way = steps(kernel, weight.dtype)
    by_place = weight.permute(2, 3, 1, 0).reshape(kernel, -1)
    by_row = (way.weight_rows @ by_place).view(-1, channels * outputs)
    made = weight.new_empty(way.num_factors, channels * outputs)
    for band in way.bands:
        torch.mm(band.weight_columns, by_row[band.weights], out=made[band.factors])
    return made.view(-1, channels, outputs)


def _weights_transform_back(slope: Tensor, kernel: int) -> Tensor:
    """Map the gradient of what `_weights_transform` makes to that of what it takes."""
    _, channels, outputs = slope.shape
    way = steps(kernel, slope.dtype)
    by_row = slope.new_empty(len(way.weight_rows) * kernel, channels * outputs)
    for band in way.bands:
        torch.mm(band.weight_columns.T, slope[band.factors].flatten(1), out=by_row[band.weights])
    by_place = way.weight_rows.T @ by_row.view(len(way.weight_rows), -1)
    return by_place.view(kernel, kernel, channels, outputs).permute(3, 2, 0, 1)


def _outputs(padded: Tensor, weights: Tensor, into: Tensor, kernel: int, keep: bool) -> Tensor:
    """Write the outputs of images (b, H, W, K) into (b, T, m, T', m, O); return their transform.

    With `keep` it has the shape (F, b * T * T', K); without, it is good for nothing.
    """
    batch, down, _, across, _, outputs = into.shape
    channels = padded.shape[-1]
    way = steps(kernel, padded.dtype)
    size, num_tiles = len(way.rows), batch * down * across
    image, row, place, _ = padded.stride()
    tiles = padded.as_strided(
        (size, size, batch, down, across, channels),
        (row, place, image, row * TILE, place * TILE, 1),
    ).reshape(size, -1)
    by_row = (way.rows @ tiles).view(size * size, -1)
    transform = padded.new_empty(way.num_factors if keep else way.most_factors, num_tiles, channels)
    products = padded.new_empty(way.most_factors, num_tiles, outputs)
    back = padded.new_empty(size * TILE, num_tiles * outputs)
    for band in way.bands:
        num_factors = len(band.columns)
        made = transform[band.factors] if keep else transform[:num_factors]
        product = products[:num_factors]
        torch.mm(band.columns, by_row[band.inputs], out=made.view(num_factors, -1))
        torch.bmm(made, weights[band.factors], out=product)
        torch.mm(band.columns_back, product.view(num_factors, -1), out=back[band.outputs])
    places = way.rows_back @ back.view(size, -1)
    places = places.view(TILE, TILE, batch, down, across, outputs)
    into.copy_(places.permute(2, 3, 0, 4, 1, 5))
    return transform


def _gradients(
    slope: Tensor,
    transform: Tensor,
    weights: Tensor,
    weights_slope: Tensor,
    kernel: int,
    *,
    is_first: bool,
) -> Tensor:
    """Map the outputs' gradient (b, H', W', O) to that of the padded images (b, H, W, K).

    That of the weights' transform is added to `weights_slope`, or written there at first.
    """
    batch, *sides, outputs = slope.shape
    down, across = (side // TILE for side in sides)
    _, num_tiles, channels = transform.shape
    way = steps(kernel, slope.dtype)
    size = len(way.rows)
    places = slope.reshape(batch, down, TILE, across, TILE, outputs).permute(2, 4, 0, 1, 3, 5)
    by_row = (way.rows_back.T @ places.reshape(TILE, -1)).view(size * TILE, -1)
    products = slope.new_empty(way.most_factors, num_tiles, outputs)
    factors = slope.new_empty(way.most_factors, num_tiles, channels)
    back = slope.new_empty(size * size, num_tiles * channels)
    for band in way.bands:
        num_factors = len(band.columns)
        product, factor = products[:num_factors], factors[:num_factors]
        torch.mm(band.columns_back.T, by_row[band.outputs], out=product.view(num_factors, -1))
        weighed = weights_slope[band.factors]
        made = transform[band.factors].transpose(1, 2)
        torch.baddbmm(weighed, made, product, beta=0 if is_first else 1, out=weighed)
        torch.bmm(product, weights[band.factors].transpose(1, 2), out=factor)
        torch.mm(band.columns.T, factor.view(num_factors, -1), out=back[band.inputs])
    tiles = (way.rows.T @ back.view(size, -1)).view(size, size, batch, down, across, channels)
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
