"""What the students of a cohort are given of their teachers.

In: the plans that wait, the training images, and the teachers' weights, kept by content among the
artifacts when a cohort is submitted: a job that is resumed learns from the very file that it was
submitted with. Out: a `Teaching` for each teacher and kind of student. Where a student's images are
not augmented its teacher says the same in every epoch, to every member: that is computed once for
all and cached, for this kind of processor. Next on the path: `slots` hands them out.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jobs.atomic import atomic_file
from jobs.decoding import DECODE_VERSION
from jobs.images import LabelledImages
from jobs.places import Where, join, whole_file
from jobs.plan import MemberPlan, TeacherSpec
from jobs.processor import processor
from jobs.values import Teaching
from orchestrator.artifacts import read_kept
from orchestrator.errors import Damaged
from orchestrator.sources import ProgressBar, silent

AGAIN = "put the teacher back that the jobs were submitted with, and submit them again"
TeachingKey = tuple[TeacherSpec, tuple[str, int, int] | None]
"""A teacher; for students without augmentation also their images, by fingerprint and size, and
their threads."""


def teaching_key(plan: MemberPlan) -> TeachingKey | None:
    """Which teaching a member needs, or None where it does not distil."""
    if plan.distill is None:
        return None
    assert plan.distill.teacher is not None, "a plan is stored with its teacher"
    data = plan.data
    alike = None if plan.augmented else (data.fingerprint, data.image_size_px, plan.threads)
    return plan.distill.teacher, alike


class TeacherWeights:
    """Teachers' weights by the SHA-256 of the file that they came in."""

    def __init__(self, folder: Where) -> None:
        self._folder = folder

    def keep(self, spec: TeacherSpec, weights: bytes) -> None:
        """Writes the weights (safetensors) where they are not kept, or damaged."""
        try:
            self.read(spec)
        except Damaged:
            with whole_file(self._path(spec)) as file:
                file.write(hashlib.sha256(weights).hexdigest().encode() + weights)

    def read(self, spec: TeacherSpec) -> bytes:
        """The weights; raises `Damaged` where they are gone or changed."""
        path = self._path(spec)
        content = read_kept(path, "the teacher ", f"; {AGAIN}")
        digest, weights = content[:64], content[64:]
        if hashlib.sha256(weights).hexdigest().encode() != digest:
            raise Damaged(f"{path} is not the teacher that was kept: its SHA-256 differs; {AGAIN}")
        return weights

    def _path(self, spec: TeacherSpec) -> Where:
        return join(self._folder, f"{spec.sha256}.teacher")


def teachings(
    plans: Iterable[MemberPlan],
    data: Mapping[int, LabelledImages],
    weights: TeacherWeights,
    cache: Path,
    progress: ProgressBar = silent,
) -> dict[TeachingKey, Teaching]:
    """What these members need of their teachers; `data` holds the training images by size."""
    needed = {key: plan for plan in plans if (key := teaching_key(plan)) is not None}
    made: dict[TeachingKey, Teaching] = {}
    for key, plan in needed.items():
        spec, untouched = key
        teaching = Teaching(spec, weights.read(spec))
        if untouched is not None:
            with progress("asking the teacher") as show:
                logits = _logits(teaching, plan, data, cache, show)
            teaching = Teaching(spec, b"", logits)
        made[key] = teaching
    return made


def _logits(
    teaching: Teaching,
    plan: MemberPlan,
    data: Mapping[int, LabelledImages],
    cache: Path,
    show: Callable[[int, int], None],
) -> np.ndarray[Any, np.dtype[np.float32]]:
    size_px, num_classes = plan.data.image_size_px, len(plan.data.classes)
    images = data[size_px].images
    versions = f"{DECODE_VERSION}-torch{version('torch')}-{processor()}"
    name = (
        f"{teaching.spec.model_dump_json()}{plan.data.fingerprint}{size_px}{plan.threads}{versions}"
    )
    path = cache / f"logits-{hashlib.sha256(name.encode()).hexdigest()[:32]}.npy"
    try:
        cached: np.ndarray[Any, np.dtype[np.float32]] = np.load(path)
        if cached.shape == (len(images), num_classes) and cached.dtype == np.float32:
            return cached
    except (OSError, ValueError, EOFError):
        pass  # absent or damaged: asked again
    from jobs.teacher import teacher_logits  # and torch, where answers are not cached yet

    logits = teacher_logits(teaching, images, num_classes, plan.threads, show)
    with atomic_file(path) as file:
        np.save(file, logits)
    return logits
