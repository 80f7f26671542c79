import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.fused import PooledConvolution, fused
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


def _loss_and_gradients(compute: nn.Module, model: nn.Module, images: Tensor) -> list[Tensor]:
    torch.manual_seed(5)  # of dropout
    model.zero_grad()
    labels = torch.arange(len(images)) % 4
    loss = functional.cross_entropy(compute(images), labels)
    loss.backward()
    return [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("size_px", [16, 31, 33, 64])
def test_it_is_the_network_and_its_gradients(plan, size_px):
    torch.manual_seed(1)
    model = build_model(plan, 4, size_px)
    images = torch.rand(6, 3, size_px, size_px)
    plain = _loss_and_gradients(model, model, images)
    ours = _loss_and_gradients(fused(model, "cpu"), model, images)
    torch.testing.assert_close(ours, plain, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("plan", PLANS)
def test_it_evaluates_as_the_network_does(plan):
    torch.manual_seed(2)
    model = build_model(plan, 4, 32).eval()
    images = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(fused(model, "cpu")(images), model(images))


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


def test_the_first_block_keeps_float32_under_autocast():
    model = build_model(ModelPlan(), 4, 32)
    images = torch.rand(4, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        conv, *_ = model.features[0]
        pooled = PooledConvolution.apply(images, conv.weight, conv.bias, 2, 8)
        logits = fused(model, "cpu")(images)
    assert (pooled.dtype, logits.dtype) == (torch.float32, torch.bfloat16)
    logits.float().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_images_that_want_a_gradient_get_one():
    model = build_model(ModelPlan(), 4, 32)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    ours = torch.autograd.grad(fused(model, "cpu")(images).sum(), images)
    plain = torch.autograd.grad(model(images).sum(), images)
    torch.testing.assert_close(ours, plain)


def test_other_networks_and_devices_compute_as_they_are():
    other, monkeynet = nn.Flatten(), build_model(ModelPlan(), 4, 16)
    assert fused(other, "cpu") is other
    assert fused(monkeynet, "cuda") is monkeynet


def test_an_infinite_weight_is_not_pooled_away():
    model = build_model(ModelPlan(), 4, 16)
    with torch.no_grad():
        model.features[0][0].weight.fill_(float("nan"))
    assert fused(model, "cpu")(torch.rand(2, 3, 16, 16)).isnan().all()


def test_a_block_that_someone_changed_computes_as_it_is():
    model = build_model(ModelPlan(turbo_blocks=1), 4, 16)
    model.features[1][1] = nn.GELU()  # not monotone: pooling first would give something else
    assert fused(model, "cpu") is model
