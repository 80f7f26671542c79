"""What students are given of their teachers: answers from the cache, or the teacher itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision import models

from jobs.images import LabelledImages
from jobs.plan import AugmentPlan, DistillPlan, MemberPlan, TeacherSpec
from jobs.teacher import teacher_logits
from jobs.values import Teaching
from orchestrator.errors import Damaged
from orchestrator.sources import silent
from orchestrator.teaching.teachings import TeacherWeights, teaching_key, teachings
from tests.orchestrator.tracked import DATA, SIDE

SMALL = "mobilenet_v3_small"


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(models.get_model(SMALL, weights=None, num_classes=3).state_dict())


def student(**plan: object) -> MemberPlan:
    spec = TeacherSpec(sha256="s" * 64, architecture=SMALL, image_size_px=32)
    return MemberPlan(data=DATA, distill=DistillPlan(teacher=spec), **plan)


@pytest.fixture
def weights(tmp_path: Path) -> TeacherWeights:
    kept = TeacherWeights(tmp_path / "kept")
    spec = student().distill.teacher
    kept.keep(spec, safetensors.torch.save(state()))
    return kept


def test_who_does_not_distil_needs_none() -> None:
    assert teaching_key(MemberPlan(data=DATA)) is None


def test_without_augmentation_one_answer_serves_every_member(
    tmp_path: Path, images: LabelledImages, weights: TeacherWeights
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
    tmp_path: Path, images: LabelledImages, weights: TeacherWeights
) -> None:
    first = teachings([student()], {SIDE: images}, weights, tmp_path / "cache")
    (cached,) = (tmp_path / "cache").glob("*.npy")
    before = cached.read_bytes()
    cached.write_bytes(before[:100])
    again = teachings([student()], {SIDE: images}, weights, tmp_path / "cache")
    assert cached.read_bytes() == before
    (one,), (other,) = first.values(), again.values()
    np.testing.assert_array_equal(one.logits, other.logits)


def test_another_kind_of_processor_is_asked_anew(
    tmp_path: Path,
    images: LabelledImages,
    weights: TeacherWeights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind in ("x86", "newer-x86", "x86"):
        monkeypatch.setattr("orchestrator.teaching.teachings.processor", lambda kind=kind: kind)
        teachings([student()], {SIDE: images}, weights, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_other_images_of_the_same_size_are_asked_about_anew(
    tmp_path: Path, images: LabelledImages, weights: TeacherWeights
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
    tmp_path: Path, images: LabelledImages, weights: TeacherWeights
) -> None:
    for augment in (AugmentPlan(flip_horizontal_p=0.5), AugmentPlan(mixup_alpha=0.2)):
        plan = student(augment=augment)
        made = teachings([plan], {SIDE: images}, weights, tmp_path / "cache")
        teaching = made[teaching_key(plan)]
        assert teaching.logits is None
        assert teaching.weights == safetensors.torch.save(state())


def test_a_changed_file_is_damaged(tmp_path: Path, weights: TeacherWeights) -> None:
    (path,) = (tmp_path / "kept").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Damaged, match="SHA-256 differs"):
        weights.read(student().distill.teacher)
    weights.keep(student().distill.teacher, safetensors.torch.save(state()))  # repairs it
    assert weights.read(student().distill.teacher) == safetensors.torch.save(state())
    path.unlink()
    with pytest.raises(Damaged, match="No such file"):
        weights.read(student().distill.teacher)
