import hashlib
import math

import pytest
import torch
from torch import nn

from jobs.monkeynet import SpatialAttention, build_model
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


# --- dropout and attention -----------------------------------------------------------------------

ATTENDED = ["Conv2d(2, 1, kernel_size=(7, 7), stride=(1, 1), padding=(3, 3), bias=False)"]
BOTH = ModelPlan(dropout=0.3, attention=True)


def test_a_block_is_convolution_relu_dropout_attention_pooling():
    layers = _layers(build_model(BOTH.model_copy(update={"turbo_blocks": 1}), 10, 64))
    assert [layer.partition("(")[0] for layer in layers] == [
        "Conv2d", "ReLU", "Dropout2d", "MaxPool2d",
        "Conv2d", "ReLU", "Dropout2d", "Conv2d", "MaxPool2d",
        "Flatten", "Linear", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip
    assert [layer for layer in layers if "Dropout" in layer] == [
        "Dropout2d(p=0.3, inplace=False)",
        "Dropout2d(p=0.3, inplace=False)",
        "Dropout(p=0.3, inplace=False)",
    ]
    assert layers[7:8] == ATTENDED


def test_neither_changes_the_names_of_the_other_weights():
    plain = {
        name: value.shape for name, value in build_model(ModelPlan(), 10, 64).state_dict().items()
    }
    both = {name: value.shape for name, value in build_model(BOTH, 10, 64).state_dict().items()}
    assert list(plain) == [
        "features.0.0.weight", "features.0.0.bias", "classifier.1.weight", "classifier.1.bias",
        "classifier.3.weight", "classifier.3.bias",
    ]  # fmt: skip
    assert {name: shape for name, shape in both.items() if name in plain} == plain
    assert {name: both[name] for name in both.keys() - plain.keys()} == {
        "features.0.3.conv.weight": (1, 2, 7, 7)
    }


def test_dropout_draws_no_weights():
    digests = set()
    for plan in (ModelPlan(), ModelPlan(dropout=0.5)):
        torch.manual_seed(3)
        state = build_model(plan, 10, 64).state_dict()
        digests.add(hashlib.sha256(b"".join(v.numpy().tobytes() for v in state.values())).digest())
    assert len(digests) == 1


def test_attention_is_its_definition():
    """sigmoid(sum over 7 x 7 places of both maps, times weights) x features, place by place."""
    attention = SpatialAttention()
    features = torch.randn(2, 5, 4, 6)
    weights = attention.conv.weight.detach()[0]  # (2, 7, 7): for the mean, for the maximum
    expected = torch.empty_like(features)
    for image in range(2):
        for y in range(4):
            for x in range(6):
                total = 0.0
                for dy in range(-3, 4):
                    for dx in range(-3, 4):
                        if 0 <= y + dy < 4 and 0 <= x + dx < 6:  # outside, both maps are 0
                            column = features[image, :, y + dy, x + dx]
                            mean, largest = column.mean().item(), column.max().item()
                            total += mean * weights[0, dy + 3, dx + 3].item()
                            total += largest * weights[1, dy + 3, dx + 3].item()
                share = 1 / (1 + math.exp(-total))
                expected[image, :, y, x] = share * features[image, :, y, x]
    torch.testing.assert_close(attention(features).detach(), expected, atol=1e-6, rtol=1e-5)


def _seen(model: nn.Module, *kinds: type[nn.Module]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What every layer of these kinds was given and made of it, in one forward pass."""
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(
                lambda _, args, output: pairs.append((args[0].clone(), output.clone()))
            )
    torch.manual_seed(0)
    model(torch.rand(64, 3, 16, 16))
    return pairs


def test_spatial_dropout_zeroes_whole_channels_after_relu():
    model = build_model(ModelPlan(turbo_blocks=1, dropout=0.25), 4, 16).train()
    dropped = _seen(model, nn.Dropout2d)
    for (before, after), num_channels in zip(dropped, (32, 64), strict=True):
        assert before.min() == 0  # a ReLU's output
        assert before.shape[:2] == (64, num_channels)
        lost = (after == 0).all(dim=(2, 3)) & (before > 0).any(dim=(2, 3))
        assert lost.float().mean().item() == pytest.approx(0.25, abs=0.04)
        kept = ~lost[:, :, None, None]
        torch.testing.assert_close(after, torch.where(kept, before / 0.75, 0.0))


def test_what_spatial_dropout_leaves_is_what_is_pooled():
    model = build_model(ModelPlan(dropout=0.25), 4, 16).train()
    (_, left), (pooled, _) = _seen(model, nn.Dropout2d, nn.MaxPool2d)
    assert torch.equal(left, pooled)


def test_ordinary_dropout_zeroes_single_features_of_the_last_hidden_layer():
    model = build_model(ModelPlan(dropout=0.25), 4, 16).train()
    ((before, after),) = _seen(model, nn.Dropout)
    assert before.shape == (64, 16)
    assert before.min() == 0
    lost = (after == 0) & (before > 0)
    assert lost.sum() / (before > 0).sum() == pytest.approx(0.25, abs=0.08)
    torch.testing.assert_close(after, torch.where(lost, 0.0, before / 0.75))


def test_nothing_is_dropped_in_evaluation():
    dropping = build_model(ModelPlan(turbo_blocks=1, dropout=0.5), 4, 16).eval()
    plain = build_model(ModelPlan(turbo_blocks=1), 4, 16).eval()
    plain.load_state_dict(dropping.state_dict())
    images = torch.rand(8, 3, 16, 16)
    assert torch.equal(dropping(images), plain(images))


@pytest.mark.parametrize("turbo_blocks", [0, 1])
def test_a_network_with_both_can_be_exported(turbo_blocks):
    model = build_model(BOTH.model_copy(update={"turbo_blocks": turbo_blocks}), 4, 16).eval()
    exported = torch.export.export(
        model, (torch.rand(2, 3, 16, 16),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    ).module()
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(exported(images), model(images))
