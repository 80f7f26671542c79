"""`gamectl data check`, and scores without the test images that leak."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.duplicates import leaked_test_images
from jobs.image_folder import scan
from jobs.images import DecodedFolder, decode
from jobs.plan import SandboxRules
from orchestrator.admission.cohort import Cohort
from orchestrator.artifacts import Artifacts
from orchestrator.errors import Refused
from orchestrator.results.scorebook import read_scores
from orchestrator.results.scoring import score_cohort, scored_images
from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.conftest import write_photos
from tests.orchestrator.cohorts import DATA, cohort
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.tracked import SIDE, TrainJob


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Three classes, 24 training and 12 test images: three leak, one of them in another class."""
    root = write_photos(tmp_path / "leaky photos ü", num_training=8, num_test=4)
    shutil.copy(root / "training/n0/1.png", root / "validation/n0/1.png")
    shutil.copy(root / "training/n2/5.png", root / "validation/n1/0.png")
    with Image.open(root / "training/n2/7.png") as photo:
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "validation/n2/3.png")
    return root


# --- the check -----------------------------------------------------------------------------------


def test_the_json_form(leaky: Path) -> None:
    (leaky / "training/n1/torn file.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    document = read_json("data", "check", leaky)
    assert document["classes"] == [
        {"name": "n0", "training": 8, "test": 4},
        {"name": "n1", "training": 8, "test": 4},
        {"name": "n2", "training": 8, "test": 4},
    ]
    (broken,) = document["broken"]
    assert broken["path"] == "training/n1/torn file.png"
    assert "not an image" in broken["reason"]
    assert document["sizes"]["median"]["width"] == 32
    keys = ["a", "b", "kind", "across_splits", "same_class", "mirrored"]
    assert [[pair[key] for key in keys] for pair in document["duplicates"]] == [
        ["training/n2/5.png", "validation/n1/0.png", "exact", True, False, False],
        ["training/n0/1.png", "validation/n0/1.png", "exact", True, True, False],
        ["training/n2/7.png", "validation/n2/3.png", "near", True, True, True],
    ]
    assert document["leaked"] == [
        "validation/n0/1.png",
        "validation/n1/0.png",
        "validation/n2/3.png",
    ]


def test_the_tables_fit_a_terminal_and_say_what_to_do(leaky: Path) -> None:
    (leaky / "training/n1/torn.png").write_bytes(b"")
    done = gamectl("data", "check", leaky)
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "training/n2/5.png  validation/n1/0.png  exact, other class" in done.stdout
    assert "training/n2/7.png  validation/n2/3.png  near, mirrored" in done.stdout
    assert "training/n1/torn.png" in done.stdout
    assert "3 of 12 test images leak" in done.stderr
    assert "`scoring: {excludeLeaked: true}`" in done.stderr
    assert "one of the two is mislabelled" in done.stderr
    assert "skipBrokenImages" in done.stderr


def test_strict_is_for_scripts(leaky: Path, photos: Path) -> None:
    assert gamectl("data", "check", leaky, "--strict").exit_code == 1
    clean = gamectl("data", "check", photos, "--strict")
    assert clean.exit_code == 0
    assert "nothing wrong was found" in clean.stderr
    assert "duplicates" not in clean.stdout


def test_the_sheet_shows_each_pair(leaky: Path, photos: Path, tmp_path: Path) -> None:
    # A name that is no text, as other systems write them.
    odd = leaky / "validation" / "n0" / "b\udcffd\nname.png"
    shutil.copy(leaky / "training/n0/2.png", odd)
    nowhere = gamectl("data", "check", leaky, "--sheet", tmp_path / "new" / "pairs.png")
    assert (nowhere.exit_code, nowhere.stdout) == (1, "")
    assert "there is no folder" in nowhere.stderr
    done = gamectl("data", "check", leaky, "--sheet", tmp_path / "pairs.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "pairs.png").stat().st_mode & 0o777 == 0o644
    with Image.open(tmp_path / "pairs.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 6 * 160  # three pairs beside each other
        assert sheet.height > 2 * 160  # and the fourth below
    none = gamectl("data", "check", photos, "--sheet", tmp_path / "none.png")
    assert none.exit_code == 0
    assert "no sheet" in none.stderr
    assert not (tmp_path / "none.png").exists()


def test_a_folder_of_broken_files_is_reported(leaky: Path, tmp_path: Path) -> None:
    for file in leaky.rglob("*.png"):
        file.write_bytes(b"")
    done = gamectl("data", "check", leaky, "-o", "json", "--sheet", tmp_path / "none.png")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert len(document["broken"]) == 36
    assert document["sizes"] == {}
    assert document["classes"][0] == {"name": "n0", "training": 0, "test": 0}
    assert "no sheet" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["{tmp}/nowhere"], 1, "no such folder"),
        (["{tmp}"], 1, "no folder training/"),
        (["{leaky}", "--sheet", "pairs.jpg"], 2, "does not end in .png"),
        (["{leaky}", "--sheet", "{tmp}"], 2, "is a directory"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_checked_is_explained(
    words: list[str], code: int, message: str, leaky: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.png").mkdir()
    filled = [w.format(tmp=tmp_path / "empty.png", leaky=leaky) for w in words]
    done = gamectl("data", "check", *filled)
    assert done.exit_code == code
    assert message in done.stderr


def test_a_class_that_is_missing_in_one_part_is_named(leaky: Path) -> None:
    shutil.rmtree(leaky / "validation" / "n1")
    done = gamectl("data", "check", leaky)
    assert done.exit_code == 1
    assert "class n1 is missing in validation/" in done.stderr


def test_looking_leaves_nothing_behind(leaky: Path, home: Path) -> None:
    before = sorted(leaky.rglob("*"))
    assert gamectl("data", "check", leaky).exit_code == 0
    assert sorted(leaky.rglob("*")) == before
    assert not home.exists()


# --- scoring -------------------------------------------------------------------------------------


@pytest.fixture
def decoded(leaky: Path, tmp_path: Path) -> DecodedFolder:
    return decode(leaky, [SIDE], tmp_path / "cache" / "images")


def test_left_out_images_are_not_among_the_test_images(decoded: DecodedFolder) -> None:
    everything = decoded.test(SIDE)
    assert len(scored_images(decoded, SIDE, ()).labels) == 12
    leaked = leaked_test_images(decoded.folder, decoded.cache)
    left = scored_images(decoded, SIDE, leaked)
    kept = [row for row, f in enumerate(decoded.folder.test) if f.sha256 not in leaked]
    assert len(kept) == 9
    assert np.array_equal(left.images, everything.images[kept])
    assert np.array_equal(left.labels, everything.labels[kept])
    assert np.array_equal(left.groups, everything.groups[kept])


def test_a_class_without_a_clean_test_image_is_refused(decoded: DecodedFolder) -> None:
    n1 = {file.sha256 for file in decoded.folder.test if file.label == 1}
    with pytest.raises(Refused, match=r"every test image of n1 leaks.*gamectl data check"):
        scored_images(decoded, SIDE, n1)


def test_scores_with_and_without_leaked_images_are_never_mixed(
    store: Store, artifacts: Artifacts, train_job: TrainJob, decoded: DecodedFolder
) -> None:
    train_job("apes", 1, "mean")
    leaked = leaked_test_images(decoded.folder, decoded.cache)

    whole = "small", store.jobs("small"), SandboxRules(), store, artifacts, decoded
    with_all = score_cohort(*whole, None)
    without = score_cohort(*whole, with_all, left_out=leaked)
    assert (with_all.test_images, with_all.test_images_left_out) == (12, 0)
    assert (without.test_images, without.test_images_left_out) == (9, 3)
    assert np.sum(with_all.scores[0].confusion) == 12
    assert np.sum(without.scores[0].confusion) == 9

    # The same images again: the scores of before stand, and stay published.
    published = without.model_copy(update={"published": True})
    again = score_cohort(*whole, published, left_out=leaked)
    assert again == published
    back = score_cohort(*whole, published)
    assert back == with_all


def set_rules(store: Store, rules: Cohort, without: str | None = None) -> None:
    """Stores the rules of the cohort that the jobs are in, without one section of its spec."""
    document = rules.model_dump(mode="json", by_alias=True)
    if without is not None:
        del document["spec"][without]
    store.submit("small", document, DATA, [], 1e10)


def trained_on(home: Path, folder: Path) -> None:
    """Lets the store's cohort say that its jobs trained on this folder's images."""
    with closing(sqlite3.connect(home / "store.db")) as database, database:
        (text,) = database.execute("SELECT data FROM cohorts").fetchone()
        data = json.loads(text) | {"fingerprint": scan(folder).fingerprint}
        database.execute("UPDATE cohorts SET data = ?", [json.dumps(data)])


def test_the_cohort_decides_and_the_leaderboard_says_so(
    store: Store,
    train_job: TrainJob,
    leaky: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GAME_HOME", str(tmp_path))  # where the fixtures' store and weights are
    train_job("apes", 1, "mean")
    set_rules(store, cohort(scoring={"exclude_leaked": True}))
    refused = gamectl("score", "--data", leaky)
    assert refused.exit_code == 1
    assert "not those that cohort 'small' trained on, so leaks cannot be told" in refused.stderr
    trained_on(tmp_path, leaky)
    done = gamectl("score", "--data", leaky)
    assert done.exit_code == 0, done.output
    assert "9 of 12 test images (3 leaked ones left out)" in done.stderr
    board = read_json("leaderboard")
    assert (board["test_images"], board["test_images_left_out"]) == (9, 3)
    assert "9 of 12 test images (3 leaked ones left out)" in gamectl("leaderboard").stderr
    kept = read_scores(Settings().scores, "small")
    assert kept is not None
    assert len(kept.left_out) == 3

    done = gamectl("score", "--data", leaky, "--no-exclude-leaked")
    assert "on 12 test images" in done.stderr
    assert read_json("leaderboard")["test_images_left_out"] == 0
    set_rules(store, cohort())
    trained_on(tmp_path, leaky)
    assert "on 12 test images" in gamectl("score", "--data", leaky).stderr
    done = gamectl("score", "--data", leaky, "--exclude-leaked")
    assert "on 9 of 12 test images" in done.stderr


def test_a_cohort_stored_before_there_was_a_choice_is_scored_on_all_images(
    store: Store,
    train_job: TrainJob,
    leaky: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GAME_HOME", str(tmp_path))
    train_job("apes", 1, "mean")
    set_rules(store, cohort(), without="scoring")
    assert "on 12 test images" in gamectl("score", "--data", leaky).stderr
