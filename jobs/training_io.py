"""What `jobs.train.train_on` is given besides its plan, and whom it tells of its epochs.

In: images, labels and teacher as a slot or a sandbox holds them. Out: `TrainingData` to train on,
`Techniques` that replace some of ours, and an `EpochRecorder`, which judges an epoch, keeps it and
reports it. There are two recorders: that of `jobs.train.train_member` here, and that of
`jobs.custom.child`, for which validation labels and files are on the other side of a sandbox's
wall.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from jobs.checkpoint import pack, resume, save_checkpoint, unpack
from jobs.errors import DataError, Diverged
from jobs.places import Where
from jobs.plan import EpochReport, LossPlan, MemberPlan
from jobs.rates import Plateau
from jobs.training_state import TrainingState
from jobs.values import Teaching
from jobs.workers import Workers

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, C) float32 and targets, (B,) int64 or soft (B, C), to a scalar."""


@dataclass(frozen=True)
class TrainingData:
    """The images of one training; validation labels are with the recorder, which judges.

    `rows` are the images that are trained on, in the order that the shuffling starts from. A
    teacher's logits, where they are known, belong to `images`, not to `rows`.
    """

    images: np.ndarray  # (N, 3, S, S) uint8, in any memory layout
    labels: np.ndarray  # (N,) int64
    rows: np.ndarray  # (n,) int64, each below N
    val_images: np.ndarray  # (N_val, 3, S, S) uint8


@dataclass(frozen=True)
class Techniques:
    """What takes the place of ours; None: ours stays. Checked already: see `jobs.custom`."""

    build_model: Callable[[int, int], nn.Module] | None = None
    """The number of classes and the side in px to a network (B, 3, S, S) -> (B, C)."""

    build_loss: Callable[[Tensor | None], Loss] | None = None
    """Class weights (C,), or None, to what takes the place of `jobs.losses.hard_loss`."""

    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    """A batch (B, 3, S, S), after the plan's augmentations and before mixup, to one like it."""


@dataclass(frozen=True)
class EpochTrained:
    """An epoch before it is judged: an `EpochReport` without what only validation labels tell."""

    epoch: int
    train_loss: float
    train_accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float

    def judged(self, val_loss: float, val_accuracy: float) -> EpochReport:
        """Return the whole report."""
        return EpochReport(**asdict(self), val_loss=val_loss, val_accuracy=val_accuracy)


class EpochRecorder(Protocol):
    """Whom a training tells of its epochs."""

    def open(self, state: TrainingState) -> None:
        """Bring a state at its start to where an earlier attempt left it, if there was one."""

    def close_epoch(
        self, state: TrainingState, trained: EpochTrained, num_steps: int, val_logits: Tensor
    ) -> None:
        """Judge an epoch, move the state's plateau on, keep the state, and report.

        Args:
            state: after the epoch's last step.
            trained: what is known without the validation labels.
            num_steps: of this epoch.
            val_logits: (N_val, C) float32, on the CPU.

        Raises:
            Diverged: what is judged is not finite.
        """


@dataclass(frozen=True)
class MemberRecorder:
    """The recorder of a training that has labels, files and listeners in its own process."""

    plan: MemberPlan
    val_labels: Tensor  # (N_val,) int64
    report: Callable[[EpochReport], None]
    checkpoint: Where | None
    say: Callable[[str], None] | None

    def open(self, state: TrainingState) -> None:
        """Resume from the checkpoint, and report the epochs that it has behind it."""
        note = None if self.checkpoint is None else resume(self.checkpoint, self.plan, state)
        if note is not None and self.say is not None:
            self.say(note)
        for known in state.history:
            self.report(known)

    def close_epoch(
        self, state: TrainingState, trained: EpochTrained, num_steps: int, val_logits: Tensor
    ) -> None:
        """Judge by the validation labels; keep the epoch, then report it."""
        val_loss = functional.cross_entropy(val_logits, self.val_labels).item()
        if not math.isfinite(val_loss):
            raise Diverged(trained.epoch, num_steps, self.plan.optimizer.learning_rate)
        accuracy = (val_logits.argmax(dim=1) == self.val_labels).float().mean().item()
        done = trained.judged(val_loss, accuracy)
        state.plateau = state.plateau.after(val_loss, self.plan.schedule)
        state.history.append(done)
        if self.checkpoint is not None:
            save_checkpoint(self.checkpoint, self.plan, state)
        self.report(done)


def open_recorder(recorder: EpochRecorder, state: TrainingState, workers: Workers) -> None:
    """Open a recorder; several workers all go on from the state that the first one's brings."""

    def opened() -> bytes:
        recorder.open(state)
        return pack(state)

    if workers.alone:
        recorder.open(state)
    else:
        unpack(workers.by_first(opened), state)


def close_epoch(
    recorder: EpochRecorder,
    state: TrainingState,
    trained: EpochTrained,
    num_steps: int,
    val_logits: Tensor,
    workers: Workers,
) -> None:
    """Close an epoch in the recorder, of several workers in the first one's alone.

    Raises:
        Diverged: what is judged is not finite; all workers raise it.
    """

    def closed() -> Plateau:
        recorder.close_epoch(state, trained, num_steps, val_logits)
        return state.plateau

    state.plateau = workers.by_first(closed)


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the random stream of one step alone: what earlier ones drew does not matter to it."""
    state = np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def class_weights(loss: LossPlan, classes: Sequence[str], device: str) -> Tensor | None:
    """Return how much each class counts (C,), or None where all count the same.

    Raises:
        DataError: the data has no class of the name that the loss is focused on.
    """
    if loss.focus_class is None:
        return None
    if loss.focus_class not in classes:
        raise DataError(
            f"the loss is focused on the class {loss.focus_class!r}, which the data does not have; "
            f"choose one of {', '.join(classes)}"
        )
    weights = [loss.focus_weight if name == loss.focus_class else 1.0 for name in classes]
    return torch.tensor(weights, dtype=torch.float32, device=device)


def check_teaching(plan: MemberPlan, teaching: Teaching | None, num_images: int) -> None:
    """Raise ValueError unless the teacher is the plan's and its logits are those of the batches."""
    if plan.distill is None:
        return
    if teaching is None:
        raise ValueError("the plan distils from a teacher, and none was given")
    if plan.distill.teacher not in (None, teaching.spec):
        raise ValueError(f"the teacher is {teaching.spec}; the plan names {plan.distill.teacher}")
    if teaching.logits is None:
        return
    if plan.augmented:
        raise ValueError("the teacher must see augmented images itself; its logits were given")
    if len(teaching.logits) != num_images:
        raise ValueError(f"{len(teaching.logits)} rows of logits for {num_images} images")
