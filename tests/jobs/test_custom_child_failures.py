"""The child of a sandbox, without a sandbox: what it says of failures, and how its process ends."""

import re
import signal
from typing import Any

import pytest

from jobs.images import LabelledImages
from jobs.plan import MemberPlan
from tests.jobs.custom_child import (
    MONKEY,
    RANDOM,
    ChildTraining,
    InThread,
    Process,
    train,
    with_code,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forget_team_code")]


# --- failures ------------------------------------------------------------------------------------


def _failed(plan: MemberPlan, data: LabelledImages) -> dict[str, Any]:
    end = train(plan, data).end
    assert end is not None
    assert end.kind == "failed"
    return end.fields


def test_a_failure_in_a_later_epoch_names_the_line(plan, labelled, capfd):
    source = """
def augment(images, generator):
    augment.calls += 1
    if augment.calls == 9:
        raise ValueError(f"{augment.calls} is too many")
    return images

augment.calls = 0
"""
    told = train(with_code(plan, source), labelled)
    assert len(told.reports) == 1
    assert told.end is not None
    assert told.end.fields == {
        "error": "ValueError", "message": "9 is too many", "file": "net.py", "line": 5,
        "in": "augment", "diverged": None, "out_of_memory": False,
    }  # fmt: skip
    printed = capfd.readouterr().err
    assert 'File "net.py", line 5, in augment\n    raise ValueError(' in printed


NARROW = "assert len(images) < 3\n        features = self.second"
FAILURES = {
    "import": ("import nothing_of_this_name\ndef augment(a, b): ...", "ModuleNotFoundError", 1),
    "build_model": ("def build_model(classes, px):\n    raise SystemExit", "SystemExit", 2),
    "build_loss": ("def build_loss(weights):\n    return lambda a, b: a.shape[7]", "IndexError", 2),
    "augment": ("\n\ndef augment(images, generator):\n    return images[1:]", "TypeError", 3),
    "training": (RANDOM.replace("features = self.second", NARROW), "AssertionError", 16),
}


@pytest.mark.parametrize("where", FAILURES)
def test_failures_say_where(plan, labelled, where):
    source, error, line = FAILURES[where]
    failed = _failed(with_code(plan, source), labelled)
    assert (failed["error"], failed["line"], failed["in"]) == (error, line, where)


def test_memory_that_is_not_there(plan, labelled):
    source = "import torch\n\ndef augment(images, generator):\n    return torch.empty(2**60)"
    failed = _failed(with_code(plan, source), labelled)
    assert failed["out_of_memory"] is True
    assert failed["line"] == 4


def test_a_loss_that_is_no_number_is_divergence(plan, labelled):
    source = """
calls = []

def build_loss(class_weights):
    def loss(logits, targets):
        calls.append(1)
        return logits.sum() * (float("nan") if len(calls) == 3 else 1e-9)
    return loss
"""
    failed = _failed(with_code(plan, source), labelled)
    assert failed["diverged"] == {"epoch": 1, "step": 3, "learning_rate": 0.05}
    assert failed["error"] == "Diverged"


def test_outputs_in_validation_that_are_no_numbers_are_divergence(plan, labelled):
    source = RANDOM.replace(
        "features = self.norm(features)",
        "features = self.norm(features / (1 if self.training or len(images) == 2 else 0))",
    )
    failed = _failed(with_code(plan, source), labelled)
    assert failed["diverged"]["epoch"] == 1


def test_a_resumed_training_with_another_network(plan, labelled):
    training = ChildTraining(with_code(plan, MONKEY), labelled)
    before = training.run(num_epochs=2)
    training.plan = with_code(plan, RANDOM)
    told = training.run(before=before)
    assert told.end is not None
    assert told.end.kind == "failed"
    assert told.end.fields["in"] == "build_model"
    assert told.end.fields["message"].startswith(
        "after epoch 2 the training began anew, and this time build_model built another network"
    )


@pytest.mark.parametrize(("momentum", "copies"), [(0.0, 1), (0.9, 2)])
def test_a_network_that_is_too_large_to_be_sent_is_told_before_it_trains(
    plan, labelled, momentum, copies
):
    source = """
from torch import nn

def build_model(num_classes, size_px):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes))
"""
    optimizer = plan.optimizer.model_copy(update={"momentum": momentum})
    training = ChildTraining(with_code(plan, source, optimizer=optimizer), labelled)
    needed = copies * 4 * 3 * (3 * 16**2 + 1)
    for largest, answer in ((needed, "epoch"), (needed - 1, "failed")):
        with InThread(training.arrays) as child:
            fields = {"plan": training.plan.model_dump(mode="json"), "arrays": child.arrays}
            child.channel.send("train", fields | {"largest_bytes": largest})
            told = child.channel.receive()
        assert told.kind == answer
    assert told.fields["out_of_memory"] is True
    assert (told.fields["line"], told.fields["in"]) == (4, "build_model")
    assert "weights and momentum are" in told.fields["message"]


def test_a_network_that_does_not_take_its_own_weights(plan, labelled):
    source = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, size_px):
        super().__init__()
        self.head = nn.Linear(3 * size_px**2, num_classes)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, images):
        if self.training:
            self.seen = torch.zeros(2)
        return self.head(images.flatten(1))

def build_model(num_classes, size_px):
    return Net(num_classes, size_px)
"""
    failed = _failed(with_code(plan, source), labelled)
    assert failed["in"] == "build_model"
    assert "does not take the weights that it was trained to" in failed["message"]


# --- the process ---------------------------------------------------------------------------------


HANGS = """
import os
import resource
import sys

print("limit", resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.get_inheritable(3))
print("modules", sorted(name for name in ("orchestrator", "ray", "mlflow") if name in sys.modules))

def augment(images, generator):
    print("hanging", flush=True)
    while True:
        pass
"""


def test_a_process_says_where_it_hangs_and_keeps_its_limits(plan, labelled):
    training = ChildTraining(with_code(plan, HANGS), labelled)
    with Process(training.arrays, {"open_files": 77}) as child:
        training.order(child.channel, child.arrays)
        assert child.process.stdout is not None
        lines = []
        while (line := child.process.stdout.readline()) != b"hanging\n":
            assert line
            lines.append(line.decode())
        assert lines == ["limit 77 False\n", "modules []\n"]
        child.process.send_signal(signal.SIGUSR1)
        while re.search(rb'File "net\.py", line 1[012] in augment', line) is None:
            line = child.process.stdout.readline()
            assert line
        assert child.process.poll() is None


def test_a_process_whose_other_side_has_gone_ends(plan, labelled):
    training = ChildTraining(with_code(plan, MONKEY), labelled)
    with Process(training.arrays) as child:
        child.channel.close()
        assert child.process.wait(timeout=60) == 0
