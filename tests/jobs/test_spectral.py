import pytest
import torch
from torch import nn
from torch.nn import functional

from jobs import spectral
from jobs.spectral import SpectralConvolution, pays

SHAPES = [  # images a batch, channels, height, width, outputs, kernel, padding
    (8, 32, 32, 32, 64, 5, 2),
    (32, 64, 16, 16, 128, 5, 2),
    (24, 32, 32, 32, 64, 5, 2),  # more images than are worked on together
    (1, 3, 12, 16, 4, 5, 2),
    (2, 3, 17, 40, 4, 5, 2),
    (3, 2, 9, 30, 3, 5, 0),
    (1, 1, 5, 5, 1, 5, 0),
    (2, 3, 16, 24, 5, 3, 1),
    (2, 3, 20, 13, 5, 7, 3),
    (2, 3, 12, 12, 5, 4, 2),
    (2, 3, 17, 16, 4, 9, 4),  # the largest kernel
]


def _convolution(images, weight, bias, padding):
    return SpectralConvolution.apply(images, weight, bias, padding, torch.is_grad_enabled())


def _case(shape, dtype=torch.float32):
    batch, channels, height, width, outputs, kernel, padding = shape
    torch.manual_seed(7)
    images = torch.randn(batch, channels, height, width)
    weight = torch.randn(outputs, channels, kernel, kernel) / kernel
    bias = torch.randn(outputs)
    return *(tensor.to(dtype).requires_grad_() for tensor in (images, weight, bias)), padding


def _results(convolution, images, weight, bias, padding):
    made = convolution(images, weight, bias, padding=padding)
    slope = torch.linspace(-1, 1, made.numel(), dtype=made.dtype)
    slope = slope.view(made.shape)
    return [made.detach(), *torch.autograd.grad(made, (images, weight, bias), slope)]


def _largest_errors(results, exact):
    return [
        float((result - expected).abs().max() / expected.abs().max())
        for result, expected in zip(results, exact, strict=True)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_convolution_and_its_gradients(shape):
    ours = _results(_convolution, *_case(shape))
    exact = _results(functional.conv2d, *_case(shape, torch.float64))
    assert max(_largest_errors(ours, exact)) < 2e-6


def test_its_rounding_is_no_worse_than_the_direct_ways():
    ours = _results(_convolution, *_case(SHAPES[1]))
    direct = _results(functional.conv2d, *_case(SHAPES[1]))
    exact = _results(functional.conv2d, *_case(SHAPES[1], torch.float64))
    pairs = zip(_largest_errors(ours, exact), _largest_errors(direct, exact), strict=True)
    assert all(error <= 1.5 * plain for error, plain in pairs)


@pytest.mark.parametrize("shape", [(2, 2, 9, 12, 3, 5, 2), (1, 2, 8, 7, 2, 3, 0)])
def test_gradients_are_those_of_small_differences(shape):
    *tensors, padding = _case(shape, torch.float64)
    assert torch.autograd.gradcheck(
        lambda images, weight, bias: _convolution(images, weight, bias, padding), tensors
    )


def test_images_worked_on_apart_give_what_they_give_together(monkeypatch):
    shape = (8, 16, 16, 16, 16, 5, 2)
    together = _results(_convolution, *_case(shape))
    monkeypatch.setattr(spectral, "ROW", 3 * 4 * 16)  # three images at a time, then two
    for apart, whole in zip(_results(_convolution, *_case(shape)), together, strict=True):
        torch.testing.assert_close(apart, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_the_same_images_give_the_same_bits_again(memory):
    images, weight, bias, padding = _case(SHAPES[0])
    images = images.detach().contiguous(memory_format=memory).requires_grad_()
    first = _results(_convolution, images, weight, bias, padding)
    again = _results(_convolution, images, weight, bias, padding)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_transforms_are_kept_for_gradients_only(monkeypatch):
    kept = []

    def outputs(*arguments, ways=spectral._outputs):
        kept.append(ways(*arguments))
        return kept[-1]

    monkeypatch.setattr(spectral, "_outputs", outputs)
    case = _case(SHAPES[0])
    trained = _convolution(*case)
    with torch.no_grad():
        assert torch.equal(_convolution(*case), trained)
    assert [len(transform) for transform in kept] == [214, 36]  # all rows; one at a time


def test_what_it_gives_may_be_changed_in_place():
    for shape in ((1, 3, 12, 16, 4, 5, 2), (2, 3, 16, 16, 4, 5, 2)):
        _convolution(*_case(shape)).relu_().sum().backward()


@pytest.mark.parametrize(
    ("batch", "channels", "side", "kernel", "expected"),
    [
        (8, 32, 32, 5, True),
        (8, 64, 16, 5, True),
        (7, 64, 16, 5, False),  # too few tiles
        (64, 64, 12, 5, False),  # 16 x 16 places for 12 x 12
        (64, 128, 8, 5, True),
        (8, 128, 8, 5, False),
        (8, 3, 64, 5, False),  # an image's colours
        (8, 32, 32, 3, False),
        (8, 32, 32, 11, False),
    ],
)
def test_it_is_used_where_it_pays(batch, channels, side, kernel, expected):
    convolution = nn.Conv2d(channels, 8, kernel, padding=kernel // 2)
    images = torch.rand(batch, channels, side, side)
    assert pays(convolution, images) is expected
    with torch.autocast("cpu", torch.bfloat16):
        assert not pays(convolution, images)
    assert not pays(convolution.double(), images.double())
