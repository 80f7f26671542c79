"""`gamectl teacher`, and students of the teacher that it trained, on real Ray."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision import models

from jobs.image_folder import scan
from orchestrator.admission.files import read_paths
from orchestrator.cli.demo import LOADOUTS, without_students
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.teaching.teacher_manifest import kept_file
from tests.orchestrator.cohorts import controller_elsewhere
from tests.orchestrator.commands import gamectl, read_json

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("home")]

SMALL = "mobilenet_v3_small"
TRAIN = (
    "teacher", "train", "--architecture", SMALL, "--size", "32", "--epochs", "2", "--cpus", "1"
)  # fmt: skip
STUDENT = "epochs: 2\nbatchSize: 4\npurchases:\n  - item: wisdom-extractor\n"
AUGMENTED = STUDENT + "  - item: flip-trick\n"
PAIR = STUDENT + "  - {item: ensemble-enchanter, members: [{}, {learningRate: 0.05}]}\n"

WriteCohort = Callable[..., Path]


def weights(home: Path, team: str) -> list[bytes]:
    return [
        path.read_bytes() for path in sorted((home / "artifacts").rglob(f"{team}/*/m*.safetensors"))
    ]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_teacher_is_trained_and_students_learn_from_it(
    write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort(
        {"plain": STUDENT, "flipped": AUGMENTED, "pair": PAIR, "alone": "epochs: 2\nbatchSize: 4\n"}
    )
    missing = gamectl("submit", folder, "--data", photos)
    assert missing.exit_code == 1
    assert "wisdom-extractor needs a teacher" in missing.stderr
    assert "gamectl teacher train" in missing.stderr
    assert not (home / "store.db").exists()

    trained = gamectl(*TRAIN, "--data", photos)
    assert trained.exit_code == 0, trained.output
    assert "epoch 2 of 2" in trained.stderr
    listed = json.loads(gamectl("teacher", "list", "-o", "json").stdout)["teachers"]
    (teacher,) = (entry for entry in listed if entry["architecture"] == SMALL)
    assert (teacher["image_size_px"], teacher["classes"]) == (32, ["n0", "n1", "n2"])
    scored = json.loads(gamectl("teacher", "score", "--data", photos, "-o", "json").stdout)
    assert scored["test_images"] == 18
    assert scored["teacher"] == teacher["path"]

    done = gamectl("submit", folder, "--data", photos)
    assert done.exit_code == 0, done.output
    store = Store(Settings().store_url)
    jobs = store.jobs("small")
    assert {job.phase for job in jobs} == {"Succeeded"}
    plans = {job.team: store.plans(job.id)[0] for job in jobs}
    store.close()
    assert plans["plain"].distill.teacher.sha256 == teacher["sha256"]
    assert plans["alone"].distill is None
    # The same settings and seed, with and without a teacher, and with one member more.
    assert weights(home, "plain")[0] != weights(home, "alone")[0]
    assert weights(home, "plain")[0] == weights(home, "pair")[0]
    assert weights(home, "flipped")[0] != weights(home, "plain")[0]

    # Another teacher makes another job of the same loadout, and of nobody else's.
    gamectl(*TRAIN, "--seed", "1", "--data", photos)
    store = Store(Settings().store_url)
    controller_elsewhere(store)
    store.close()
    again = gamectl("submit", folder, "--data", photos, "--detach")
    assert "3 jobs submitted, 1 unchanged" in again.stderr


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_teacher_starts_from_a_backbone_and_goes_where_it_is_told(
    photos: Path, tmp_path: Path
) -> None:
    backbone = models.get_model(SMALL, weights=None, num_classes=1000).state_dict()
    torch.save(
        {k: v for k, v in backbone.items() if not k.startswith("classifier")}, tmp_path / "b.pth"
    )
    target = tmp_path / "out" / "Pretrained.pt"
    done = gamectl(*TRAIN, "--data", photos, "--weights", tmp_path / "b.pth", "-o", target)
    assert done.exit_code == 0, done.output
    assert torch.load(target, weights_only=True)["classifier.3.bias"].dtype == torch.float16
    manifest = json.loads(target.with_suffix(".manifest.json").read_text())
    assert manifest["normalize"] == "imagenet"
    assert len(manifest["plan"]["initial_sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--architecture", "resnet19"], "no classifier 'resnet19'"),
        (["--weights", "nope.pth"], "cannot read the weights nope.pth"),
        (["-o", "teacher.bin"], "does not end in .pt"),
        (["--size", "4"], "4 is not in the range"),
        (["--seed", str(2**64)], "is not in the range"),
        (["--architecture", "vit_b_16"], "vit_b_16 cannot take images of 64 px"),
        (["--architecture", "vgg11", "--gpu"], "vgg11 cannot be trained reproducibly on a GPU"),
        (["--gpu"], "1 GPUs are asked for; the largest node has 2 CPUs and 0 GPUs"),
        (["--cpus", "99"], "99 CPUs and 0 GPUs are asked for"),
        (["-o", "/dev/null/t.pt"], "/dev/null"),
    ],
)
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_mistakes_are_told_without_a_traceback(words: list[str], said: str, photos: Path) -> None:
    result = gamectl("teacher", "train", "--data", photos, *words)
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "new/teacher.pt", "--architecture", "resnet19"], "no classifier 'resnet19'"),
        (["-o", "new/teacher.pt", "--architecture", "vit_b_16"], "cannot take images of 64 px"),
        (["-o", "new/teacher.pt", "--weights", "nope.pth"], "cannot read the weights nope.pth"),
        (["-o", "folder.pt"], "'folder.pt' is a directory"),
        (["-o", "file/teacher.pt"], "file cannot be written: Not a directory"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(
    words: list[str],
    said: str,
    photos: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (place := tmp_path / "here").mkdir()
    monkeypatch.chdir(place)
    Path("folder.pt").mkdir()
    Path("file").touch()
    result = gamectl("teacher", "train", "--data", photos, *words)
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert sorted(path.name for path in place.iterdir()) == ["file", "folder.pt"]
    assert not home.exists()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_place_where_no_teacher_can_be_kept_is_told_before_the_training(
    photos: Path, home: Path
) -> None:
    home.mkdir()
    (home / "teachers").touch()
    refused = gamectl(*TRAIN, "--data", photos)
    assert refused.exit_code == 1
    assert "teachers cannot be written: Not a directory" in refused.stderr
    (home / "teachers").unlink()
    kept_file(home / "teachers", scan(photos).fingerprint, 0.2, 0).mkdir(parents=True)
    refused = gamectl(*TRAIN, "--data", photos)
    assert refused.exit_code == 1
    assert "is a folder; remove it" in refused.stderr
    assert "epoch 1" not in refused.stderr


@pytest.mark.parametrize(("words", "counted"), [([], 17), (["--no-exclude-leaked"], 18)])
def test_leaked_test_images_count_as_the_cohort_says(
    words: list[str], counted: int, write_cohort: WriteCohort, photos: Path, tmp_path: Path
) -> None:
    photos = shutil.copytree(photos, tmp_path / "leaky")
    folder = write_cohort(
        {},
        spec=f"  teacher: {{file: mine.pt, architecture: {SMALL}, imageSizePx: 32}}\n"
        "  scoring: {excludeLeaked: true}\n",
    )
    network = models.get_model(SMALL, weights=None, num_classes=3)
    torch.save(network.state_dict(), folder / "mine.pt")
    test_image = next((photos / "validation" / "n0").iterdir())
    test_image.write_bytes(next((photos / "training" / "n0").iterdir()).read_bytes())
    score = "teacher", "score", "--cohort-file", folder / "cohort.yaml", "--data", photos
    assert read_json(*score, *words)["test_images"] == counted


def test_the_list_tells_bare_files_from_trained_ones(home: Path) -> None:
    (home / "teachers" / "folder.pt").mkdir(parents=True)
    (home / "teachers" / "bare.pt").write_bytes(b"")
    (home / "teachers" / "old.pt").write_bytes(b"")
    (home / "teachers" / "old.manifest.json").write_text("{}")
    listed = json.loads(gamectl("teacher", "list", "-o", "json").stdout)["teachers"]
    assert not any(entry["path"].endswith("folder.pt") for entry in listed)
    (bare,) = (entry for entry in listed if entry["path"].endswith("bare.pt"))
    (old,) = (entry for entry in listed if entry["path"].endswith("old.pt"))
    assert {**bare, "path": ""} == {**old, "path": ""}
    assert set(bare) == set(listed[0])
    assert set(bare.values()) == {bare["path"], None}
    (line,) = (x for x in gamectl("teacher", "list").stdout.splitlines() if "bare.pt" in x)
    assert "no manifest" in line


def test_the_demo_can_be_played_without_a_teacher() -> None:
    reading = read_paths([LOADOUTS])
    left_out = {f.team for f in reading.files} - {f.team for f in without_students(reading).files}
    assert left_out == {"teachers-pets"}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cohort_names_a_file_of_its_own(
    write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort(
        {"plain": STUDENT},
        spec=f"  teacher: {{file: mine.pt, architecture: {SMALL}, imageSizePx: 32}}\n",
    )
    (folder / "mine.pt").write_bytes(b"GIF89a")
    refused = gamectl("submit", folder, "--data", photos)
    assert refused.exit_code == 1
    assert "mine.pt is no plain state dict, or is damaged" in refused.stderr
    torch.save(
        models.get_model(SMALL, weights=None, num_classes=10).state_dict(), folder / "mine.pt"
    )
    refused = gamectl("submit", folder, "--data", photos)
    assert "tells 10 classes apart; the data has 3" in refused.stderr
    assert not (home / "store.db").exists()
    torch.save(
        models.get_model(SMALL, weights=None, num_classes=3).state_dict(), folder / "mine.pt"
    )
    done = gamectl("submit", folder, "--data", photos)
    assert "1 Succeeded" in done.stderr, done.output
