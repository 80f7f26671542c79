"""The hidden test set kept from whoever trains: submitted without it, scored where it is."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.conftest import write_photos
from tests.orchestrator.cohorts import DATA, cohort, new_job
from tests.orchestrator.commands import gamectl, read_json

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("home")]

BASE = "epochs: 2\nlearningRate: 0.05\n"
WriteCohort = Callable[..., Path]


@pytest.fixture
def visible(photos: Path, tmp_path: Path) -> Path:
    """The photos without validation/."""
    shutil.copytree(photos / "training", tmp_path / "visible" / "training")
    return tmp_path / "visible"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_it_is_submitted_without_and_scored_with_the_hidden_part(
    write_cohort: WriteCohort, photos: Path, visible: Path, tmp_path: Path
) -> None:
    folder = write_cohort({"apes": BASE})
    planned = gamectl("plan", folder, "--data", visible)
    assert planned.exit_code == 0, planned.output
    done = gamectl("submit", folder, "--data", visible)
    assert done.exit_code == 0, done.output
    assert read_json("get", "jobs")["jobs"][0]["phase"] == "Succeeded"

    missing = gamectl("score")
    assert missing.exit_code == 1
    assert missing.stderr.splitlines()[-1] == (
        f"error: no test images: {visible} has no validation/; mount or put them there, or name a "
        "folder that holds both parts: gamectl score --cohort small --data FOLDER"
    )
    elsewhere = gamectl("score", "--data", photos)
    assert elsewhere.exit_code == 0, elsewhere.output
    board = read_json("leaderboard")
    assert board["test_images"] == 18

    # Mounted at its own place: the submission knew of none, so that it is what counts.
    shutil.copytree(photos / "validation", visible / "validation")
    mounted = gamectl("score")
    assert mounted.exit_code == 0, mounted.output
    assert read_json("leaderboard") == board

    # Where the submission had a fingerprint of it, others are refused as ever.
    assert gamectl("submit", folder, "--data", visible).exit_code == 0
    other = write_photos(tmp_path / "other", num_test=3)
    shutil.rmtree(visible / "validation")
    assert gamectl("submit", folder, "--data", visible).exit_code == 0
    shutil.copytree(other / "validation", visible / "validation")
    refused = gamectl("score")
    assert refused.exit_code == 1
    assert "are not those of the submission any more" in refused.stderr


def test_a_submission_without_it_forgets_no_fingerprint(each_store: Store) -> None:
    spec = cohort().model_dump(mode="json", by_alias=True)
    for data, expected in (
        (replace(DATA, test_fingerprint=""), ""),
        (DATA, DATA.test_fingerprint),
        (replace(DATA, test_fingerprint="", source="/elsewhere"), DATA.test_fingerprint),
        (replace(DATA, test_fingerprint="other"), "other"),
    ):
        each_store.submit("small", spec, data, [new_job("apes")], 100.0, None)
        assert each_store.cohort("small").data == replace(data, test_fingerprint=expected)


def test_data_check_says_that_it_is_absent(visible: Path) -> None:
    done = gamectl("data", "check", visible)
    assert done.exit_code == 0
    assert "no validation/: the hidden part, the test images, is not here" in done.stderr
    assert "nothing wrong was found" in done.stderr
    assert read_json("data", "check", visible)["hidden_part"] is False


def test_what_needs_it_says_so_before_anything_trains(
    write_cohort: WriteCohort, visible: Path
) -> None:
    measured = gamectl("balance", write_cohort({"apes": BASE}), "--data", visible)
    assert measured.exit_code == 1
    assert f"{visible} has no test images (validation/)" in measured.stderr
    assert not Path(Settings().root / "store.db").exists()
