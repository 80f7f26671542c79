"""What is known of a teacher's file without opening it: its manifest, and where it lies.

In: the folder of the kept teachers, a cohort's `teacher` section, its data. Out: which network the
students will learn from. Needs no torch, for `gamectl plan`; `teachers` opens the files themselves.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

import orchestrator
from jobs.places import at_home
from jobs.plan import Normalize, TeacherSpec
from orchestrator.admission.cohort import Data, TeacherFile

PRETRAINED = Path(orchestrator.__file__).parent.parent / "Pretrained" / "Pretrained-Resnet18.pt"


class Manifest(BaseModel):
    """What there is to know of a teacher's file; it lies beside it, as .manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    classes: tuple[str, ...]
    image_size_px: int
    normalize: Normalize
    fingerprint: str
    """Of the training images."""
    validation_fraction: float
    split_seed: int
    val_accuracy: float
    sha256: str
    """Of the file with the state dict."""
    plan: dict[str, Any]
    """The TeacherPlan."""


def manifest_path(path: Path) -> Path:
    """Where the manifest of a teacher's file lies."""
    return path.with_suffix(".manifest.json")


def without_manifest(path: Path) -> str:
    """Why a teacher's file has no manifest that tells of it, in words for a list."""
    return "unfit manifest" if manifest_path(path).exists() else "no manifest"


def kept_file(folder: Path, fingerprint: str, validation_fraction: float, split_seed: int) -> Path:
    """Where the teacher for this data and this split is kept."""
    named = [fingerprint, validation_fraction, split_seed]
    return folder / f"{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]}.pt"


@dataclass(frozen=True)
class Expected:
    """The teacher that students will learn from, as far as manifests tell."""

    spec: TeacherSpec
    fits: bool
    """Whether it is there, and may be one for these images and this split."""


def expected_teacher(
    folder: Path,
    own: TeacherFile,
    beside: Path,
    data: Data,
    fingerprint: str,
    pretrained: Path = PRETRAINED,
) -> Expected:
    """What `teachers.find_teacher` would find.

    Without any it is what the cohort says, or the usual one. Whether its file can be used is not
    asked, nor whether a manifest is of it: a submission does that. An empty `fingerprint` is that
    of images which nobody has seen yet: any kept teacher may be theirs.
    """
    if own.file is not None:
        files = [beside / _own_path(own.file)]
    else:
        kept = kept_file(folder, fingerprint, data.validation_fraction, data.split_seed)
        files = [kept if kept.exists() else pretrained]
        if not fingerprint:
            files += folder.glob("*.pt")
    described = _manifest(files[0]) or own
    spec = TeacherSpec(
        sha256="",
        architecture=described.architecture,
        image_size_px=described.image_size_px,
        normalize=described.normalize,
    )
    return Expected(spec, any(_may_be_for(file, data, fingerprint) for file in files))


def _own_path(file: str) -> Path:
    try:
        return at_home(file)
    except OSError:  # of nobody who is known here: there is no such file either
        return Path(file)


def _may_be_for(file: Path, data: Data, fingerprint: str) -> bool:
    manifest = _manifest(file)
    if manifest is None:  # perhaps an organizer's own file
        return file.exists()
    split = manifest.validation_fraction, manifest.split_seed
    same_split = split == (data.validation_fraction, data.split_seed)
    return file.exists() and same_split and fingerprint in ("", manifest.fingerprint)


def _manifest(file: Path) -> Manifest | None:
    """A file's manifest; None where there is none that can be read."""
    try:
        return Manifest.model_validate_json(manifest_path(file).read_bytes())
    except (OSError, ValidationError):
        return None
