"""A team's file, imported: what it defines is used, and what that returns is checked."""

import random
import sys
import textwrap

import pytest
import torch
from torch import nn

from jobs.custom.team_code import MODULE, TeamFailure, blamed, load
from jobs.plan import CustomPlan
from tests.jobs.team_files import FILE, FITS, NETWORK, build_network, import_file, team_file

pytestmark = pytest.mark.usefixtures("forget_team_code")


# --- what works ----------------------------------------------------------------------------------


def test_all_three_functions():
    techniques = import_file("""
        from dataclasses import dataclass
        import torch
        from torch import nn
        from torch.nn import functional

        @dataclass
        class Settings:  # needs its module to be known
            width: int = 4

        def build_model(num_classes, size_px):
            return nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes))

        def build_loss(class_weights):
            return lambda logits, targets: functional.cross_entropy(logits, targets, class_weights)

        def augment(images, generator):
            return images + torch.rand(images.shape, generator=generator)
    """)
    logits = techniques.build_model(5, 8)(torch.zeros(7, 3, 8, 8))
    assert logits.shape == (7, 5)
    loss = techniques.build_loss(torch.ones(5))(logits, torch.arange(5).repeat(2)[:7])
    assert loss.ndim == 0
    assert loss.requires_grad
    generators = (torch.Generator().manual_seed(3) for _ in range(2))
    one, other = (techniques.augment(torch.zeros(2, 3, 8, 8), each) for each in generators)
    assert torch.equal(one, other)
    assert one.min() != one.max()


def test_what_a_file_does_not_define_stays_ours():
    assert import_file("def augment(images, generator): return images").build_model is None
    assert import_file("def augment(images, generator): return images").build_loss is None
    assert import_file(NETWORK.format(FITS)).augment is None


def test_only_what_the_plan_names_is_used():
    source = "def build_loss(weights): ...\ndef augment(images, generator): return images"
    assert import_file(source, "augment").build_loss is None


def test_a_network_is_tried_without_leaving_traces():
    """Neither torch's random state nor running means, nor the modes, are changed by the trial."""
    source = NETWORK.format("Net(num_classes)") + textwrap.dedent("""
        class Net(nn.Module):
            def __init__(self, num_classes):
                super().__init__()
                self.norm = nn.BatchNorm2d(3)
                self.frozen = nn.BatchNorm2d(3).eval()
                self.head = nn.Linear(3, num_classes)

            def forward(self, images):
                noise = torch.rand(images.shape)
                features = self.frozen(self.norm(images + noise))
                return self.head(features.mean(dim=(2, 3)))
    """)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        nn.Linear(3, 5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        network = import_file(source).build_model(5, 8)
        assert torch.equal(torch.rand(3), expected)
    assert network.norm.training
    assert network.norm.num_batches_tracked == 0
    assert not network.frozen.training


def test_layers_that_find_their_size_are_ready():
    network = build_network("nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))")
    assert sum(parameter.numel() for parameter in network.parameters()) == 3 * 64 * 5 + 5


def test_other_floating_point_formats_become_float32():
    network = build_network(
        "nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes), Half())"
        "\n\nclass Half(nn.Module):\n    def forward(self, x):\n        return x.double()"
    )
    assert network(torch.zeros(2, 3, 8, 8)).dtype == torch.float32
    images = torch.zeros(2, 3, 8, 8)
    doubled = import_file("def augment(images, generator): return images.double()").augment
    assert doubled(images, torch.Generator()).dtype == torch.float32


def test_a_file_may_be_called_like_a_module():
    """Python's own stays: the file is known by another name."""
    custom = CustomPlan(
        file="random.py", source="import random\ndef build_loss(w): ...", defines=("build_loss",)
    )
    load(custom)
    assert sys.modules["random"] is random
    assert sys.modules[MODULE].random is random


# --- what is returned ----------------------------------------------------------------------------


UNFIT_NETWORKS = {
    "None": "build_model returned nothing (None); a torch.nn.Module is needed",
    "nn.Linear": "build_model returned a type; a torch.nn.Module is needed",
    "nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, 7))": (
        "build_model's network gave (2, 7) for 2 images; (2, 5) is needed: one number for each "
        "image and class"
    ),
    "nn.Conv2d(3, num_classes, 8)": (
        "build_model's network gave (2, 5, 1, 1) for 2 images; (2, 5) is needed: one number for "
        "each image and class"
    ),
    FITS + ".requires_grad_(False)": (
        "build_model's network has no parameters that can be trained"
    ),
    "nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes), Wrong())"
    "\n\nclass Wrong(nn.Module):\n    def forward(self, x):\n        return x.argmax(1), x": (
        "build_model's network gave a tuple; a Tensor is needed"
    ),
    "nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes), Wrong())"
    "\n\nclass Wrong(nn.Module):\n    def forward(self, x):\n        return x.long()": (
        "build_model's network gave torch.int64; torch.float32 is needed"
    ),
    "Net()\n\nclass Net(nn.Sequential):\n"
    "    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(192, 5))\n"
    "    def get_extra_state(self):\n        return {'a': 1}\n"
    "    def set_extra_state(self, state):\n        pass": (
        "build_model's network keeps a dict as _extra_state; only tensors can be kept: register "
        "them as buffers"
    ),
}


@pytest.mark.parametrize("expression", UNFIT_NETWORKS)
def test_networks_of_another_kind(expression):
    with pytest.raises(TeamFailure) as caught:
        build_network(expression)
    failure = caught.value
    assert (failure.error, failure.message) == ("TypeError", UNFIT_NETWORKS[expression])
    assert (failure.file, failure.line, failure.where) == (FILE, 4, "build_model")


def test_outputs_are_checked_in_training_too():
    network = build_network(
        "Net()\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.bias = nn.Parameter(torch.zeros(5))\n"
        "    def forward(self, x):\n        return self.bias.expand(2, 5)"
    )
    needed = pytest.raises(TeamFailure, match=r"\(2, 5\) for 8 images; \(8, 5\) is needed")
    with needed, blamed(team_file("def augment(images, generator): ..."), "training"):
        network(torch.zeros(8, 3, 8, 8))


UNFIT_LOSSES = {
    "None": "build_loss returned nothing (None); a function of logits and targets is needed",
    "3.5": "build_loss returned a float; a function of logits and targets is needed",
    "lambda logits, targets: 1.0": "build_loss's function gave a float; a Tensor is needed",
    "lambda logits, targets: logits.sum(dim=1)": (
        "build_loss's function gave shape (8,); a single number is needed: take the mean, with "
        ".mean()"
    ),
    "lambda logits, targets: logits.argmax()": (
        "build_loss's function gave torch.int64; torch.float32 is needed"
    ),
    "lambda logits, targets: logits.detach().mean()": (
        "build_loss's function gave a number without a gradient: compute it from the logits with "
        "torch's functions, without .detach(), .item() or .argmax()"
    ),
}


@pytest.mark.parametrize("expression", UNFIT_LOSSES)
def test_losses_of_another_kind(expression):
    techniques = import_file(f"\ndef build_loss(class_weights):\n    return {expression}")
    with pytest.raises(TeamFailure) as caught:
        techniques.build_loss(None)(torch.zeros(8, 5, requires_grad=True), torch.zeros(8).long())
    failure = caught.value
    assert failure.message == UNFIT_LOSSES[expression]
    assert (failure.line, failure.where) == (2, "build_loss")


UNFIT_IMAGES = {
    "None": "augment returned nothing (None); a Tensor is needed",
    "images.numpy()": "augment returned a ndarray; a Tensor is needed",
    "images[:-1]": (
        "augment returned shape (7, 3, 8, 8); (8, 3, 8, 8), as it was given, is needed"
    ),
    "(images * 255).byte()": (
        "augment returned torch.uint8; torch.float32 with values from 0 to 1 is needed"
    ),
    "images / 0": "augment returned images with values that are not finite numbers",
}


@pytest.mark.parametrize("expression", UNFIT_IMAGES)
def test_images_of_another_kind(expression):
    techniques = import_file(f"\n\ndef augment(images, generator):\n    return {expression}")
    with pytest.raises(TeamFailure) as caught:
        techniques.augment(torch.zeros(8, 3, 8, 8), torch.Generator())
    failure = caught.value
    assert failure.message == UNFIT_IMAGES[expression]
    assert (failure.line, failure.where) == (3, "augment")
