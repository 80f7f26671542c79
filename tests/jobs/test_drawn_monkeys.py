"""The drawn data set: deterministic, complete, and told apart by the animals alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import drawn_monkeys
from jobs.drawn_monkeys import CLASS_NAMES, draw_dataset, ensure_drawn, ensure_folder
from jobs.drawn_scene import SIZE_PX, draw_picture
from jobs.drawn_species import SPECIES

ONE_EACH = (1,) * len(SPECIES)
FEW = (1,) + (0,) * 9
UNEVEN = (2, 1, 1, 1, 1, 1, 1, 1, 1, 3)


def drawn_files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_dataset(folder, training_counts=UNEVEN, test_counts=ONE_EACH)
    return folder


def test_the_layout_is_that_of_the_photos(small_set: Path) -> None:
    counts = {
        part: [len(list((small_set / part / name).glob("*.jpg"))) for name in CLASS_NAMES]
        for part in ("training", "validation")
    }
    assert counts == {"training": list(UNEVEN), "validation": list(ONE_EACH)}
    assert {path.name for path in small_set.iterdir()} == {"training", "validation"}


def test_every_file_is_a_distinct_rgb_image_of_the_stated_size(small_set: Path) -> None:
    files = drawn_files(small_set)
    assert len(set(files.values())) == sum(UNEVEN) + sum(ONE_EACH)
    for name in files:
        with Image.open(small_set / name) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (SIZE_PX, SIZE_PX))
            assert np.asarray(image).std() > 10, f"{name} shows nothing"


def test_the_same_seed_draws_the_same_bytes(small_set: Path, tmp_path: Path) -> None:
    draw_dataset(tmp_path, training_counts=UNEVEN, test_counts=ONE_EACH)
    assert drawn_files(tmp_path) == drawn_files(small_set)


def test_an_image_does_not_depend_on_how_many_others_are_drawn(
    small_set: Path, tmp_path: Path
) -> None:
    draw_dataset(tmp_path, training_counts=ONE_EACH, test_counts=(0,) * len(SPECIES))
    fewer, more = drawn_files(tmp_path), drawn_files(small_set)
    assert len(fewer) == len(SPECIES)
    assert fewer == {name: more[name] for name in fewer}


def test_another_seed_draws_other_pictures(small_set: Path, tmp_path: Path) -> None:
    draw_dataset(tmp_path, seed=1, training_counts=ONE_EACH, test_counts=ONE_EACH)
    one, other = drawn_files(small_set), drawn_files(tmp_path)
    assert not set(one.values()) & set(other.values())


def test_full_counts_are_those_of_the_photos() -> None:
    assert sum(drawn_monkeys.TRAINING_COUNTS) == 1098
    assert sum(drawn_monkeys.TEST_COUNTS) == 272
    assert len(CLASS_NAMES) == len(drawn_monkeys.TRAINING_COUNTS) == 10


def test_only_the_animal_differs_between_species() -> None:
    pictures = [draw_picture(species, np.random.default_rng(3)) for species in SPECIES[:2]]
    changed = np.abs(pictures[0].astype(int) - pictures[1]).max(axis=2) > 40
    assert changed.any()
    assert not changed.all()


def test_counts_for_too_few_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        draw_dataset(tmp_path, training_counts=(1, 1), test_counts=ONE_EACH)


def fill(folder: Path) -> None:
    draw_dataset(folder, training_counts=FEW, test_counts=FEW)


def test_a_set_is_drawn_once(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "set"
    assert ensure_folder(target, fill) == target
    before = drawn_files(target)
    assert ensure_folder(target, lambda _: pytest.fail("drawn again")) == target
    assert drawn_files(target) == before
    assert [path.name for path in target.parent.iterdir()] == ["set"]


def test_an_interrupted_draw_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "training").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_folder(tmp_path / "set", interrupted)
    assert list(tmp_path.iterdir()) == []
    ensure_folder(tmp_path / "set", fill)
    assert len(drawn_files(tmp_path / "set")) == 2


def test_the_leftover_of_a_killed_draw_is_not_taken_for_the_set(tmp_path: Path) -> None:
    leftover = tmp_path / ".set.killed" / "training" / "n0"
    leftover.mkdir(parents=True)
    (leftover / "n0-000.jpg").write_bytes(b"half")
    ensure_folder(tmp_path / "set", fill)
    assert len(drawn_files(tmp_path / "set")) == 2


def test_of_two_draws_at_once_the_first_to_finish_stays(tmp_path: Path) -> None:
    target = tmp_path / "set"

    def overtaken(folder: Path) -> None:
        fill(folder)
        ensure_folder(target, lambda other: (other / "first").touch())

    assert ensure_folder(target, overtaken) == target
    assert [path.name for path in target.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_draw_that_cannot_take_its_place_raises(tmp_path: Path) -> None:
    (tmp_path / "set").write_text("a file, not a folder")
    with pytest.raises(NotADirectoryError):
        ensure_folder(tmp_path / "set", lambda _: None)


def test_the_cached_folder_names_version_and_seed(tmp_path: Path) -> None:
    target = tmp_path / f"drawn-monkeys-v{drawn_monkeys.DRAWN_VERSION}-seed5"
    target.mkdir()
    assert ensure_drawn(tmp_path, seed=5) == target
