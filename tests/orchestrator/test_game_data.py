"""What may be wrong with a game's images, on the whole path through the commands."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import write_photos
from tests.orchestrator.commands import gamectl

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("home")]

BASE = "epochs: 3\nlearningRate: 0.05\n"
WriteCohort = Callable[..., Path]


def test_data_that_cannot_be_used_stops_before_anything_is_stored(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    folder = write_cohort({"apes": BASE})
    for data, expected in [
        (tmp_path / "nowhere", "no such folder"),
        (write_photos(tmp_path / "empty", num_test=0), "n0"),
    ]:
        done = gamectl("submit", folder, "--data", data)
        assert done.exit_code == 1
        assert expected in done.stderr
    lonely = write_photos(tmp_path / "lonely")
    for photo in sorted((lonely / "training" / "n1").iterdir())[1:]:
        photo.unlink()
    done = gamectl("submit", folder, "--data", lonely)
    assert done.exit_code == 1
    assert "class n1 has no training image; it needs at least 2 photos" in done.stderr
    assert gamectl("get", "jobs").exit_code == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_broken_images_are_named_and_skipped_only_on_demand(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    data = write_photos(tmp_path / "data")
    (data / "training" / "n1" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    folder = write_cohort({"apes": BASE})
    done = gamectl("submit", folder, "--data", data)
    assert done.exit_code == 1
    assert "torn.png" in done.stderr
    folder = write_cohort({"apes": BASE}, spec="  data: {skipBrokenImages: true}\n")
    done = gamectl("submit", folder, "--data", data)
    assert done.exit_code == 0, done.output
    assert "left out: " in done.stderr
    assert "torn.png" in done.stderr
    assert gamectl("score").exit_code == 0


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_other_test_images_are_not_scored_by_accident(
    write_cohort: WriteCohort, tmp_path: Path
) -> None:
    data = write_photos(tmp_path / "data")
    folder = write_cohort({"apes": BASE})
    assert gamectl("submit", folder, "--data", data).exit_code == 0
    photo = np.zeros((8, 8, 3), np.uint8)
    Image.fromarray(photo).save(data / "validation" / "n0" / "new.png")
    refused = gamectl("score")
    assert refused.exit_code == 1
    assert f"--data {data}" in refused.stderr
    assert gamectl("score", "--data", data).exit_code == 0
