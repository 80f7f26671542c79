"""Teachers' files: which one a cohort gets, and what is refused before anything trains."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision import models

from jobs.images import LabelledImages
from jobs.plan import AugmentPlan, DataPlan, DistillPlan, MemberPlan, TeacherPlan, TeacherSpec
from jobs.split import split_images
from jobs.teacher import teacher_logits
from jobs.train import MemberResult
from jobs.values import Teaching
from orchestrator.admission.cohort import TeacherFile
from orchestrator.errors import Damaged, Refused
from orchestrator.sources import silent
from orchestrator.teaching.backbones import initial_state
from orchestrator.teaching.teachers import (
    find_teacher,
    keep_teacher,
    kept_path,
    kept_teachers,
)
from orchestrator.teaching.teachings import TeacherWeights, teaching_key, teachings
from tests.orchestrator.tracked import DATA, SIDE

SMALL = "mobilenet_v3_small"
NOWHERE = Path("nowhere.pt")


def state(num_classes: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
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
    plan = TeacherPlan(data=DATA, architecture=SMALL, normalize="imagenet")
    truth = images.labels[split_images(images.labels, images.groups, DATA).validation]
    probs = np.eye(3, dtype=np.float32)[truth]
    probs[0] = np.roll(probs[0], 1)  # one mistake
    result = MemberResult(safetensors.torch.save(state()), probs)
    keep_teacher(kept_path(folder, DATA), plan, result, images)
    return folder


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


def test_a_manifest_that_is_of_another_file_is_not_believed(kept: Path) -> None:
    path = kept_path(kept, DATA)
    write(path, models.resnet18(num_classes=3).state_dict())
    assert find(kept.parent / "none", pretrained=path).spec.architecture == "resnet18"


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


def test_weights_to_start_from(tmp_path: Path) -> None:
    assert initial_state(SMALL, "none") is None
    path = write(tmp_path / "backbone.pth", state(1000))
    first, again = initial_state(SMALL, str(path)), initial_state(SMALL, str(path))
    assert first is not None
    assert again is not None
    assert first.sha256 == again.sha256
    assert first.state.keys() == state().keys()
    with pytest.raises(Refused, match="--weights is imagenet, none or the path"):
        initial_state(SMALL, str(tmp_path / "nope.pth"))


def student(**plan: object) -> MemberPlan:
    spec = TeacherSpec(sha256="s" * 64, architecture=SMALL, image_size_px=32)
    return MemberPlan(data=DATA, distill=DistillPlan(teacher=spec), **plan)


class TestTeachings:
    @pytest.fixture
    def weights(self, tmp_path: Path) -> TeacherWeights:
        kept = TeacherWeights(tmp_path / "kept")
        spec = student().distill.teacher
        kept.keep(spec, safetensors.torch.save(state()))
        return kept

    def test_who_does_not_distil_needs_none(self) -> None:
        assert teaching_key(MemberPlan(data=DATA)) is None

    def test_without_augmentation_one_answer_serves_every_member(
        self, tmp_path: Path, images: LabelledImages, weights: TeacherWeights
    ) -> None:
        asked = []

        def progress(label: str):
            asked.append(label)
            return silent(label)

        plans = [student(seed=seed) for seed in range(3)]
        made = teachings(plans, {SIDE: images}, weights, tmp_path / "cache", progress)
        (teaching,) = made.values()
        assert asked == ["asking the teacher"]
        assert teaching.weights == b""
        reference = models.get_model(SMALL, weights=None, num_classes=3)
        reference.load_state_dict(state())
        pixels = torch.from_numpy(np.array(images.images)) / 255
        resized = torch.nn.functional.interpolate(
            pixels, (32, 32), mode="bilinear", antialias=True, align_corners=False
        )
        with torch.no_grad():
            np.testing.assert_allclose(teaching.logits, reference.eval()(resized), atol=1e-4)

    def test_its_answer_is_cached_and_asked_again_where_the_cache_is_damaged(
        self, tmp_path: Path, images: LabelledImages, weights: TeacherWeights
    ) -> None:
        first = teachings([student()], {SIDE: images}, weights, tmp_path / "cache")
        (cached,) = (tmp_path / "cache").glob("*.npy")
        before = cached.read_bytes()
        cached.write_bytes(before[:100])
        again = teachings([student()], {SIDE: images}, weights, tmp_path / "cache")
        assert cached.read_bytes() == before
        (one,), (other,) = first.values(), again.values()
        np.testing.assert_array_equal(one.logits, other.logits)

    def test_other_images_of_the_same_size_are_asked_about_anew(
        self, tmp_path: Path, images: LabelledImages, weights: TeacherWeights
    ) -> None:
        plan = student()
        data = plan.data.model_copy(update={"fingerprint": "other"})
        other = replace(images, images=images.images[::-1])
        keys = [teaching_key(plan), teaching_key(plan.model_copy(update={"data": data}))]
        assert keys[0] != keys[1]
        for key, of, seen in zip(keys, (plan.data, data), (images, other), strict=True):
            asking = plan.model_copy(update={"data": of})
            made = teachings([asking], {SIDE: seen}, weights, tmp_path / "cache")
            logits = teacher_logits(Teaching(key[0], weights.read(key[0])), seen.images, 3, 1)
            np.testing.assert_array_equal(made[key].logits, logits)

    def test_with_augmentation_the_slot_gets_the_teacher_itself(
        self, tmp_path: Path, images: LabelledImages, weights: TeacherWeights
    ) -> None:
        for augment in (AugmentPlan(flip_horizontal_p=0.5), AugmentPlan(mixup_alpha=0.2)):
            plan = student(augment=augment)
            made = teachings([plan], {SIDE: images}, weights, tmp_path / "cache")
            teaching = made[teaching_key(plan)]
            assert teaching.logits is None
            assert teaching.weights == safetensors.torch.save(state())

    def test_a_changed_file_is_damaged(self, tmp_path: Path, weights: TeacherWeights) -> None:
        (path,) = (tmp_path / "kept").iterdir()
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(Damaged, match="SHA-256 differs"):
            weights.read(student().distill.teacher)
        weights.keep(student().distill.teacher, safetensors.torch.save(state()))  # repairs it
        assert weights.read(student().distill.teacher) == safetensors.torch.save(state())
        path.unlink()
        with pytest.raises(Damaged, match="No such file"):
            weights.read(student().distill.teacher)
