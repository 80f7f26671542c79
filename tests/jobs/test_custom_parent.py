"""Team code trained and asked from outside: same bits as ours, resumed, stopped."""

import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from jobs.custom.parent import predict_custom, train_custom
from jobs.custom.sandbox import unavailable
from jobs.errors import (
    DataError,
    SandboxError,
    Stopped,
    TeamCodeError,
    TeamCodeOverLimit,
)
from jobs.images import LabelledImages
from jobs.plan import (
    CustomPlan,
    EpochReport,
    LossPlan,
    MemberPlan,
    SandboxRules,
    SchedulePlan,
)
from jobs.split import split_images
from jobs.train import MemberResult, train_member

MISSING = unavailable(SandboxRules())
needs_sandbox = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
RULES = SandboxRules()
pytestmark = pytest.mark.slow

# Ours, as a team would write it: the random numbers are drawn in the same order.
OURS = """
from jobs.monkeynet import build_model as ours
from jobs.plan import ModelPlan
print("built")
def build_model(num_classes, size_px):
    return ours(ModelPlan(), num_classes, size_px)
"""


def _custom(plan: MemberPlan, source: str = OURS) -> MemberPlan:
    source = textwrap.dedent(source)
    custom = CustomPlan(file="net.py", source=source, defines=("build_model",))
    return plan.model_copy(update={"custom": custom})


def _train(
    plan: MemberPlan, data: LabelledImages, checkpoint: Path | None = None, **others: Any
) -> tuple[MemberResult, list[EpochReport], list[str]]:
    reports: list[EpochReport] = []
    said: list[str] = []
    given = {"should_stop": None, "rules": RULES, "output": lambda _: None, **others}
    report = given.pop("report", reports.append)
    result = train_custom(
        plan, data, report, teaching=None, checkpoint=checkpoint, say=said.append, **given
    )
    return result, reports, said


@needs_sandbox
def test_our_network_as_team_code_gives_our_bits(
    plan: MemberPlan, labelled: LabelledImages
) -> None:
    plan = plan.model_copy(update={"schedule": SchedulePlan(kind="plateau", patience_epochs=0)})
    known: list[EpochReport] = []
    ours = train_member(plan, labelled, known.append)
    printed: list[bytes] = []
    started_s = time.perf_counter()
    theirs, reports, _ = _train(_custom(plan), labelled, output=printed.append)
    assert theirs.weights == ours.weights
    assert np.array_equal(theirs.val_probs, ours.val_probs)
    assert b"".join(printed) == b"built\n"
    for report, one in zip(reports, known, strict=True):
        assert report.epoch == one.epoch
        assert report.train_loss == one.train_loss
        assert report.val_accuracy == pytest.approx(one.val_accuracy)
        assert report.val_loss == pytest.approx(one.val_loss, rel=1e-5)
        assert report.learning_rate == one.learning_rate
    # Time is measured here, not told.
    assert sum(report.seconds for report in reports) <= time.perf_counter() - started_s

    # Asked again in another sandbox, about other images in another order, it says the same.
    images = labelled.images[split_images(labelled.labels, labelled.groups, plan.data).validation]
    # It may have been trained on a GPU, which whoever asks need not have.
    trained = _custom(plan).model_copy(update={"device": "cuda"})
    probs = predict_custom(trained, theirs.weights, images, RULES, lambda _: None)
    assert probs.dtype == np.float32
    assert np.allclose(probs, theirs.val_probs, atol=1e-6)


def test_asked_again_a_network_gives_the_same_bits(
    plan: MemberPlan, labelled: LabelledImages
) -> None:
    """One that looks at its whole batch and draws numbers, and images in another order."""
    source = """
import random
import torch
from torch import nn
class Network(nn.Sequential):
    def forward(self, images):
        noise = torch.rand(len(images), 3)
        return super().forward(images) + random.random() * noise
def build_model(num_classes, size_px):
    norm = nn.BatchNorm1d(num_classes, track_running_stats=False)
    return Network(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes), norm)
"""
    drawn = torch.Generator().manual_seed(0)
    weights = {
        "1.weight": torch.randn(3, 3 * 16**2, generator=drawn),
        "1.bias": torch.zeros(3),
        "2.weight": torch.ones(3),
        "2.bias": torch.zeros(3),
    }
    rules = SandboxRules(isolation="process")
    asked, again = (
        predict_custom(
            _custom(plan, source), safetensors.torch.save(weights), images, rules, lambda _: None
        )
        for images in (labelled.images, labelled.images[::-1])
    )
    assert np.array_equal(again[::-1], asked)


def test_what_no_weights_hold_is_lost_before_validation(
    plan: MemberPlan, labelled: LabelledImages
) -> None:
    """Else a team would be judged by a network that nobody can ask again."""
    source = """
from torch import nn
class Network(nn.Module):
    def __init__(self, num_classes, size_px):
        super().__init__()
        self.linear = nn.Linear(3 * size_px**2, num_classes)
        self.calls = 0
    def forward(self, images):
        self.calls += self.training
        return self.linear(images.flatten(1)) * (1 + self.calls)
build_model = Network
"""
    rules = SandboxRules(isolation="process")
    plan = _custom(plan, source)
    result, *_ = _train(plan, labelled, rules=rules)
    images = labelled.images[split_images(labelled.labels, labelled.groups, plan.data).validation]
    asked = predict_custom(plan, result.weights, images, rules, lambda _: None)
    assert np.allclose(asked, result.val_probs, atol=1e-6)


def test_what_goes_on_writing_costs_no_result(plan: MemberPlan, labelled: LabelledImages) -> None:
    """Nothing ends what has escaped from a plain process."""
    source = """
import subprocess
from jobs.monkeynet import build_model as ours
from jobs.plan import ModelPlan
writes = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); mkdir d$i && : > d$i/x || exit; done"
subprocess.run(["sh", "-c", f"setsid sh -c '{writes}' > /dev/null 2>&1 &"], check=True)
def build_model(num_classes, size_px):
    return ours(ModelPlan(), num_classes, size_px)
"""
    result, *_ = _train(_custom(plan, source), labelled, rules=SandboxRules(isolation="process"))
    assert result.weights


def test_an_answer_is_not_waited_for_as_long_as_a_training(
    plan: MemberPlan, labelled: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.custom.parent.ASKED_S", 1.0)
    source = "def build_model(num_classes, size_px):\n    while True:\n        pass\n"
    rules = SandboxRules(isolation="process")
    with pytest.raises(TeamCodeOverLimit, match=r"net\.py:[23]: it did not answer within 1 s"):
        predict_custom(_custom(plan, source), b"", labelled.images, rules, lambda _: None)


@needs_sandbox
def test_a_sandbox_loads_no_compiler(plan: MemberPlan, labelled: LabelledImages) -> None:
    source = """
import sys
from torch import nn
class Network(nn.Module):
    def __init__(self, num_classes, size_px):
        super().__init__()
        self.linear = nn.Linear(3 * size_px**2, num_classes)
    def forward(self, images):
        assert "torch._dynamo" not in sys.modules
        return self.linear(images.flatten(1))
build_model = Network
"""
    result, *_ = _train(_custom(plan, source), labelled)
    assert len(result.weights) > 0


@needs_sandbox
def test_stopped_and_resumed_it_gives_the_same_bits(
    plan: MemberPlan, labelled: LabelledImages, tmp_path: Path
) -> None:
    plan, checkpoint = _custom(plan), tmp_path / "folder" / "checkpoint"
    whole, reports, _ = _train(plan, labelled)
    before: list[EpochReport] = []
    with pytest.raises(Stopped):
        _train(plan, labelled, checkpoint, report=before.append, should_stop=lambda: bool(before))
    assert checkpoint.exists()
    resumed, after, said = _train(plan, labelled, checkpoint)
    assert said == ["resumed after epoch 1 from the checkpoint"]
    assert after[0] == before[0]
    assert [one.epoch for one in after] == [1, 2, 3]
    assert [one.val_loss for one in after] == [one.val_loss for one in reports]
    assert resumed.weights == whole.weights
    assert np.array_equal(resumed.val_probs, whole.val_probs)


def test_without_a_sandbox_it_is_a_plain_process(
    plan: MemberPlan, labelled: LabelledImages
) -> None:
    rules = SandboxRules(isolation="process")
    source = OURS + "raise ValueError('so')\n"
    with pytest.raises(TeamCodeError, match=r"^net\.py:7: ValueError: so$"):
        _train(_custom(plan, source), labelled, rules=rules)


def test_what_is_no_fault_of_the_teams_is_told_before(
    plan: MemberPlan, labelled: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="no team code"):
        _train(plan, labelled)
    with pytest.raises(ValueError, match=r"the plan needs \(3, 16, 16\)"):
        _train(_custom(plan), replace(labelled, images=labelled.images[:, :, :8]))
    focused = plan.model_copy(update={"loss": LossPlan(focus_class="z")})
    with pytest.raises(DataError, match="'z'"):
        _train(_custom(focused), labelled)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1")
    with pytest.raises(SandboxError, match="no whole GPU"):
        _train(_custom(plan.model_copy(update={"device": "cuda"})), labelled)


@needs_sandbox
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_does_not_work_is_no_fault_of_the_teams(
    plan: MemberPlan, labelled: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(SandboxError, match=r"before any team code ran: the GPU does not work: "):
        _train(_custom(plan.model_copy(update={"device": "cuda"})), labelled)
