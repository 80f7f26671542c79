"""Teachers as files: which one a cohort's students learn from, and the ones that were trained here.

In: settings, a cohort and its data. Out: a `Teacher` (a `TeacherSpec` for the plans, the weights),
or an error that says what to do, before anything trains. A cohort's own file comes first, then the
teacher that `gamectl teacher train` kept for this data and this split, then the one in
`Pretrained/`. Next on the path: `submission` puts the spec into the plans, `teachings` the weights
into the slots.

    HOME/teachers/KEY.pt               a plain state dict, float16; KEY is of data and split
    HOME/teachers/KEY.manifest.json    its manifest
    HOME/teachers/.KEY.pt.lock         held by whoever replaces the two
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from jobs.atomic import alone, atomic_file
from jobs.errors import DataError
from jobs.images import LabelledImages
from jobs.metrics import accuracy
from jobs.places import at_home
from jobs.plan import DataPlan, TeacherPlan, TeacherSpec
from jobs.split import split_images
from jobs.teacher import (
    blank,
    build_classifier,
    check_takes,
    fit_state,
    read_state,
    teacher_logits,
)
from jobs.values import MemberResult, Teaching
from orchestrator.admission.cohort import TeacherFile
from orchestrator.errors import Damaged, NoTeacher, Refused
from orchestrator.teaching.teacher_manifest import (
    PRETRAINED,
    Manifest,
    kept_file,
    manifest_path,
)

HOW = "`gamectl teacher train` makes one for a cohort's data"


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
    that its path is relative to. Raises `NoTeacher` where the file is missing, is no plain state
    dict, is not the one that its manifest is of, or was made for other classes, other images or
    another split.
    """
    if own is not None and own.file is not None:
        try:
            path = at_home(own.file)
        except OSError as error:
            raise NoTeacher(f"cannot read the teacher {error.strerror}; {HOW}") from error
        return _open(beside / path, own, data)
    kept = kept_path(folder, data)
    if kept.exists():
        return _open(kept, own, data, kept=True)
    if pretrained.exists():
        return _open(pretrained, own, data)
    raise NoTeacher(
        f"wisdom-extractor needs a teacher, and there is none for this data: no {kept} and no "
        f"{pretrained}; {HOW}"
    )


def check_target(target: Path) -> None:
    """Raises `Refused` where a folder is in the way of a teacher, or of its manifest."""
    for path in (target, manifest_path(target)):
        if path.is_dir():
            raise Refused(f"no teacher can be kept in {target}: {path} is a folder; remove it")


def keep_teacher(
    target: Path, plan: TeacherPlan, result: MemberResult, images: LabelledImages
) -> Manifest:
    """Writes a trained teacher as a plain float16 state dict, and its manifest beside it.

    One that was there before stays until both are on the disk. The manifest goes first: a file
    without the manifest that belongs to it is never taken for a kept teacher. Its accuracy is that
    of the rounded weights.
    """
    state = safetensors.torch.load(result.weights)
    num_classes = len(plan.data.classes)
    kept = {k: _halved(state[k]) for k in _blank(plan.architecture, num_classes).state_dict()}
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    content = buffer.getvalue()
    spec = spec_of(plan, hashlib.sha256(content).hexdigest())
    split = split_images(images.labels, images.groups, plan.data)
    rounded = safetensors.torch.save(read_state(content, str(target)))
    logits = teacher_logits(
        Teaching(spec, rounded), images.images[split.validation], num_classes, plan.threads
    )
    manifest = Manifest(
        architecture=plan.architecture,
        classes=plan.data.classes,
        image_size_px=plan.data.image_size_px,
        normalize=plan.normalize,
        fingerprint=plan.data.fingerprint,
        validation_fraction=plan.data.validation_fraction,
        split_seed=plan.data.split_seed,
        val_accuracy=accuracy(images.labels[split.validation], logits.argmax(axis=1)),
        sha256=spec.sha256,
        plan=plan.model_dump(mode="json"),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        alone(target.parent / f".{target.name}.lock"),
        atomic_file(target) as weights,
        atomic_file(manifest_path(target)) as described,
    ):
        weights.write(content)
        described.write(manifest.model_dump_json(indent=1).encode() + b"\n")
        for file in (weights, described):
            file.flush()
            os.fsync(file.fileno())  # a full disk is known before the first takes its place
            os.fchmod(file.fileno(), 0o644)  # no secret, and in `Pretrained/` it is everybody's
    return manifest


def _halved(value: Tensor) -> Tensor:
    """In float16, where its range holds the values; numbers that are no weights as they are."""
    halved = value.half() if value.is_floating_point() else value
    return halved if halved.isfinite().all() else value


def spec_of(plan: TeacherPlan, sha256: str) -> TeacherSpec:
    """What students need to know of a teacher that this plan made."""
    return TeacherSpec(
        sha256=sha256,
        architecture=plan.architecture,
        image_size_px=plan.data.image_size_px,
        normalize=plan.normalize,
    )


def kept_path(folder: Path, data: DataPlan) -> Path:
    """Where the teacher for this data and this split is kept."""
    return kept_file(folder, data.fingerprint, data.validation_fraction, data.split_seed)


def kept_teachers(
    folder: Path, pretrained: Path = PRETRAINED
) -> list[tuple[Path, Manifest | None]]:
    """All teachers, the one in `Pretrained/` first; None for a file without its manifest.

    One that cannot be read is as good as none.
    """
    found: list[tuple[Path, Manifest | None]] = []
    for path in (pretrained, *sorted(folder.glob("*.pt"))):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            try:
                found.append((path, _read(path)[1]))
            except (Damaged, NoTeacher):
                found.append((path, None))
    return found


def _open(path: Path, own: TeacherFile | None, data: DataPlan, kept: bool = False) -> Teacher:
    """Reads a teacher's file; raises `NoTeacher` where it is none for this data."""
    try:
        content, manifest = _read(path, kept)
    except OSError as error:
        raise NoTeacher(f"cannot read the teacher {path}: {error.strerror}; {HOW}") from error
    if manifest is not None:
        _check_made_for(path, manifest, data)
        described = manifest.architecture, manifest.image_size_px, manifest.normalize
    elif kept:
        raise NoTeacher(
            f"{path} and its manifest do not belong together, perhaps because its training was cut "
            f"short; {HOW}"
        )
    else:  # an organizer's own file: nobody else can tell what it is
        own = own or TeacherFile()
        described = own.architecture, own.image_size_px, own.normalize
    architecture, image_size_px, normalize = described
    spec = TeacherSpec(
        sha256=hashlib.sha256(content).hexdigest(),
        architecture=architecture,
        image_size_px=image_size_px,
        normalize=normalize,
    )
    try:
        state = read_state(content, str(path))
        network = _blank(spec.architecture, len(data.classes))
        _check_classes(state, network, len(data.classes))
        fit_state(network, state)
        check_takes(spec, len(data.classes))
    except DataError as error:
        raise NoTeacher(f"the teacher {path} cannot be used: {error}") from error
    return Teacher(path, spec, safetensors.torch.save(state))


def _check_made_for(path: Path, manifest: Manifest, data: DataPlan) -> None:
    if manifest.classes != data.classes:
        raise NoTeacher(
            f"wisdom-extractor needs a teacher for this data: {path} knows the classes "
            f"{', '.join(manifest.classes)}; the data has {', '.join(data.classes)}; {HOW}"
        )
    made_for = (manifest.fingerprint, manifest.validation_fraction, manifest.split_seed)
    if made_for != (data.fingerprint, data.validation_fraction, data.split_seed):
        what = "other images" if made_for[0] != data.fingerprint else "another validation split"
        raise NoTeacher(
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
    return blank(partial(build_classifier, architecture, num_classes))


def _read(path: Path, kept: bool = False) -> tuple[bytes, Manifest | None]:
    """A teacher's file, and the manifest beside it, where there is one.

    Raises `NoTeacher` where the manifest is of another file, `Damaged` where it cannot be read, and
    `OSError` where the file cannot be.
    """
    beside = manifest_path(path)
    for _ in range(2):  # a training may have replaced both in between
        content = path.read_bytes()
        try:
            manifest = Manifest.model_validate_json(beside.read_bytes())
        except FileNotFoundError:
            return content, None
        except (OSError, ValidationError) as error:
            raise Damaged(
                f"cannot read {beside}: it is no teacher's manifest; delete it"
            ) from error
        if manifest.sha256 == hashlib.sha256(content).hexdigest():
            return content, manifest
    otherwise = HOW if kept else f"or delete {beside}, and the cohort's `teacher` says what it is"
    raise NoTeacher(f"{path} and its manifest do not belong together: copy both again; {otherwise}")
