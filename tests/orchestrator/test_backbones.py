"""What a teacher's training starts from, and what it cannot start from."""

import math
from pathlib import Path

import pytest
import torch
from torchvision import models

from jobs.errors import DataError
from orchestrator.errors import Refused
from orchestrator.teaching.backbones import check_trains, initial_state

SMALL = "mobilenet_v3_small"


def write(path: Path, architecture: str = SMALL, **filled: float) -> str:
    """Writes the weights of a network for a thousand classes."""
    torch.manual_seed(0)
    state = models.get_model(architecture, weights=None, num_classes=1000).state_dict()
    changed = {key: torch.full_like(state[key], value) for key, value in filled.items()}
    torch.save({**state, **changed}, path)
    return str(path)


def test_weights_to_start_from(tmp_path: Path) -> None:
    assert initial_state(SMALL, "none") is None
    path = write(tmp_path / "backbone.pth")
    first, again = initial_state(SMALL, path), initial_state(SMALL, path)
    assert first is not None
    assert again is not None
    assert first.sha256 == again.sha256
    assert first.state.keys() == models.get_model(SMALL, weights=None).state_dict().keys()
    with pytest.raises(Refused, match="--weights is imagenet, none or the path"):
        initial_state(SMALL, str(tmp_path / "nope.pth"))


def test_weights_that_nothing_can_start_from_are_refused(tmp_path: Path) -> None:
    other = write(tmp_path / "other.pth", "squeezenet1_1")
    with pytest.raises(DataError, match=r"other\.pth: .* no weights for MobileNet"):
        initial_state(SMALL, other)
    broken = write(tmp_path / "nan.pth", **{"features.0.0.weight": math.nan})
    with pytest.raises(DataError, match=r"nan\.pth: .* features\.0\.0\.weight is not finite"):
        initial_state(SMALL, broken)
    # What is left out, as its shape is that of other classes, need not be finite.
    assert initial_state(SMALL, write(tmp_path / "head.pth", **{"classifier.3.bias": math.inf}))


def test_what_trains_no_teacher_is_told_without_its_data() -> None:
    check_trains(SMALL, 64, gpu=True)
    with pytest.raises(DataError, match="vit_b_16 cannot take images of 64 px"):
        check_trains("vit_b_16", 64, gpu=False)
    check_trains("vgg11", 64, gpu=False)
    with pytest.raises(DataError, match="vgg11 cannot be trained reproducibly on a GPU"):
        check_trains("vgg11", 64, gpu=True)
