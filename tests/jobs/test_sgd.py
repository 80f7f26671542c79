import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from jobs.sgd import PlainSGD


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": 0.9}, {"momentum": 0.5, "weight_decay": 0.1}]
)
def test_it_takes_the_same_steps_to_the_bit(settings):
    torch.manual_seed(0)
    images, networks = torch.randn(16, 8), []
    for optimizer_of in (torch.optim.SGD, PlainSGD):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 1))
        optimizer = optimizer_of(network.parameters(), lr=0.1, **settings)
        for step in range(20):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimizer.zero_grad()
            network(images).square().mean().backward()
            optimizer.step()
        networks.append(network)
    assert all(map(torch.equal, networks[0].parameters(), networks[1].parameters()))


def test_it_has_its_momentum_where_checkpoints_look_for_it():
    weight = nn.Parameter(torch.ones(3))
    optimizer = PlainSGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], torch.ones(3))
    optimizer.zero_grad()
    assert weight.grad is None


def test_hooks_on_steps_are_called():
    seen = []
    weight = nn.Parameter(torch.ones(3))
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: seen.append(optimizer))
    try:
        optimizer = PlainSGD([weight], lr=0.1)
        optimizer.step()
    finally:
        handle.remove()
    assert seen == [optimizer]


TRAINING = """
import sys
import numpy as np
from jobs.images import LabelledImages
from jobs.plan import AugmentPlan, DataPlan, MemberPlan
from jobs.train import train_member

data = DataPlan(fingerprint="0" * 64, classes=("a", "b"), image_size_px=8)
plan = MemberPlan(data=data, epochs=1, augment=AugmentPlan(rotate_degrees=9, mixup_alpha=1))
images = np.zeros((20, 3, 8, 8), np.uint8)
labels = np.arange(20) % 2
train_member(plan, LabelledImages(images, np.sort(labels), np.arange(20)), lambda _: None)
print(*(name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules))
"""


def test_a_training_loads_no_compiler():
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
