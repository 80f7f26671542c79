import pytest
import torch
from torch import nn

from jobs.monkeynet import build_model
from jobs.plan import ModelPlan, feature_side_px


def _layers(model: nn.Module) -> list[str]:
    return [str(module) for module in model.modules() if not list(module.children())]


def test_the_base_network_is_the_rule_books():
    assert _layers(build_model(ModelPlan(), 10, 64)) == [
        "Conv2d(3, 32, kernel_size=(3, 3), stride=(1, 1), padding=(2, 2))",
        "ReLU(inplace=True)",
        "MaxPool2d(kernel_size=8, stride=8, padding=0, dilation=1, ceil_mode=False)",
        "Flatten(start_dim=1, end_dim=-1)",
        "Linear(in_features=2048, out_features=16, bias=True)",
        "ReLU()",
        "Linear(in_features=16, out_features=10, bias=True)",
    ]


def test_turbo_blocks_double_the_channels():
    layers = _layers(build_model(ModelPlan(turbo_blocks=2), 10, 64))
    assert [layer for layer in layers if layer.startswith("Conv2d")] == [
        f"Conv2d({num_in}, {num_out}, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))"
        for num_in, num_out in ((3, 32), (32, 64), (64, 128))
    ]
    assert sum(layer.startswith("MaxPool2d(kernel_size=2, stride=2") for layer in layers) == 3
    assert "Linear(in_features=8192, out_features=16, bias=True)" in layers


@pytest.mark.parametrize("turbo_blocks", [0, 1, 2, 3])
@pytest.mark.parametrize("size_px", [5, 6, 7, 16, 31, 33])
def test_the_first_linear_layer_follows_the_image_size(size_px, turbo_blocks):
    plan = ModelPlan(turbo_blocks=turbo_blocks)
    if feature_side_px(size_px, turbo_blocks) == 0:
        with pytest.raises(
            ValueError, match=rf"images of {size_px} px are too small for {turbo_blocks}"
        ):
            build_model(plan, 4, size_px)
    else:
        logits = build_model(plan, 4, size_px)(torch.rand(3, 3, size_px, size_px))
        assert logits.shape == (3, 4)
