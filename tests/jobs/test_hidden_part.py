"""Data without its hidden part: enough to train on, and the same training part to the bit."""

import shutil
from pathlib import Path

import pytest

from jobs.data_check import check_folder
from jobs.errors import DataError
from jobs.image_folder import scan
from jobs.images import decode
from tests.jobs.conftest import DrawFolder


@pytest.fixture(params=["absent", "empty"])
def visible(request: pytest.FixtureRequest, draw_folder: DrawFolder) -> tuple[Path, Path]:
    """A data folder, and the same without the hidden part."""
    whole = draw_folder()
    visible = Path(shutil.copytree(whole, whole.with_name("visible")))
    shutil.rmtree(visible / "validation")
    if request.param == "empty":  # where another machine has it mounted
        (visible / "validation").mkdir()
    return whole, visible


def test_the_training_part_is_what_it_was(visible: tuple[Path, Path]) -> None:
    whole, alone = (scan(folder) for folder in visible)
    assert alone.classes == whole.classes
    assert alone.fingerprint == whole.fingerprint
    assert (alone.test, alone.test_fingerprint) == ((), "")
    assert whole.test_fingerprint


def test_it_is_decoded_and_found_in_the_cache(visible: tuple[Path, Path], tmp_path: Path) -> None:
    done: list[int] = []
    for folder in reversed(visible):
        decoded = decode(folder, [16], tmp_path / "cache", progress=lambda n, _: done.append(n))
        assert len(decoded.training(16).labels) == 24
    assert len(done) == 24 + 9, "training images were decoded once"
    assert len(decoded.test(16).labels) == 9


def test_broken_training_images_are_told_all_the_same(
    visible: tuple[Path, Path], tmp_path: Path
) -> None:
    (visible[1] / "training" / "n1" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(DataError, match=r"torn\.png"):
        decode(visible[1], [16], tmp_path / "cache")
    decoded = decode(visible[1], [16], tmp_path / "cache", skip_broken=True)
    assert len(decoded.broken) == 1
    assert decoded.folder.fingerprint == scan(visible[0]).fingerprint


def test_a_hidden_part_that_lacks_a_class_is_still_refused(visible: tuple[Path, Path]) -> None:
    whole, _ = visible
    shutil.rmtree(whole / "validation" / "n1")
    with pytest.raises(DataError, match="class n1 is missing in validation/"):
        scan(whole)


def test_the_check_says_so(visible: tuple[Path, Path]) -> None:
    whole, alone = (check_folder(folder).to_dict() for folder in visible)
    assert (whole["hidden_part"], alone["hidden_part"]) == (True, False)
    assert [count["test"] for count in alone["classes"]] == [0, 0, 0]
