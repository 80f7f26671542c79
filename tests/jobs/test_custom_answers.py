"""What comes out of a sandbox, checked, and judged: none of it is believed."""

from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from jobs.custom.answers import (
    Unacceptable,
    check_weights,
    dumped_line,
    epoch_trained,
    failure,
    printable,
    probabilities,
)
from jobs.custom.parent import judge
from jobs.errors import Diverged, JobsError, TeamCodeError, TeamCodeOverLimit, TeamCodeTooLarge
from jobs.plan import CustomPlan, MemberPlan, SandboxRules


def test_a_judge_counts_as_torch_does() -> None:
    probs = np.array([[0.5, 0.5, 0], [0.1, 0.2, 0.7], [0, 0, 1]], np.float32)
    loss, accuracy = judge(probs, np.array([0, 2, 1]))
    assert loss == pytest.approx((np.log(2) - np.log(0.7) - np.log(1e-12)) / 3, rel=1e-6)
    assert accuracy == pytest.approx(2 / 3)


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


@pytest.mark.parametrize(
    "weights",
    [
        b"",
        b"x",
        b"forged" * 9,
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{",
        (3).to_bytes(8, "little") + b"{]}",
        (1 << 22).to_bytes(8, "little") + b"[" * (1 << 22),
        (5 << 20).to_bytes(8, "little") + b" " * (5 << 20),
    ],
    ids=range(8),
)
def test_what_are_no_weights_is_refused(weights: bytes) -> None:
    check_weights(safetensors.torch.save({"a": torch.ones(3)}))
    with pytest.raises(Unacceptable, match="no safetensors file"):
        check_weights(weights)


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
    custom = CustomPlan(file="net.py", source="", defines=("build_model",))
    own = plan.model_copy(update={"custom": custom})
    error = failure(FAILED | changed, own, SandboxRules())
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
