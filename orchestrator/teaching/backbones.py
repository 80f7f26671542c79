"""What a teacher's training starts from: ImageNet's weights, those in a file, or nothing.

In: an architecture and `imagenet`, `none` or a path. Out: a state dict in torchvision's keys. Next
on the path: `teacher_trainer`.
"""

import hashlib
from dataclasses import dataclass
from functools import partial

import safetensors.torch
from torch import Tensor

from jobs.errors import DataError
from jobs.places import at_home
from jobs.plan import TeacherSpec
from jobs.teacher import (
    blank,
    build_classifier,
    check_architecture,
    check_reproducible,
    check_takes,
    read_state,
)
from jobs.teacher_training import fitting_weights
from orchestrator.errors import Refused

ANY_CLASSES = 2
"""The last layer may be of another shape, and takes what it is given."""


@dataclass(frozen=True)
class InitialState:
    """Weights to start from, and the SHA-256 that names them."""

    state: dict[str, Tensor]
    sha256: str


def check_trains(architecture: str, image_size_px: int, gpu: bool) -> None:
    """Raises `DataError` where no teacher of this kind can be trained, whatever its data."""
    spec = TeacherSpec(sha256="", architecture=architecture, image_size_px=image_size_px)
    check_takes(spec, ANY_CLASSES)
    if gpu:
        check_reproducible(architecture, ANY_CLASSES)


def initial_state(architecture: str, weights: str) -> InitialState | None:
    """What a teacher starts from: `imagenet`, `none`, or the path of a plain state dict.

    Raises `Refused` where the weights cannot be had, and `DataError` where torchvision has no such
    network, or where they are not finite or another network's.
    """
    check_architecture(architecture)
    if weights == "none":
        return None
    if weights == "imagenet":
        state = _imagenet(architecture)
    else:
        state = read_state(_content(weights), weights)
    try:  # now, and not when its images are decoded and a slot is there
        fitting_weights(blank(partial(build_classifier, architecture, ANY_CLASSES)), state)
    except DataError as error:
        raise DataError(f"cannot start from the weights {weights}: {error}") from error
    return InitialState(state, hashlib.sha256(safetensors.torch.save(state)).hexdigest())


def _content(weights: str) -> bytes:
    try:
        return at_home(weights).read_bytes()
    except OSError as error:
        why = f"{weights}: {error.strerror}" if error.filename else error.strerror
        raise Refused(
            f"cannot read the weights {why}; --weights is imagenet, none or the path of a plain "
            "state dict"
        ) from error


def _imagenet(architecture: str) -> dict[str, Tensor]:
    from torchvision import models

    try:
        # The whole network, as some files are in keys of an older kind that it knows to translate.
        state = models.get_model(architecture, weights="DEFAULT").state_dict()
    except (OSError, RuntimeError) as error:
        raise Refused(
            f"the ImageNet weights of {architecture} cannot be downloaded: {error}; download them "
            "elsewhere and name the file with --weights FILE, or start from --weights none"
        ) from error
    return {name: value.contiguous() for name, value in state.items()}
