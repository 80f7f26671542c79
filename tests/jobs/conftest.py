"""Small data for the training side's tests, on disk and in memory, and what team code needs."""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from jobs.images import LabelledImages
from jobs.plan import DataPlan, MemberPlan, OptimizerPlan

if TYPE_CHECKING:
    from tests.jobs.hostile import Attempt

DrawFolder = Callable[..., Path]


def _photo(label: int, generator: np.random.Generator, side_px: int) -> np.ndarray:
    """(S, S, 3) uint8: noise, with the colour channel `label` (mod 3) brighter on one half."""
    photo = generator.integers(0, 120, (side_px, side_px, 3), dtype=np.uint8)
    half = slice(None, side_px // 2) if label < 3 else slice(side_px // 2, None)
    photo[half, :, label % 3] += 120
    return photo


@pytest.fixture
def draw_folder(tmp_path: Path) -> DrawFolder:
    """A function that draws a data folder of PNG files and returns its path."""

    def draw(
        classes: Sequence[str] = ("n1", "n2", "n10"),
        num_training: int = 8,
        num_test: int = 3,
        side_px: int = 24,
        name: str = "photos",
    ) -> Path:
        generator = np.random.default_rng(0)
        for part, count in (("training", num_training), ("validation", num_test)):
            for label, class_name in enumerate(classes):
                folder = tmp_path / name / part / class_name
                folder.mkdir(parents=True)
                for index in range(count):
                    photo = _photo(label, generator, side_px)
                    Image.fromarray(photo).save(folder / f"{class_name}-{index}.png")
        return tmp_path / name

    return draw


@pytest.fixture
def labelled() -> LabelledImages:
    """75 images of 16 px in 3 classes that can be learnt, none of them twice."""
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 25)
    images = np.stack([_photo(label, generator, 16) for label in labels]).transpose(0, 3, 1, 2)
    return LabelledImages(images, labels, np.arange(len(labels)))


@pytest.fixture
def plan() -> MemberPlan:
    """A plan for `labelled`: seconds matter, so three epochs."""
    return MemberPlan(
        data=DataPlan(fingerprint="0" * 64, classes=("a", "b", "c"), image_size_px=16),
        optimizer=OptimizerPlan(learning_rate=0.05, momentum=0.9),
        epochs=3,
        seed=7,
    )


@pytest.fixture
def forget_team_code() -> Iterator[None]:
    """What a team's file leaves behind in this process goes: its module, and random states."""
    from jobs.custom.team_code import MODULE  # torch, which others do without

    states = random.getstate(), np.random.get_state()
    yield
    sys.modules.pop(MODULE, None)
    random.setstate(states[0])
    np.random.set_state(states[1])


@pytest.fixture
def attempt(plan: MemberPlan, labelled: LabelledImages) -> "Attempt":
    """A training of one epoch on 60 images, 15 of them for validation."""
    from tests.jobs.hostile import Attempt  # tries whether there are sandboxes

    return Attempt(plan, labelled)
