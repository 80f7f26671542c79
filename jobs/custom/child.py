"""Inside a sandbox: what trains with a team's code, or predicts with a network that it trained.

In: limits as JSON in `argv[1]`, the device in `argv[2]`, and one order over the channel, `train` or
`predict`. Out: frames, of which the other side, `jobs.custom.parent`, believes none: `ready` before
any team code is imported, then `say` and `epoch` (each answered by `judged`), and at last `done` or
`failed`. Next on the path: `jobs.custom.team_code` imports the team's file.

Validation labels are not here, nor anything that was computed with them but how often a plateau
has lowered the learning rate (`drops`).
"""

import faulthandler
import json
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from jobs.checkpoint import pack, unpack
from jobs.custom.frames import CHANNEL_FD, Channel, Frame, open_shared
from jobs.custom.team_code import TeamFailure, blamed, load
from jobs.custom.usage import MIB
from jobs.custom.watch import set_limits
from jobs.errors import Diverged
from jobs.evaluation import predict
from jobs.fused import fuse
from jobs.gpu import try_gpu
from jobs.memory import keep_freed_memory
from jobs.monkeynet import build_model
from jobs.plan import CustomPlan, MemberPlan, TeacherSpec
from jobs.rates import Plateau
from jobs.reproducible import reproducible, seeds
from jobs.train import train_on
from jobs.training_io import EpochTrained, Techniques, TrainingData
from jobs.training_state import TrainingState
from jobs.values import Teaching

# Of what comes in, from the side that is trusted: a teacher, or weights of the team's own.
LARGEST_BLOB_BYTES = 4 << 30
MAX_NAME_CHARS = 200  # of an error's class


class ChildDiary:
    """The recorder of a training whose labels and checkpoints are on the other side of the wall."""

    def __init__(
        self, plan: MemberPlan, custom: CustomPlan, channel: Channel, order: Frame
    ) -> None:
        self._plan, self._custom, self._channel = plan, custom, channel
        self._checkpoint = order.blobs[0] if order.blobs else b""
        self._num_epochs = int(order.fields.get("epochs", 0))
        self._drops = int(order.fields.get("drops", 0))
        self._largest_bytes = int(order.fields.get("largest_bytes", LARGEST_BLOB_BYTES))

    def open(self, state: TrainingState) -> None:
        """Resume from the checkpoint that came with the order, if one did.

        Raises:
            TeamFailure: it does not fit the network, as the team's function built another one; or
                the network is larger than what may be sent after an epoch.
        """
        with blamed(self._custom, "build_model"):
            _check_size(state, self._plan, self._largest_bytes)
        if not self._checkpoint:
            return
        num_epochs = self._num_epochs
        try:
            unpack(self._checkpoint, state)
        except ValueError as error:
            raise TeamFailure(
                "ValueError",
                f"after epoch {num_epochs} the training began anew, and this time build_model "
                f"built another network ({error}); build the same one whenever it is called",
                self._custom.file,
                None,
                "build_model",
            ) from error
        state.plateau = Plateau(num_drops=self._drops)
        seed_others(self._plan.seed, num_epochs)
        self._channel.send("say", {"line": f"resumed after epoch {num_epochs} from the checkpoint"})

    def close_epoch(
        self, state: TrainingState, trained: EpochTrained, num_steps: int, val_logits: Tensor
    ) -> None:
        """Send the epoch, its probabilities and the state; wait for the judgement."""
        if not val_logits.isfinite().all():
            raise Diverged(trained.epoch, num_steps, self._plan.optimizer.learning_rate)
        probs = functional.softmax(val_logits, dim=1).numpy()
        self._channel.send("epoch", asdict(trained), [probs.tobytes(), pack(state)])
        judged = self._channel.receive()
        state.plateau = Plateau(num_drops=int(judged.fields["drops"]))
        seed_others(self._plan.seed, trained.epoch)


def _check_size(state: TrainingState, plan: MemberPlan, largest_bytes: int) -> None:
    """Raise for a network whose weights and momentum cannot be sent, before it is trained."""
    tensors = [*state.model.state_dict().values()]
    if plan.optimizer.momentum > 0:
        tensors += [each for each in state.model.parameters() if each.requires_grad]
    needed = sum(each.numel() * each.element_size() for each in tensors)
    if needed > largest_bytes:
        raise MemoryError(
            f"the network's weights and momentum are {needed / MIB:.1f} MiB; "
            f"{largest_bytes / MIB:g} MiB are allowed, a quarter of customLimits.memoryMib and at "
            "most 256: build a smaller one"
        )


def seed_others(seed: int, num_epochs: int) -> None:
    """Fix Python's and numpy's global random states, which only team code uses, for an epoch.

    They are in no checkpoint: seeded anew before every epoch, they are the same in a resumed one.
    """
    fixed = np.random.SeedSequence([seed, num_epochs]).generate_state(2)
    random.seed(int(fixed[0]))
    np.random.seed(int(fixed[1]))


def train(channel: Channel, plan: MemberPlan, custom: CustomPlan, order: Frame) -> list[bytes]:
    """Train as the order says; return the weights, safetensors, and the last probabilities.

    Those are of a network that is built anew, as it will be scored: a network may hold what no
    weights have, and loses it.
    """
    arrays = _arrays(order.fields["arrays"])
    labels = arrays["labels"]
    training_data = TrainingData(
        arrays["images"], labels, np.arange(len(labels)), arrays["val_images"]
    )
    teaching = None
    if order.fields.get("teacher") is not None:
        spec = TeacherSpec.model_validate(order.fields["teacher"])
        weights = order.blobs[1] if len(order.blobs) > 1 else b""
        teaching = Teaching(spec, weights, arrays.get("teacher_logits"))
    seed_others(plan.seed, 0)
    techniques = load(custom, plan.device)
    recorder = ChildDiary(plan, custom, channel, order)
    result = train_on(plan, training_data, techniques, recorder, teaching=teaching)
    probs = result.val_probs
    if techniques.build_model is not None:  # what nobody can use is not to come out as trained
        probs = _answers(plan, custom, techniques, result.weights, arrays["val_images"])
    return [result.weights, probs.astype("<f4").tobytes()]


def predict_probs(plan: MemberPlan, custom: CustomPlan, order: Frame) -> list[bytes]:
    """Return the probabilities (N, C) float32 that the team's network gives for the images."""
    images = _arrays(order.fields["arrays"])["images"]
    seed_others(plan.seed, 0)
    techniques = load(custom, plan.device)
    probs = _answers(plan, custom, techniques, order.blobs[0], images)
    return [probs.astype("<f4").tobytes()]


def _answers(
    plan: MemberPlan,
    custom: CustomPlan,
    techniques: Techniques,
    weights: bytes,
    images: np.ndarray,
) -> np.ndarray:
    """Return the probabilities (N, C) that a network built anew gives, once it has its weights."""
    with reproducible(plan.threads, plan.device, seeds(plan.seed)[0]):
        network = _trained_network(plan, custom, techniques, weights)
        fuse(network, plan.device)  # as in training, to the last bit
        logits = torch.from_numpy(predict(network, images, plan.device))
    probs: np.ndarray = functional.softmax(logits, dim=1).numpy()
    return probs


def _trained_network(
    plan: MemberPlan, custom: CustomPlan, techniques: Techniques, weights: bytes
) -> nn.Module:
    """Build the network anew and give it its weights, all of them and no others.

    Raises:
        TeamFailure: they do not fit what build_model built.
    """
    size_px, num_classes = plan.data.image_size_px, len(plan.data.classes)
    if techniques.build_model is not None:
        network = techniques.build_model(num_classes, size_px)
    else:
        network = build_model(plan.model, num_classes, size_px).to(plan.device)
    try:
        network.load_state_dict(safetensors.torch.load(weights))
    except (RuntimeError, ValueError, SafetensorError) as error:
        message = f"the network does not take the weights that it was trained to: {error}"
        raise TeamFailure(
            type(error).__name__, message, custom.file, None, "build_model"
        ) from error
    return network


def _arrays(described: dict[str, Any]) -> dict[str, np.ndarray]:
    """Map the arrays of an order; their descriptors are not needed any more."""
    arrays = {}
    for name, (fd, dtype, shape) in described.items():
        arrays[name] = open_shared(fd, dtype, shape)
        os.close(fd)
    return arrays


def failed(error: TeamFailure | Diverged, custom: CustomPlan) -> dict[str, Any]:
    """Return a `failed` frame's fields: what is to be known of a failure."""
    fields: dict[str, Any] = {"file": custom.file, "line": None, "diverged": None}
    if isinstance(error, Diverged):
        at = {"epoch": error.epoch, "step": error.step, "learning_rate": error.learning_rate}
        about = {"error": "Diverged", "message": str(error), "in": "training", "diverged": at}
        return fields | about | {"out_of_memory": False}
    return fields | {
        "error": error.error[:MAX_NAME_CHARS],
        "message": error.message,
        "line": error.line,
        "in": error.where,
        "out_of_memory": error.out_of_memory,
    }


def serve(channel: Channel) -> None:
    """Say that this side is ready, take one order, and answer it with `done` or `failed`."""
    channel.send("ready")
    order = channel.receive()
    plan = MemberPlan.model_validate(order.fields["plan"])
    custom = plan.custom
    assert custom is not None
    try:
        with blamed(custom, "training"):
            if order.kind == "predict":
                blobs = predict_probs(plan, custom, order)
            else:
                blobs = train(channel, plan, custom, order)
        channel.send("done", blobs=blobs)
    except (TeamFailure, Diverged) as error:
        with suppress(Exception):  # a team's exception may fail to print itself
            traceback.print_exception(error.__cause__ or error)
        channel.send("failed", failed(error, custom))


def main(arguments: Sequence[str] | None = None) -> None:
    """Limit this process, then serve one order over the inherited channel."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)  # asked where it hangs, it says so in its output
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments:
        set_limits(json.loads(arguments[0]))
    if arguments[1:] == ["cuda"]:  # what fails before `ready` is not the team's fault
        try:
            try_gpu()
        except Exception as error:  # the last line is what is shown, and torch's is its advice
            first, *_ = str(error).splitlines() or [type(error).__name__]
            raise SystemExit(f"the GPU does not work: {first}") from error
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)  # what was printed before a crash is not lost
    # What team code starts must not hold the channel open after this process has ended.
    os.set_inheritable(CHANNEL_FD, False)
    channel = Channel(socket.socket(fileno=CHANNEL_FD), LARGEST_BLOB_BYTES)
    with suppress(BrokenPipeError, ConnectionResetError, EOFError):
        serve(channel)
