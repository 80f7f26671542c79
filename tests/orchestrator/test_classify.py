"""Pictures of all kinds shown to a network that tells how bright they are."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orchestrator.errors import NotFound
from orchestrator.results.classify import A_TIME, Answer, classify, pictures_in
from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl
from tests.orchestrator.states import Game

SIDE = 16
NAMES = {"n0": "dark", "n1": "bright"}


def brightness(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Says how dark and how bright, (N, 2), the upper half of images (N, 3, S, S) is."""
    assert images.shape[1:] == (3, SIDE, SIDE)
    bright = images[:, :, : SIDE // 2].mean(axis=(1, 2, 3), dtype=np.float32) / 255
    return np.stack([1 - bright, bright], axis=1)


def answers(*files: Path) -> dict[str, Answer]:
    said = classify(files, SIDE, NAMES, brightness, lambda _done, _total: None)
    return {answer.file.name: answer for answer in said}


@pytest.fixture
def half_bright(tmp_path: Path) -> Image.Image:
    """A picture whose upper half is white."""
    pixels = np.zeros((40, 30, 3), np.uint8)
    pixels[:20] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "P", "1", "I;16"])
def test_every_kind_of_picture_is_asked_about(
    tmp_path: Path, half_bright: Image.Image, mode: str
) -> None:
    file = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    if mode == "I;16":
        grey = np.asarray(half_bright.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(file)
    else:
        half_bright.convert(mode).save(file)
    (answer,) = answers(file).values()
    best, second = answer.guesses
    assert (best.name, best.species, second.name) == ("n1", "bright", "n0")
    assert best.probability > 0.98
    assert answer.to_dict()["runner_up"]["species"] == "dark"


def test_a_name_that_no_file_can_have_costs_no_other_picture_its_answer(
    tmp_path: Path, half_bright: Image.Image
) -> None:
    half_bright.save(tmp_path / "good.png")
    files, _ = pictures_in([tmp_path / ("x" * 300), tmp_path / "good.png"])
    said = list(answers(*files).values())
    assert [bool(answer.problem) for answer in said] == [True, False]
    assert "too long" in said[0].problem


def test_the_orientation_that_a_camera_noted_counts(
    tmp_path: Path, half_bright: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # held upside down
    half_bright.rotate(180).save(tmp_path / "camera.png", exif=exif)
    half_bright.rotate(180).save(tmp_path / "plain.png")
    said = answers(tmp_path / "camera.png", tmp_path / "plain.png")
    assert [answer.guesses[0].species for answer in said.values()] == ["bright", "dark"]


def test_what_is_wrong_with_one_file_is_said_and_the_others_are_answered(
    tmp_path: Path, half_bright: Image.Image
) -> None:
    half_bright.save(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    os.mkfifo(tmp_path / "pipe.png")
    names = ["gone.png", "text.png", "torn.png", "huge.png", "pipe.png", "good.png"]
    said = answers(*(tmp_path / name for name in names))
    assert list(said) == names
    problems = {name: answer.problem for name, answer in said.items()}
    assert problems["gone.png"] == "no such file"
    assert problems["text.png"] == "not an image in a format that Pillow reads"
    assert problems["pipe.png"] == "not a file"
    assert "pixels" in problems["huge.png"]
    assert problems["torn.png"]
    assert problems["good.png"] == ""
    assert said["gone.png"].to_dict() == {
        "file": str(tmp_path / "gone.png"), "error": "no such file"
    }  # fmt: skip


def test_where_nothing_is_there_no_network_is_loaded_to_say_so(home: Path) -> None:
    home.mkdir()
    store = Store(Settings().store_url)
    submit(store, new_job("apes"), at=100.0)
    game = Game(store, 100.0)
    game.start("apes")
    game.train("apes")  # its weights are nowhere
    game.finish("apes", 0.5)
    store.close()
    done = gamectl("classify", home / "gone.png", home / "folder", "--team", "apes")
    assert done.exit_code == 1
    assert "folder: no such file or folder" in done.stderr


def test_more_pictures_than_fit_into_memory_are_asked_about_in_parts(
    tmp_path: Path, half_bright: Image.Image
) -> None:
    half_bright.save(tmp_path / "good.png")
    asked: list[int] = []
    shown: list[int] = []

    def ask(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(images))
        return brightness(images)

    files = [tmp_path / "good.png"] * (A_TIME + 1)
    said = classify(files, SIDE, NAMES, ask, lambda done, _total: shown.append(done))
    assert len(list(said)) == A_TIME + 1
    assert asked == [A_TIME, 1]
    assert sorted(set(shown)) == list(range(1, A_TIME + 2))
    assert shown == sorted(shown)


def test_a_folder_stands_for_the_pictures_below_it(
    tmp_path: Path, half_bright: Image.Image
) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "deep/a.JPG", ".hidden.png"):
        half_bright.save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found, num_left_out = pictures_in([tmp_path, Path("named.txt")])
    assert found == [tmp_path / "b.png", tmp_path / "deep" / "a.JPG", Path("named.txt")]
    assert num_left_out == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no pictures in"):
        pictures_in([tmp_path / "empty"])
