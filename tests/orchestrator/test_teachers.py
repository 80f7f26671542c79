"""Teachers' files: which one a cohort gets, and what is refused before anything trains."""

import fcntl
import math
import resource
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision import models

from jobs.images import LabelledImages
from jobs.plan import DataPlan, TeacherPlan
from jobs.split import split_images
from jobs.train import MemberResult
from orchestrator.admission.cohort import Data, TeacherFile
from orchestrator.errors import Damaged, NoTeacher, Refused
from orchestrator.teaching.teacher_manifest import Expected, expected_teacher, manifest_path
from orchestrator.teaching.teachers import (
    find_teacher,
    keep_teacher,
    kept_path,
    kept_teachers,
)
from tests.orchestrator.tracked import DATA, SIDE

SMALL = "mobilenet_v3_small"
NOWHERE = Path("nowhere.pt")


def state(num_classes: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(models.get_model(SMALL, weights=None, num_classes=num_classes).state_dict())


def resnet(**filled: float) -> dict[str, torch.Tensor]:
    network = dict(models.resnet18(num_classes=3).state_dict())
    return network | {key: torch.full_like(network[key], value) for key, value in filled.items()}


def write(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


@pytest.fixture
def kept(tmp_path: Path, images: LabelledImages) -> Path:
    """The folder of a teacher that was trained for DATA."""
    folder = tmp_path / "teachers"
    keep(folder, images)
    return folder


def keep(folder: Path, images: LabelledImages, seed: int = 0) -> None:
    """Keeps a teacher of this seed in the folder."""
    plan = TeacherPlan(data=DATA, architecture=SMALL, normalize="imagenet")
    truth = images.labels[split_images(images.labels, images.groups, DATA).validation]
    probs = np.eye(3, dtype=np.float32)[truth]
    probs[0] = np.roll(probs[0], 1)  # one mistake
    result = MemberResult(safetensors.torch.save(state(seed=seed)), probs)
    keep_teacher(kept_path(folder, DATA), plan, result, images)


def find(
    folder: Path, own: TeacherFile | None = None, data: DataPlan = DATA, pretrained: Path = NOWHERE
):
    return find_teacher(folder, own, folder.parent, data, pretrained)


def test_a_kept_teacher_is_a_plain_half_precision_state_dict(kept: Path) -> None:
    path = kept_path(kept, DATA)
    stored = torch.load(path, weights_only=True)
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}
    assert list(stored) == list(state())
    for key, value in state().items():
        torch.testing.assert_close(stored[key].float(), value.float(), atol=1e-3, rtol=1e-3)


def test_the_manifest_says_what_the_teacher_is(kept: Path) -> None:
    ((path, manifest),) = kept_teachers(kept, NOWHERE)
    assert manifest is not None
    assert path == kept_path(kept, DATA)
    assert (manifest.architecture, manifest.image_size_px) == (SMALL, SIDE)
    assert (manifest.classes, manifest.fingerprint) == (DATA.classes, DATA.fingerprint)
    # Of the file's own weights, which are random ones here.
    assert 0 <= manifest.val_accuracy < 0.8
    assert TeacherPlan.model_validate(manifest.plan).architecture == SMALL


def test_a_kept_teacher_is_found_with_its_spec(kept: Path) -> None:
    teacher = find(kept)
    assert teacher.spec.architecture == SMALL
    assert (teacher.spec.image_size_px, teacher.spec.normalize) == (SIDE, "imagenet")
    weights = safetensors.torch.load(teacher.weights)
    assert weights.keys() == state().keys()
    assert weights["features.0.0.weight"].dtype == torch.float32


def test_a_missing_teacher_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"wisdom-extractor needs a teacher.*gamectl teacher train"):
        find(tmp_path)
    with pytest.raises(Refused, match=r"cannot read the teacher .*mine\.pt: No such file"):
        find(tmp_path / "teachers", TeacherFile(file="mine.pt"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ("n0", "n1", "n9")}, "knows the classes n0, n1, n2; the data has n0, n1, n9"),
        ({"fingerprint": "g"}, "trained on other images"),
        ({"split_seed": 1}, "trained on another validation split"),
        ({"validation_fraction": 0.3}, "trained on another validation split"),
    ],
)
def test_a_teacher_for_other_data_is_refused(kept: Path, change: dict, said: str) -> None:
    with pytest.raises(Refused, match=said):
        find(
            kept.parent / "none",
            data=DATA.model_copy(update=change),
            pretrained=kept_path(kept, DATA),
        )


def test_a_teacher_for_another_split_is_not_taken_by_mistake(kept: Path) -> None:
    with pytest.raises(Refused, match="there is none for this data"):
        find(kept, data=DATA.model_copy(update={"split_seed": 1}))


def test_an_organizers_own_single_precision_file_works(tmp_path: Path) -> None:
    write(tmp_path / "mine.pt", state())
    own = TeacherFile(file="mine.pt", architecture=SMALL, image_size_px=32, normalize="imagenet")
    teacher = find(tmp_path / "teachers", own)
    assert teacher.spec.model_dump(exclude={"sha256"}) == {
        "architecture": SMALL, "image_size_px": 32, "normalize": "imagenet",
    }  # fmt: skip


def test_a_plain_resnet18_in_pretrained_needs_no_words(tmp_path: Path) -> None:
    resnet = models.resnet18(num_classes=3).state_dict()
    path = write(tmp_path / "Pretrained-Resnet18.pt", resnet)
    teacher = find(tmp_path / "teachers", pretrained=path)
    assert (teacher.path, teacher.spec.architecture) == (path, "resnet18")


def test_a_file_with_a_manifest_of_another_one_is_refused(kept: Path) -> None:
    path = kept_path(kept, DATA)
    write(path, models.resnet18(num_classes=3).state_dict())
    nowhere, own = kept.parent / "none", TeacherFile(file=str(path))
    for taken in ({"pretrained": path}, {"own": own}):
        with pytest.raises(NoTeacher, match=r"do not belong together: copy .* or delete .*\.json"):
            find(nowhere, **taken)
    ((_, manifest),) = kept_teachers(kept, NOWHERE)
    assert manifest is None
    manifest_path(path).unlink()
    for taken in ({"pretrained": path}, {"own": own}):
        assert find(nowhere, **taken).spec.architecture == "resnet18"


def test_a_teacher_that_is_replaced_while_it_is_read_is_read_again(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read_bytes = kept_path(kept, DATA), Path.read_bytes
    new = path.read_bytes(), manifest_path(path).read_bytes()
    write(path, models.resnet18(num_classes=3).state_dict())

    def replaced_behind(read: Path) -> bytes:
        content = read_bytes(read)
        if read == path:
            path.write_bytes(new[0])
            manifest_path(path).write_bytes(new[1])
        return content

    monkeypatch.setattr(Path, "read_bytes", replaced_behind)
    assert find(kept).spec.architecture == SMALL


def test_the_plan_expects_what_the_students_will_get(kept: Path) -> None:
    path, fractions = kept_path(kept, DATA), {"validation_fraction": DATA.validation_fraction}
    data, words = Data(**fractions), TeacherFile(architecture="vgg11")
    for folder, pretrained in ((kept, NOWHERE), (kept.parent / "none", path)):
        found = find(folder, words, pretrained=pretrained).spec
        where = folder, words, folder.parent
        expected = expected_teacher(*where, data, DATA.fingerprint, pretrained)
        assert expected == Expected(found.model_copy(update={"sha256": ""}), fits=True)
        assert expected_teacher(*where, data, "", pretrained).fits, "not drawn yet"
    assert not expected_teacher(*where, data, "other images", path).fits
    other_split = Data(**fractions, split_seed=7)
    assert not expected_teacher(*where, other_split, DATA.fingerprint, path).fits
    assert not expected_teacher(*where, data, DATA.fingerprint, NOWHERE).fits


def test_a_teacher_in_the_home_of_nobody_is_none(kept: Path) -> None:
    own = TeacherFile(file="~nobody-of-this-name/t.pt")
    with pytest.raises(NoTeacher, match=r"~nobody-of-this-name/t\.pt: there is no user nobody-of-"):
        find(kept, own)
    assert not expected_teacher(kept, own, kept.parent, Data(), DATA.fingerprint).fits


def test_a_teacher_that_cannot_be_written_leaves_the_one_before(
    kept: Path, images: LabelledImages
) -> None:
    before = find(kept)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # enough for a manifest
    try:
        with pytest.raises(OSError, match="too large"):
            keep(kept, images, seed=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert find(kept) == before
    keep(kept, images, seed=1)
    assert find(kept).spec.sha256 != before.spec.sha256


def test_who_replaces_a_teacher_is_alone(
    kept: Path, images: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file, tried = Path.replace, []

    def replaced(self: Path, target: Path) -> Path:
        lock = kept / f".{kept_path(kept, DATA).name}.lock"
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tried.append(target)
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", replaced)
    keep(kept, images)
    path = kept_path(kept, DATA)
    assert tried == [manifest_path(path), path]
    assert {file.stat().st_mode & 0o777 for file in tried} == {0o644}


def test_a_kept_teacher_without_its_own_manifest_is_never_guessed_at(kept: Path) -> None:
    path = kept_path(kept, DATA)
    manifest = path.with_suffix(".manifest.json")
    content = manifest.read_text()
    manifest.unlink()
    with pytest.raises(Refused, match="do not belong together"):
        find(kept)
    manifest.write_text(content)
    assert find(kept).spec.architecture == SMALL
    write(path, models.resnet18(num_classes=3).state_dict())
    with pytest.raises(Refused, match="do not belong together"):
        find(kept)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "vit_b_16", "image_size_px": 64}, "weights do not fit the network"),
        ({"architecture": "resnet19"}, "no classifier 'resnet19'"),
    ],
)
def test_words_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, change: dict, said: str
) -> None:
    write(tmp_path / "mine.pt", state())
    with pytest.raises(Refused, match=said):
        find(tmp_path / "teachers", TeacherFile(file="mine.pt", **change))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (models.resnet18(num_classes=10).state_dict(), "tells 10 classes apart; the data has 3"),
        ({"fc.bias": torch.zeros(3)}, "weights do not fit the network: conv1.weight is missing"),
        ({"model": state()}, "holds a dict, not a plain state dict"),
        (resnet(**{"conv1.weight": math.nan}), "conv1.weight is not finite"),
        ({"x": torch.zeros(1).expand(10**9)}, "not a plain state dict"),
        (torch.nn.Linear(2, 3), "is no plain state dict"),
    ],
)
def test_a_file_that_is_no_teacher_is_refused(tmp_path: Path, content: object, said: str) -> None:
    path = write(tmp_path / "Pretrained-Resnet18.pt", content)
    with pytest.raises(Refused, match=said):
        find(tmp_path / "teachers", pretrained=path)


def test_a_damaged_manifest_is_told(kept: Path) -> None:
    kept_path(kept, DATA).with_suffix(".manifest.json").write_text("{}")
    with pytest.raises(Damaged, match="no teacher's manifest"):
        find(kept)
