import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.fused import PooledConvolution, fuse
from jobs.monkeynet import build_model
from jobs.plan import ModelPlan

PLANS = [
    ModelPlan(),
    ModelPlan(dropout=0.3),
    ModelPlan(attention=True),
    ModelPlan(turbo_blocks=1),
    ModelPlan(turbo_blocks=2, dropout=0.2),
    ModelPlan(turbo_blocks=1, dropout=0.2, attention=True),
]


def _fused(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    fuse(copied, "cpu")
    return copied


def _loss_and_gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    torch.manual_seed(5)  # of dropout
    model.zero_grad()
    labels = torch.arange(len(images)) % 4
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    return [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


def _clear_cut(features: nn.Module, number: int) -> Tensor:
    """Images in which no two values that are pooled, nor one and 0, are as good as equal.

    Which of them is the larger would depend on the processor, and with it whose the gradient is.
    """
    images = made = torch.rand(128, 3, 32, 32)
    gaps = torch.full((len(images),), torch.inf)
    with torch.no_grad():
        for block in features:
            side = block[-1].kernel_size
            windows = block[0](made).unfold(2, side, side).unfold(3, side, side).flatten(4)
            first, second = windows.topk(2).values.unbind(-1)
            gap = torch.where(first > 0, first - second.clamp(min=0), -first)
            gap[first == second] = torch.inf  # zeros came in, which every processor adds up alike
            gaps = gaps.minimum(gap.flatten(1).amin(1))
            made = block(made)
    clear = images[gaps > 2e-6]
    assert len(clear) >= number
    return clear[:number]


def test_a_network_is_gone_with_its_last_reference():
    """Between two members of a warm slot nobody looks for circles of references."""
    model = _fused(build_model(ModelPlan(), 4, 16))
    network = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert network() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("size_px", [16, 31, 33, 64])
def test_it_is_the_network_and_its_gradients(plan, size_px):
    torch.manual_seed(1)
    model = build_model(plan, 4, size_px)
    images = torch.rand(6, 3, size_px, size_px)
    plain = _loss_and_gradients(model, images)
    ours = _loss_and_gradients(_fused(model), images)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("plan", PLANS)
def test_it_evaluates_as_the_network_does(plan):
    torch.manual_seed(2)
    model = build_model(plan, 4, 32).eval()
    images = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(_fused(model)(images), model(images))


@pytest.mark.parametrize("size_px", [6, 7, 8, 13, 14])
def test_gradients_are_those_of_small_differences(size_px):
    torch.manual_seed(3)
    images = torch.rand(3, 2, size_px, size_px, dtype=torch.float64)
    weight = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda weight, bias: PooledConvolution.apply(images, weight, bias, 2, 4), (weight, bias)
    )


@pytest.mark.parametrize("size_px", [6, 13, 14, 64])
def test_it_pools_what_the_convolution_gives(size_px):
    torch.manual_seed(4)
    convolution = nn.Conv2d(3, 8, 3, padding=2)
    images = torch.rand(2, 3, size_px, size_px)
    expected = functional.max_pool2d(convolution(images), 4)
    ours = PooledConvolution.apply(images, convolution.weight, convolution.bias, 2, 4)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("blocks", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        {"padding_mode": "reflect"},
        {"groups": True},
        {"bias": False},
        {"padding": "same"},
        {"padding": (1, 2)},
        {"kernel_size": (5, 3)},
        {"dilation": 2, "padding": 4},
        {"kernel_size": 11, "padding": 5},
        {"kernel_size": 7, "padding": 3},
    ],
    ids=str,
)
def test_a_network_that_somebody_has_changed_is_itself(blocks, change):
    torch.manual_seed(6)
    model = build_model(ModelPlan(turbo_blocks=blocks), 4, 32)
    block = model.features[blocks]
    was = block[0]
    outputs, settings = (
        was.out_channels,
        {"kernel_size": was.kernel_size[0], "padding": 2, **change},
    )
    if "groups" in change:
        settings["groups"] = was.in_channels
        outputs += -outputs % was.in_channels
    block[0] = nn.Conv2d(was.in_channels, outputs, **settings)
    images = _clear_cut(model.features, 16)
    model.classifier[1] = nn.Linear(model.features(images).flatten(1).shape[1], 16)
    ours, plain = _loss_and_gradients(_fused(model), images), _loss_and_gradients(model, images)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


def test_hooks_are_called():
    model = build_model(ModelPlan(turbo_blocks=1), 4, 32)
    model.features[1][0].register_forward_pre_hook(lambda _layer, given: (given[0].square(),))
    images = torch.rand(8, 3, 32, 32)
    ours, plain = _loss_and_gradients(_fused(model), images), _loss_and_gradients(model, images)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


def test_bfloat16_is_that_of_autocast():
    model = build_model(ModelPlan(), 4, 32)
    ours, images = _fused(model), torch.rand(4, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        plain_logits, logits = model(images), ours(images)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits, plain_logits)
    for computed in (plain_logits, logits):
        functional.cross_entropy(computed.float(), torch.arange(4)).backward()
    for plain, mine in zip(model.parameters(), ours.parameters(), strict=True):
        assert mine.grad.dtype == torch.float32
        torch.testing.assert_close(mine.grad, plain.grad, atol=2e-3, rtol=2e-2)


def test_images_that_want_a_gradient_get_one():
    model = build_model(ModelPlan(), 4, 32)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    ours = torch.autograd.grad(_fused(model)(images).sum(), images)
    plain = torch.autograd.grad(model(images).sum(), images)
    torch.testing.assert_close(ours, plain)


def test_other_networks_and_devices_compute_as_they_are():
    other, monkeynet = nn.Flatten(), build_model(ModelPlan(), 4, 16)
    fuse(other, "cpu")
    fuse(monkeynet, "cuda")
    assert "forward" not in vars(other) | vars(monkeynet)


def test_hooks_of_the_network_are_called():
    seen = []
    model = _fused(build_model(ModelPlan(), 4, 16))
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    model(torch.rand(2, 3, 16, 16))
    assert seen == [(2, 3, 16, 16)]


def test_an_infinite_weight_is_not_pooled_away():
    model = build_model(ModelPlan(), 4, 16)
    with torch.no_grad():
        model.features[0][0].weight.fill_(float("nan"))
    assert _fused(model)(torch.rand(2, 3, 16, 16)).isnan().all()


def test_a_block_that_someone_changed_computes_as_it_is():
    model = build_model(ModelPlan(turbo_blocks=1), 4, 16)
    model.features[1][1] = nn.GELU()  # not monotone: pooling first would give something else
    fuse(model, "cpu")
    assert "forward" not in vars(model)
