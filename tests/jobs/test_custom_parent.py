"""Team code trained and asked from outside: same bits as ours, resumed, stopped, not believed."""

import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.custom.answers import (
    Unacceptable,
    dumped_line,
    epoch_trained,
    failure,
    printable,
    probabilities,
)
from jobs.custom.parent import judge, predict_custom, train_custom
from jobs.custom.sandbox import unavailable
from jobs.errors import (
    DataError,
    Diverged,
    JobsError,
    SandboxError,
    Stopped,
    TeamCodeError,
    TeamCodeOverLimit,
    TeamCodeTooLarge,
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


def test_a_judge_counts_as_torch_does() -> None:
    probs = np.array([[0.5, 0.5, 0], [0.1, 0.2, 0.7], [0, 0, 1]], np.float32)
    loss, accuracy = judge(probs, np.array([0, 2, 1]))
    assert loss == pytest.approx((np.log(2) - np.log(0.7) - np.log(1e-12)) / 3, rel=1e-6)
    assert accuracy == pytest.approx(2 / 3)


# --- answers -------------------------------------------------------------------------------------

EPOCH = {
    "epoch": 2,
    "train_loss": 1,
    "train_accuracy": 0.5,
    "learning_rate": 0.1,
    "images_per_second": 9.5,
    "seconds": 2.0,
}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"epoch": 3}, "epoch 3 where epoch 2 was to come"),
        ({"epoch": True}, "epoch True where"),
        ({"epoch": 2.0}, "epoch 2.0 where"),
        ({"train_loss": float("inf")}, "train_loss that is not finite"),
        ({"train_loss": 10**400}, "train_loss that is not finite"),
        ({"learning_rate": "0.1"}, "no number as learning_rate"),
        ({"seconds": None}, "no number as seconds"),
        ({"images_per_second": True}, "no number as images_per_second"),
        ({"train_accuracy": 1.5}, "0 to 1 is possible"),
    ],
)
def test_an_epoch_that_cannot_be_is_refused(changed: dict[str, Any], said: str) -> None:
    assert epoch_trained(EPOCH, 2).train_loss == 1
    with pytest.raises(Unacceptable, match=said):
        epoch_trained(EPOCH | changed, 2)


@pytest.mark.parametrize(
    ("probs", "said"),
    [
        (np.full((2, 3), 1 / 3), "are 48 bytes; 2 images of 3 classes need 24"),
        (np.full((1, 3), 1 / 3, np.float32), "are 12 bytes"),
        (np.array([[1, 0, 0], [np.nan, 0, 1]], np.float32), "not all finite"),
        (np.array([[1, 0, 0], [np.inf, 0, 1]], np.float32), "not all finite"),
        (np.array([[1, 0, 0], [2, -1, 0]], np.float32), "negative, or"),
        (np.array([[1, 0, 0], [0.5, 0.4, 0]], np.float32), "do not add up to 1"),
        (np.full((2, 3), 3e38, np.float32), "do not add up to 1"),
    ],
)
def test_what_are_no_probabilities_is_refused(probs: np.ndarray, said: str) -> None:
    good = np.array([[1, 0, 0], [0.5, 0.25, 0.25]], np.float32)
    assert np.array_equal(probabilities(good.tobytes(), 2, 3), good)
    assert probabilities(b"", 0, 3).shape == (0, 3)
    with pytest.raises(Unacceptable, match=said):
        probabilities(probs.tobytes(), 2, 3)


FAILED = {"error": "ValueError", "message": "so", "file": "net.py", "line": 3, "in": "augment"}


@pytest.mark.parametrize(
    ("changed", "kind", "text"),
    [
        ({}, TeamCodeError, "net.py:3: ValueError: so"),
        ({"line": None}, TeamCodeError, "net.py: ValueError: so (in augment)"),
        ({"file": "/etc/passwd"}, TeamCodeError, "net.py: ValueError: so (in augment)"),
        ({"line": -3, "in": ["x"]}, TeamCodeError, "net.py: ValueError: so (in training)"),
        ({"line": True, "in": "import"}, TeamCodeError, "net.py: ValueError: so (while it was"),
        ({"message": "", "error": "A\nB"}, TeamCodeError, "net.py:3: error in augment"),
        ({"message": "a\n\x1b[31m"}, TeamCodeError, "net.py:3: ValueError: a  [31m"),
        ({"message": "x" * 9999}, TeamCodeError, "net.py:3: ValueError: xxx"),
        ({"out_of_memory": True}, TeamCodeTooLarge, "net.py:3: ValueError: so"),
        ({"out_of_memory": 1}, TeamCodeError, "net.py:3: ValueError: so"),
        ({"message": "can't start new thread"}, TeamCodeOverLimit, "net.py:3: ValueError: can't"),
        ({"diverged": {"epoch": 2, "step": 5}}, Diverged, "the training loss is not a finite"),
        ({"diverged": {"epoch": [], "step": -1}}, Diverged, "the training loss is not a finite"),
    ],
)
def test_a_failure_is_told_in_our_words(
    plan: MemberPlan, changed: dict[str, Any], kind: type[JobsError], text: str
) -> None:
    error = failure(FAILED | changed, _custom(plan), RULES)
    assert type(error) is kind
    assert str(error).startswith(text)
    assert len(str(error)) < 700
    if isinstance(error, Diverged):
        assert error.learning_rate == plan.optimizer.learning_rate


def test_the_line_of_a_dump_is_the_innermost_of_the_teams_file() -> None:
    dump = b"""said before
  File "net.py", line 1 in forged
Thread 0x00007f (most recent call first):
  File "other.py", line 5 in g
  File "net.py", line 12 in forward
  File "net.py", line 30 in build_model
  File "/game/jobs/train.py", line 99 in train_on
"""
    assert dumped_line(dump, "net.py") == 12
    assert dumped_line(dump, "other.py") == 5
    assert dumped_line(dump, "net_py") is None
    assert dumped_line(b"", "net.py") is None


def test_text_is_cut_and_loses_what_moves_a_cursor() -> None:
    assert printable("Äffchen\r\n\x1b[2J\u202e", 50) == "Äffchen   [2J"
    assert printable("x" * 11, 10) == "x" * 9 + "…"
    assert printable("x" * 10, 10) == "x" * 10
