"""`gamectl preview`, and the rows that it draws: what they show is what training would do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.augment import augment
from jobs.images import LabelledImages
from jobs.plan import AugmentPlan, DataPlan, MemberPlan
from jobs.preview import preview, side_px
from jobs.split import split_images
from tests.orchestrator.commands import gamectl
from tests.orchestrator.tracked import DATA

ROTATED, FLIPPED = AugmentPlan(rotate_degrees=30), AugmentPlan(flip_horizontal_p=1)


def plans(*augmentations: AugmentPlan, data: DataPlan = DATA) -> list[MemberPlan]:
    return [MemberPlan(data=data, augment=each) for each in augmentations]


def test_each_row_starts_with_an_untouched_training_image_of_its_class(
    images: LabelledImages,
) -> None:
    data = DATA.model_copy(update={"train_fraction": 0.3})
    train = split_images(images.labels, images.groups, data).train
    place = {images.images[i].transpose(1, 2, 0).tobytes(): int(i) for i in train}
    for seed in range(5):
        shown = preview(plans(ROTATED, data=data), images, num_draws=4, seed=seed)
        assert shown.titles == DATA.classes
        for label, row in enumerate(shown.rows):
            assert len(row) == 5
            assert row[0].caption == "untouched"
            assert images.labels[place[row[0].image.tobytes()]] == label


def test_the_other_columns_are_batches_of_trainings_own_function(images: LabelledImages) -> None:
    shown = preview(plans(ROTATED), images, num_draws=3, seed=5)
    batch = np.stack([row[0].image for row in shown.rows]).transpose(0, 3, 1, 2)
    untouched = torch.from_numpy(batch).float() / 255
    generator = torch.Generator().manual_seed(5)
    for column in range(1, 4):
        expected = augment(untouched, ROTATED, generator).numpy().transpose(0, 2, 3, 1) * 255
        drawn = np.stack([row[column].image for row in shown.rows])
        assert np.abs(drawn - expected).max() <= 0.5 + 1e-4
    assert not np.array_equal(shown.rows[0][1].image, shown.rows[0][2].image)


def test_another_seed_shows_other_images(images: LabelledImages) -> None:
    shown = [preview(plans(ROTATED), images, 1, seed).rows[0][0].image for seed in range(4)]
    assert len({image.tobytes() for image in shown}) > 1
    again = preview(plans(ROTATED), images, 1, 0).rows[0][0].image
    assert np.array_equal(again, shown[0])


def test_members_have_columns_of_their_own_where_they_differ(images: LabelledImages) -> None:
    shown = preview(plans(ROTATED, FLIPPED, ROTATED), images, num_draws=2)
    for row in shown.rows:
        captions = ["untouched", "members 0, 2", "members 0, 2", "member 1", "member 1"]
        assert [tile.caption for tile in row] == captions
        assert np.array_equal(row[3].image, row[0].image[:, ::-1])
    alone = preview(plans(ROTATED), images, num_draws=2)
    assert [tile.caption for tile in alone.rows[0]] == ["untouched", "", ""]
    assert np.array_equal(alone.rows[0][2].image, shown.rows[0][2].image)


def test_columns_that_nothing_changes_say_so(images: LabelledImages) -> None:
    shown = preview(plans(AugmentPlan()), images, num_draws=1)
    assert [tile.caption for tile in shown.rows[0]] == ["untouched", "unchanged"]
    shown = preview(plans(AugmentPlan(), FLIPPED), images, num_draws=1)
    captions = ["untouched", "member 0: unchanged", "member 1"]
    assert [tile.caption for tile in shown.rows[0]] == captions


def test_columns_of_different_members_compare(images: LabelledImages) -> None:
    erased = ROTATED.model_copy(update={"erase_p": 1.0})
    shown = preview(plans(ROTATED, erased), images, num_draws=2)
    for _, *whole, first, second in shown.rows:
        for tile, with_hole in zip(whole, (first, second), strict=True):
            same = tile.image == with_hole.image
            assert not same.all()
            assert (with_hole.image[~same] == 0).all()


@pytest.mark.parametrize("name", ["n{}", "night monkey {}"])
def test_a_mix_says_what_it_is_a_mix_of(name: str, images: LabelledImages) -> None:
    classes = tuple(name.format(label) for label in range(3))
    data = DATA.model_copy(update={"classes": classes})
    mixing = plans(AugmentPlan(mixup_alpha=1), data=data)
    shown = preview(mixing, images, num_draws=6)
    pixels = {name: row[0].image / 1.0 for name, row in zip(classes, shown.rows, strict=True)}
    num_mixed = 0
    for own, row in zip(classes, shown.rows, strict=True):
        for tile in row[1:]:
            parts = [part.rpartition(" .") for part in tile.caption.split(" + ")]
            shares = {part[0] or part[2]: float(f".{part[2]}") if part[0] else 1 for part in parts}
            if len(shares) == 2:
                num_mixed += 1
                assert next(iter(shares)) == own
            # Shares are written with two digits.
            mixed = sum(share * pixels[part] for part, share in shares.items())
            assert np.abs(mixed - tile.image).max() <= 0.005 * 2 * 255 + 0.5
    assert num_mixed > 5


def test_a_mix_in_an_ensemble_names_the_member_too(images: LabelledImages) -> None:
    mixed = [AugmentPlan(mixup_alpha=1, rotate_degrees=angle) for angle in (5, 30)]
    shown = preview(plans(*mixed), images, num_draws=1)
    for _, first, second in shown.rows:
        assert first.caption.startswith("m0: n")
        assert second.caption == first.caption.replace("m0", "m1")


@pytest.mark.parametrize(
    ("size_px", "shown_px"), [(32, 128), (48, 144), (64, 128), (128, 128), (224, 224), (1024, 256)]
)
def test_images_are_enlarged_by_whole_pixels(size_px: int, shown_px: int) -> None:
    assert side_px(size_px) == shown_px


LOADOUT = """\
apiVersion: game/v1
kind: Loadout
metadata: {team: apes}
spec:
  purchases:
    - item: flip-trick
      horizontal: 1
      vertical: 0
    - item: neural-turbo-boost
      blocks: 2
    - item: resolution-rocket
      size: 32
"""


@pytest.fixture
def loadout(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "apes.yaml"
    path.write_text(LOADOUT)
    return path


def test_a_picture_of_a_loadout_without_a_cohort(loadout: Path, photos: Path, home: Path) -> None:
    done = gamectl("preview", loadout, "--data", photos)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    header = "apes, 32 px, bought: flip-trick, neural-turbo-boost x 2, resolution-rocket"
    assert header in done.stderr
    assert "written to apes-preview.png" in done.stderr
    assert "no augmentation was bought" not in done.stderr
    with Image.open("apes-preview.png") as picture:
        assert picture.width > 7 * 128
    assert not (home / "store.db").exists()


def test_a_loadout_without_augmentation_is_told_so(loadout: Path, photos: Path) -> None:
    loadout.write_text("apiVersion: game/v1\nkind: Loadout\nmetadata: {team: apes}\n")
    done = gamectl("preview", loadout, "--data", photos)
    assert done.exit_code == 0, done.output
    assert "no augmentation was bought, so images stay as they are: buy one" in done.stderr


def test_the_cohorts_size_limit_and_data_hold(loadout: Path, photos: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "elsewhere.yaml"
    text = "apiVersion: game/v1\nkind: Cohort\nspec: {{budget: {}, data: {{source: {}}}}}\n"
    cohort.write_text(text.format(100, photos))
    done = gamectl("preview", loadout, "--cohort-file", cohort, "-o", tmp_path / "x.png")
    assert done.exit_code == 0, done.output
    cohort.write_text(text.format(50, photos))
    (tmp_path / "x.png").unlink()
    done = gamectl("preview", loadout, "--cohort-file", cohort, "-o", tmp_path / "x.png")
    assert done.exit_code == 1
    assert f"{loadout}:5:3  over-budget  " in done.stdout
    assert "nothing was drawn" in done.stderr
    assert not (tmp_path / "x.png").exists()


def test_wrong_files_are_explained(loadout: Path, photos: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort.yaml"
    cohort.write_text("apiVersion: game/v1\nkind: Cohort\n")
    other = tmp_path / "other.yaml"
    other.write_text(LOADOUT.replace("apes", "other"))
    assert "is no loadout" in gamectl("preview", cohort).stderr
    assert "is no cohort" in gamectl("preview", loadout, "--cohort-file", other).stderr
    assert "no such folder" in gamectl("preview", loadout, "--data", "nowhere").stderr
    nowhere = gamectl("preview", loadout, "--data", photos, "-o", "nowhere/x.png")
    assert "nowhere/x.png cannot be written: there is no folder nowhere" in nowhere.stderr
    assert "under the default rules: no cohort.yaml beside it" not in nowhere.stderr
    cohort.unlink()
    alone = gamectl("preview", loadout, "--data", photos, "-o", tmp_path / "x.png")
    assert "under the default rules: no cohort.yaml beside it" in alone.stderr
    assert gamectl("preview", loadout, "-o", "x.jpg").exit_code == 2
    assert gamectl("preview", tmp_path).exit_code == 2
    assert "unreadable" in gamectl("preview", tmp_path / "gone.yaml").stdout
