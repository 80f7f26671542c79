"""What is known of a cohort's images before anything is decoded."""

from pathlib import Path

import pytest

from jobs.drawn_monkeys import CLASS_NAMES, TRAINING_COUNTS, drawn_folder
from jobs.image_folder import scan
from orchestrator.settings import Settings
from orchestrator.sources import DRAWN, decode_source, size_of_data
from tests.conftest import write_photos

SIDE_PX = 16


@pytest.mark.parametrize("with_test", [True, False])
def test_a_plan_names_the_images_as_who_decoded_them(
    home: Path, tmp_path: Path, with_test: bool
) -> None:
    """A teacher is kept under the fingerprint of what could be read."""
    photos, settings = write_photos(tmp_path / "photos"), Settings()
    next((photos / "training").glob("*/*.png")).write_bytes(b"no picture")
    decoded = decode_source(str(photos), [SIDE_PX], True, settings, with_test=with_test)
    known = size_of_data(str(photos), True, settings)
    assert known == (
        decoded.folder.classes,
        len(decoded.folder.training),
        decoded.folder.fingerprint,
    )
    assert size_of_data(str(photos), False, settings)[2] == scan(photos).fingerprint != known[2]


def test_the_embedded_images_are_known_once_they_are_drawn(home: Path, photos: Path) -> None:
    settings = Settings()
    assert size_of_data(DRAWN, False, settings) == (
        tuple(CLASS_NAMES),
        sum(TRAINING_COUNTS),
        "",
    )
    folder = drawn_folder(settings.data)
    folder.parent.mkdir(parents=True)
    folder.symlink_to(photos)
    assert size_of_data(DRAWN, False, settings)[2] == scan(photos).fingerprint
