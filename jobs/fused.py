"""MonkeyNET computed in the order that a processor likes.

In: a `MonkeyNet` and images. Out: the logits that the network itself gives, and its gradients, up
to rounding. `jobs.monkeynet` says what the network is; this says how `jobs.train` computes it on a
CPU, in four changes of which none changes a result:

- Pooling comes before ReLU and dropout. The largest of some values stays the largest when all of
  them are cut off at 0 or scaled; what follows has a fourth, or a 64th, of the places to work on.
- Tensors are channels-last: pooling is six times faster there, a convolution as fast or faster.
- The base network's one block is a function of its own: of every 8 x 8 places only the largest has
  a gradient, and the convolution's backward pass leaves out the other 63.
- A turbo boost's layer is computed by Fourier transforms (`jobs.spectral`).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from jobs.monkeynet import MonkeyNet, SpatialAttention
from jobs.spectral import SpectralConvolution, pays

# With fewer places pooled into one, the dense backward pass is the faster one.
SPARSE_FROM_PLACES = 16
# What a block has between its convolution and its pooling.
BETWEEN = {nn.ReLU, nn.Dropout2d, SpatialAttention}


def fuse(model: nn.Module, device: str) -> None:
    """Have a network compute its logits (B, C) from images (B, 3, S, S) in that order from now on.

    It stays as it is on another device, and where it is none that `build_model` makes: a team's,
    say, or one with hooks.
    """
    if device == "cpu" and type(model) is MonkeyNet and all(map(_as_built, model.features)):
        # Of another class, so that whoever calls the network need not know. Not by a `forward` of
        # its own, which would hold it: nobody collects such circles while slots train, and a few
        # large networks more stay in memory for long.
        model.__class__ = _Fused


def _as_built(block: nn.Module) -> bool:
    """Whether a block's layers are those that `_block` knows how to exchange."""
    if len(list(block.children())) < 2:
        return False
    convolution, *_ = block.children()
    first, *between, last = map(type, block.children())
    return (
        (first, last) == (nn.Conv2d, nn.MaxPool2d)
        and set(between) <= BETWEEN
        and _is_plain(convolution)
        and not any(layer._forward_hooks or layer._forward_pre_hooks for layer in block.modules())
    )


def _is_plain(convolution: nn.Module) -> bool:
    """Whether it is nothing but the sum that it is named after, over squares of one padding."""
    assert isinstance(convolution, nn.Conv2d)
    padding, kernel = convolution.padding, convolution.kernel_size
    return (
        (convolution.stride, convolution.dilation, convolution.groups) == ((1, 1), (1, 1), 1)
        and (convolution.padding_mode, convolution.bias is None) == ("zeros", False)
        and not isinstance(padding, str)
        and padding[0] == padding[1]
        and kernel[0] == kernel[1]
    )


class _Fused(MonkeyNet):
    """The same network, with another `forward`."""

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S) in [0, 1] to logits (B, C)."""
        features = images
        for block in self.features:
            features = _block(block, features)
        logits: Tensor = self.classifier(features)
        return logits


def _block(block: nn.Module, images: Tensor) -> Tensor:
    assert isinstance(block, nn.Sequential)
    convolution, *between, pooling = block
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(pooling, nn.MaxPool2d)
    features: Tensor
    if any(isinstance(layer, SpatialAttention) for layer in between):
        # It looks at all channels of a place, and each channel has its largest value elsewhere.
        features = _convolution(convolution, images)
        for layer in (*between, pooling):
            features = layer(features)
        return features
    side = pooling.kernel_size
    assert isinstance(side, int)
    if side**2 >= SPARSE_FROM_PLACES and not images.requires_grad:
        weight, bias, padding = convolution.weight, convolution.bias, convolution.padding[0]
        features = PooledConvolution.apply(images, weight, bias, padding, side)
    else:
        in_order = images.contiguous(memory_format=torch.channels_last)
        features = pooling(_convolution(convolution, in_order))
    for layer in between:
        features = layer(features)
    return features


def _convolution(convolution: nn.Conv2d, images: Tensor) -> Tensor:
    if not pays(convolution, images):
        direct: Tensor = convolution(images)
        return direct
    weight, bias, padding = convolution.weight, convolution.bias, convolution.padding[0]
    made: Tensor
    made = SpectralConvolution.apply(images, weight, bias, padding, torch.is_grad_enabled())
    return made


class PooledConvolution(torch.autograd.Function):
    """A convolution and the maximum pooling behind it, without a gradient for the images."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, padding: int, pool: int
    ) -> Tensor:
        """Map images (B, K, H, W) and weights (O, K, k, k) to (B, O, H', W')."""
        *_, height, width = images.shape
        kernel = weight.shape[2]
        # On the far sides as much, or as little, as what is pooled has need of.
        right, down = (
            (side + 2 * padding - kernel + 1) // pool * pool + kernel - 1 - side - padding
            for side in (width, height)
        )
        padded = functional.pad(images, (padding, right, padding, down))
        padded = padded.contiguous(memory_format=torch.channels_last)
        pooled, largest = functional.max_pool2d(
            functional.conv2d(padded, weight, bias), pool, return_indices=True
        )
        ctx.save_for_backward(padded, largest)
        ctx.kernel = kernel
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Map the gradient (B, O, H', W') to those of weights and biases."""
        padded, largest = ctx.saved_tensors  # (B, K, H, W); (B, O, H', W'), y * width + x
        gradient = gradients[0].to(padded.dtype)  # it comes in bfloat16 under autocast
        kernel: int = ctx.kernel
        num_images, channels, height, width = padded.shape
        outputs = largest.shape[1]

        # 1. Where the patch under each largest value begins, in pixels of the whole batch.
        largest = largest.transpose(0, 1)  # (O, B, H', W')
        first = torch.arange(num_images)[:, None, None] * (height * width)
        rows_above = largest.div(width - kernel + 1, rounding_mode="floor")
        begins = (first + largest + rows_above * (kernel - 1)).reshape(-1)

        # 2. A patch's row is one run of memory: a view has the run from every pixel on, and those
        # that are needed are copied. Each output's weights then are a sum over its patches.
        runs = padded.as_strided(
            (num_images * height * width - kernel + 1, kernel * channels), (channels, 1)
        )
        slope = gradient.transpose(0, 1).reshape(outputs, 1, -1)
        rows = [
            slope.bmm(runs[row * width :].index_select(0, begins).view(outputs, -1, runs.shape[1]))
            for row in range(kernel)
        ]  # each (O, 1, k * K)
        weight = torch.cat(rows, dim=1).view(outputs, kernel, kernel, channels)
        return None, weight.permute(0, 3, 1, 2), gradient.sum(dim=(0, 2, 3)), None, None
