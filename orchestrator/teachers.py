"""Teachers as files: which one a cohort's students learn from, and the ones that were trained here.

In: settings, a cohort and its data. Out: a `Teacher` (a `TeacherSpec` for the plans, the weights),
or an error that says what to do, before anything trains. A cohort's own file comes first, then the
teacher that `gamectl teacher train` kept for this data and this split, then the one in
`Pretrained/`. Next on the path: `submission` puts the spec into the plans, `teachings` the weights
into the slots.

    HOME/teachers/KEY.pt      a plain state dict, float16; KEY is of the data and the split
    HOME/teachers/KEY.json    its manifest
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

import orchestrator
from jobs.atomic import atomic_file
from jobs.errors import DataError
from jobs.images import LabelledImages
from jobs.metrics import accuracy
from jobs.plan import DataPlan, Normalize, TeacherPlan, TeacherSpec
from jobs.split import split_images
from jobs.teacher import build_classifier, check_architecture, fit_state, read_state
from jobs.train import MemberResult
from orchestrator.cohort import TeacherFile
from orchestrator.errors import Damaged, Refused

PRETRAINED = Path(orchestrator.__file__).parent.parent / "Pretrained" / "Pretrained-Resnet18.pt"
HOW = "`gamectl teacher train` makes one for a cohort's data"


class Manifest(BaseModel):
    """What there is to know of a teacher's file; it lies beside it, with the ending .json."""

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


@dataclass(frozen=True)
class Teacher:
    """A teacher that fits a cohort's data."""

    path: Path
    spec: TeacherSpec
    weights: bytes  # float32, safetensors


def find_teacher(
    folder: Path,
    own: TeacherFile | None,
    beside: Path,
    data: DataPlan,
    pretrained: Path = PRETRAINED,
) -> Teacher:
    """The teacher for this data.

    `folder` holds the kept teachers, `own` is the cohort's `teacher` section, `beside` the folder
    that its path is relative to. Raises `Refused` where the file is missing, is no plain state
    dict, or was made for other classes, other images or another split.
    """
    if own is not None and own.file is not None:
        return _open(beside / Path(own.file).expanduser(), own, data)
    kept = folder / f"{_key(data)}.pt"
    if kept.exists():
        return _open(kept, own, data)
    if pretrained.exists():
        return _open(pretrained, own, data)
    raise Refused(
        f"wisdom-extractor needs a teacher, and there is none for this data: no {kept} and no "
        f"{pretrained}; {HOW}"
    )


@dataclass(frozen=True)
class InitialState:
    """Weights to start from, and the SHA-256 that names them."""

    state: dict[str, Tensor]
    sha256: str


def initial_state(architecture: str, weights: str) -> InitialState | None:
    """What a teacher starts from: `imagenet`, `none`, or the path of a plain state dict.

    Raises `Refused` where the weights cannot be had, and `DataError` where torchvision has no such
    network.
    """
    check_architecture(architecture)
    if weights == "none":
        return None
    if weights == "imagenet":
        state = _imagenet(architecture)
    else:
        try:
            content = Path(weights).expanduser().read_bytes()
        except OSError as error:
            raise Refused(
                f"cannot read the weights {weights}: {error.strerror}; --weights is imagenet, none "
                "or the path of a plain state dict"
            ) from error
        state = read_state(content, weights)
    return InitialState(state, hashlib.sha256(safetensors.torch.save(state)).hexdigest())


def _imagenet(architecture: str) -> dict[str, Tensor]:
    from torchvision import models

    try:
        weights = models.get_model_weights(architecture).DEFAULT
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise Refused(
            f"the ImageNet weights of {architecture} cannot be downloaded: {error}; download them "
            "elsewhere and name the file with --weights FILE, or start from --weights none"
        ) from error
    return {name: value.contiguous() for name, value in state.items()}


def keep_teacher(
    target: Path, plan: TeacherPlan, result: MemberResult, images: LabelledImages
) -> Manifest:
    """Writes a trained teacher as a plain float16 state dict, and its manifest beside it."""
    state = safetensors.torch.load(result.weights)
    labels = images.labels[split_images(images.labels, images.groups, plan.data).validation]
    order = _blank(plan.architecture, len(plan.data.classes)).state_dict()
    halves = {k: state[k].half() if state[k].is_floating_point() else state[k] for k in order}
    buffer = io.BytesIO()
    torch.save(halves, buffer)
    content = buffer.getvalue()
    manifest = Manifest(
        architecture=plan.architecture,
        classes=plan.data.classes,
        image_size_px=plan.data.image_size_px,
        normalize=plan.normalize,
        fingerprint=plan.data.fingerprint,
        validation_fraction=plan.data.validation_fraction,
        split_seed=plan.data.split_seed,
        val_accuracy=accuracy(labels, result.val_probs.argmax(axis=1)),
        sha256=hashlib.sha256(content).hexdigest(),
        plan=plan.model_dump(mode="json"),
    )
    with atomic_file(target) as file:
        file.write(content)
    with atomic_file(_manifest_path(target)) as file:
        file.write(manifest.model_dump_json(indent=1).encode() + b"\n")
    return manifest


def kept_path(folder: Path, data: DataPlan) -> Path:
    """Where the teacher for this data and this split is kept."""
    return folder / f"{_key(data)}.pt"


def kept_teachers(folder: Path, pretrained: Path = PRETRAINED) -> list[tuple[Path, Manifest]]:
    """All teachers with a manifest, the one in `Pretrained/` first."""
    paths = [pretrained, *sorted(folder.glob("*.pt"))]
    return [(path, found) for path in paths if (found := _manifest(path)) is not None]


def _open(path: Path, own: TeacherFile | None, data: DataPlan) -> Teacher:
    """Reads a teacher's file; raises `Refused` where it is none for this data."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read the teacher {path}: {error.strerror}; {HOW}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = _manifest(path)
    if manifest is not None and manifest.sha256 == sha256:
        _check_made_for(path, manifest, data)
        described = manifest.architecture, manifest.image_size_px, manifest.normalize
    else:  # an organizer's own file: nobody else can tell what it is
        own = own or TeacherFile()
        described = own.architecture, own.image_size_px, own.normalize
    architecture, image_size_px, normalize = described
    spec = TeacherSpec(
        sha256=sha256, architecture=architecture, image_size_px=image_size_px, normalize=normalize
    )
    try:
        state = read_state(content, str(path))
        network = _blank(spec.architecture, len(data.classes))
        _check_classes(state, network, len(data.classes))
        fit_state(network, state)
    except DataError as error:
        raise Refused(f"the teacher {path} cannot be used: {error}") from error
    return Teacher(path, spec, safetensors.torch.save(state))


def _check_made_for(path: Path, manifest: Manifest, data: DataPlan) -> None:
    if manifest.classes != data.classes:
        raise Refused(
            f"wisdom-extractor needs a teacher for this data: {path} knows the classes "
            f"{', '.join(manifest.classes)}; the data has {', '.join(data.classes)}; {HOW}"
        )
    made_for = (manifest.fingerprint, manifest.validation_fraction, manifest.split_seed)
    if made_for != (data.fingerprint, data.validation_fraction, data.split_seed):
        what = "other images" if made_for[0] != data.fingerprint else "another validation split"
        raise Refused(
            f"wisdom-extractor needs a teacher for this data: {path} was trained on {what} than "
            f"this cohort's, so it may have seen images that it must not know; {HOW}"
        )


def _check_classes(state: Mapping[str, Tensor], network: nn.Module, num_classes: int) -> None:
    """Hold the last layer's bias, the last of the network's tensors, against the data."""
    last = list(network.state_dict())[-1]
    if last in state and state[last].ndim == 1 and len(state[last]) != num_classes:
        raise DataError(f"it tells {len(state[last])} classes apart; the data has {num_classes}")


def _blank(architecture: str, num_classes: int) -> nn.Module:
    """The network without weights, for the names and shapes of its tensors."""
    with torch.device("meta"):
        return build_classifier(architecture, num_classes)


def _manifest(path: Path) -> Manifest | None:
    """The manifest beside a teacher's file, or None; raises `Damaged` for one that is none."""
    beside = _manifest_path(path)
    try:
        return Manifest.model_validate_json(beside.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise Damaged(f"cannot read {beside}: it is no teacher's manifest; delete it") from error


def _manifest_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _key(data: DataPlan) -> str:
    named = [data.fingerprint, data.validation_fraction, data.split_seed]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]
