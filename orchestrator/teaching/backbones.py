"""What a teacher's training starts from: ImageNet's weights, those in a file, or nothing.

In: an architecture and `imagenet`, `none` or a path. Out: a state dict in torchvision's keys. Next
on the path: `teacher_trainer`.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from torch import Tensor

from jobs.teacher import check_architecture, read_state
from orchestrator.errors import Refused


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
        # The whole network, as some files are in keys of an older kind that it knows to translate.
        state = models.get_model(architecture, weights="DEFAULT").state_dict()
    except (OSError, RuntimeError) as error:
        raise Refused(
            f"the ImageNet weights of {architecture} cannot be downloaded: {error}; download them "
            "elsewhere and name the file with --weights FILE, or start from --weights none"
        ) from error
    return {name: value.contiguous() for name, value in state.items()}
