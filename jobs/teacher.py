"""A trained teacher for distillation: a torchvision classifier, and what it says about images.

In: a `TeacherSpec` and a state dict. Out: a `Tutor`, which gives the teacher's logits for a batch
of `jobs.train`: looked up where they were computed once for all training images, computed for the
very batch where its images were augmented. `jobs.teacher_training` makes such teachers; which file
is a cohort's teacher is the control plane's question.
"""

import io
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TypeVar, cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.errors import DataError
from jobs.plan import TeacherSpec
from jobs.values import Teaching

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LOGITS_BATCH, LOGITS_SIDE_PX = 32, 224
"""So many images are asked about at once, up to this size; of larger ones no more pixels."""
KEYS_SHOWN = 3
# What networks are kept in; others are complex, quantized, or of no use here.
DTYPES = {
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
}  # fmt: skip

Net = TypeVar("Net", bound=nn.Module)


class TeacherNet(nn.Module):
    """A torchvision classifier behind the resizing and normalizing that it was trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: TeacherSpec, num_classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.network = build_classifier(spec.architecture, num_classes)
        # They move with the network: a GPU that was sent them with every batch would be waited for.
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            of_channels = torch.tensor(values, device="cpu")[:, None, None]
            self.register_buffer(name, of_channels, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, S, S) in [0, 1] of any side to logits (B, C)."""
        side_px = self.spec.image_size_px
        if images.shape[-1] != side_px:
            images = functional.interpolate(
                images, (side_px, side_px), mode="bilinear", align_corners=False, antialias=True
            )
        if self.spec.normalize == "imagenet":
            images = (images - self.mean) / self.std
        return cast(Tensor, self.network(images))


class Tutor:
    """A teacher that answers for the batches of one student."""

    def __init__(self, teaching: Teaching, num_classes: int, device: str = "cpu") -> None:
        self._known = self._net = None
        if teaching.logits is not None:
            self._known = torch.from_numpy(teaching.logits.copy()).to(device)
        else:
            self._net = load_teacher(teaching, num_classes, device)

    def logits(self, images: Tensor, indices: np.ndarray | Tensor) -> Tensor:
        """Return the teacher's logits (B, C) float32, without gradient.

        Args:
            images: (B, 3, S, S) in [0, 1], as the student sees them: augmented and mixed.
            indices: (B,) int64, their rows in the training part, for logits that are known already;
                on a GPU a tensor of its own.
        """
        if self._known is not None:
            return self._known.index_select(0, torch.as_tensor(indices))
        assert self._net is not None
        with torch.no_grad():
            return cast(Tensor, self._net(images.float()))


def load_teacher(teaching: Teaching, num_classes: int, device: str = "cpu") -> TeacherNet:
    """Build the teacher with its weights, in evaluation mode.

    Raises:
        DataError: the weights are not of this architecture and number of classes.
    """
    net = blank(partial(TeacherNet, teaching.spec, num_classes))
    fit_state(net.network, safetensors.torch.load(teaching.weights))
    return net.to(device).eval()


def teacher_logits(
    teaching: Teaching,
    images: np.ndarray,
    num_classes: int,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return the logits (N, C) float32 for images (N, 3, S, S) uint8, as they are.

    The number of threads shows in the last bits; batches have a size of the network's own
    for the same reason. `progress` is called with (images done, images to do).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        net = load_teacher(teaching, num_classes)
        batch_size = _batch_size(teaching.spec.image_size_px)
        batches = []
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                batch = images[start : start + batch_size] / np.float32(255)
                batches.append(net(torch.from_numpy(batch)).numpy())
                if progress is not None:
                    progress(start + len(batch), len(images))
        return np.concatenate(batches)
    finally:
        torch.set_num_threads(before)


def _batch_size(side_px: int) -> int:
    """Of 1024 px, 32 images would want 4 GiB for what one layer says."""
    return max(1, min(LOGITS_BATCH, LOGITS_BATCH * LOGITS_SIDE_PX**2 // side_px**2))


@cache
def architectures() -> tuple[str, ...]:
    """Name torchvision's image classifiers."""
    from torchvision import models  # imported late: a second that only distillation should pay

    return tuple(models.list_models(module=models))


def check_architecture(architecture: str) -> None:
    """Raise DataError where torchvision has no classifier of that name."""
    if architecture not in architectures():
        raise DataError(
            f"torchvision has no classifier {architecture!r}; some that it has: resnet18, "
            "resnet50, mobilenet_v2, efficientnet_b0, convnext_tiny, vit_b_16"
        )


def build_classifier(architecture: str, num_classes: int) -> nn.Module:
    """Build a torchvision classifier with weights drawn from torch's global random state.

    Raises:
        DataError: torchvision has no classifier of that name.
    """
    check_architecture(architecture)
    from torchvision import models

    # These two would return an auxiliary classifier's logits as well while they train.
    auxiliary = {"aux_logits": False, "init_weights": True}
    extra = auxiliary if architecture in ("googlenet", "inception_v3") else {}
    network: nn.Module = models.get_model(
        architecture, weights=None, num_classes=num_classes, **extra
    )
    return network


def blank(build: Callable[[], Net]) -> Net:
    """Build a network whose weights do not count, on the meta device where it can be built there.

    Nothing is drawn from torch's global random state.
    """
    try:
        with torch.device("meta"):
            return build()
    except NotImplementedError:  # RegNets compute their widths with tensors
        with torch.random.fork_rng(devices=[]):
            return build()


def read_state(content: bytes, name: str) -> dict[str, Tensor]:
    """Read a plain state dict, as `torch.save(model.state_dict())` writes it; float32 comes out.

    Nothing in the file is executed (`weights_only=True`).

    Raises:
        DataError: the file holds something else, or is damaged.
    """
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can make the reader raise anything
        # torch's own words advise to load such a file without the protection.
        raise DataError(
            f"{name} is no plain state dict, or is damaged; write it with "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    if not _is_state(state):
        raise DataError(
            f"{name} holds a {type(state).__name__}, not a plain state dict of tensors by name; "
            "write the file with torch.save(model.state_dict(), FILE)"
        )
    tensors = cast(Mapping[str, Tensor], state)
    # Own memory for each: views of one storage would be written wrongly, or not at all.
    return {
        key: (value.float() if value.is_floating_point() else value).clone().contiguous()
        for key, value in tensors.items()
    }


def fit_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a whole state dict into a network; it may have been built on the meta device.

    Raises:
        DataError: parameters are missing, unknown, of another shape or type, or not finite; says
            which.
    """
    wanted = network.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in state]
    problems += [f"{key} is unknown" for key in state if key not in wanted]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if problems:
        rest = f", and {len(problems) - KEYS_SHOWN} more" if len(problems) > KEYS_SHOWN else ""
        raise DataError(
            f"the weights do not fit the network: {'; '.join(problems[:KEYS_SHOWN])}{rest}"
        )
    wrong = [
        f"{key} is of another type, {state[key].dtype}"
        for key, value in wanted.items()
        if state[key].is_floating_point() != value.is_floating_point()
    ]
    wrong += [f"{key} is not finite" for key in wanted if not state[key].isfinite().all()]
    if wrong:
        raise DataError(f"the weights cannot be those of a trained network: {wrong[0]}")
    network.load_state_dict(dict(state), assign=True)


def check_takes(spec: TeacherSpec, num_classes: int) -> None:
    """Raise DataError where the network cannot take images of its size; nothing is computed."""
    try:
        net = blank(partial(TeacherNet, spec, num_classes)).to("meta").eval()
        with torch.device("meta"):
            net(torch.zeros(1, 3, spec.image_size_px, spec.image_size_px))
    except DataError:
        raise
    except Exception as error:  # every architecture has a way of its own to say so
        raise DataError(
            f"{spec.architecture} cannot take images of {spec.image_size_px} px; try 224, or "
            "another architecture"
        ) from error


def check_reproducible(architecture: str, num_classes: int) -> None:
    """Raise DataError where a network's gradients on a GPU are not the same every time.

    torch has no deterministic ones for adaptive pooling, but where it is a mean over the image.
    """
    network = blank(partial(build_classifier, architecture, num_classes))
    for layer in network.modules():
        if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size not in (1, (1, 1)):
            raise DataError(
                f"{architecture} cannot be trained reproducibly on a GPU: torch has no "
                f"deterministic gradient for its {layer}; train it without --gpu, or choose "
                "another architecture, such as resnet18"
            )


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    )


def _is_plain(value: object) -> bool:
    """Whether it is a dense tensor of its own size: a small file can hold a view of a huge one."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"  # not "meta": a shape without values
        and value.dtype in DTYPES  # nor complex, nor quantized
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )
