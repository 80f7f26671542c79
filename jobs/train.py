"""The training function: one member plan and its images in, weights and predictions out.

In: a `MemberPlan` and the training part of the data as `LabelledImages`; `report` is called after
every epoch. Out: a `MemberResult`, whose bits depend on plan and data alone (on one instruction
set), however often the training was killed and resumed from its checkpoint. Next on the path:
`jobs.ensemble` combines the members' weights.

Alone, for profiling: `python -m jobs.train PLAN.json DATA_FOLDER` prints one JSON line an epoch.
"""

import math
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional

from jobs.augment import apply_changes, draw_changes
from jobs.errors import DataError, Diverged, JobsError, Stopped
from jobs.fused import fuse
from jobs.images import LabelledImages, decode
from jobs.lessons import (
    Diary,
    EpochTrained,
    Lessons,
    OwnDiary,
    Techniques,
    check_teaching,
    class_weights,
    step_generator,
)
from jobs.losses import distillation_loss, hard_loss
from jobs.memory import keep_freed_memory
from jobs.mixup import apply_mixes, draw_mixes
from jobs.pixels import Pixels, moved
from jobs.places import Where
from jobs.plan import EpochReport, MemberPlan
from jobs.rates import Rates
from jobs.reproducible import reproducible, seeds
from jobs.split import split_images
from jobs.teacher import Tutor
from jobs.training_state import TrainingState, own
from jobs.values import MemberResult, Teaching

# Fixed, as another batch size can give other bits. 32 takes twice the time on a CPU: glibc gives
# larger blocks back to the system after every use, and fetching them anew costs more than the work.
EVAL_BATCH = 16


def train_member(
    plan: MemberPlan,
    data: LabelledImages,
    report: Callable[[EpochReport], None],
    should_stop: Callable[[], bool] | None = None,
    teaching: Teaching | None = None,
    checkpoint: Where | None = None,
    say: Callable[[str], None] | None = None,
) -> MemberResult:
    """Train one member. One call at a time in a process: it fixes process-wide settings.

    The reported training loss is what was minimized, class weights and distillation included; with
    mixup, an image counts as correct when it is given its heavier label. The validation loss is
    always the plain cross-entropy, so that it can be compared between plans.

    Args:
        plan: what to train.
        data: the training part of the data at the plan's image size; may be memory-mapped.
        report: called after every epoch; what it raises (`Stopped`, say) ends the training. A
            resumed training first reports the epochs that it does not train again.
        should_stop: looked at before every batch.
        teaching: the teacher that the plan distils from.
        checkpoint: a path or URI to resume from and to write after every epoch, before that epoch
            is reported; left in place, and ignored where it is damaged or not of this plan.
        say: given a line on what was done with the file found there.

    Raises:
        CheckpointError: the checkpoint cannot be kept; the one before is intact.
        DataError: the images cannot be divided as the plan says, they have no class of the name
            that the loss is focused on, or the teacher's weights do not fit.
        Diverged: a training or validation loss is not finite; a GPU is asked once an epoch.
        Stopped: `should_stop` said so.
        ValueError: images of another size than the plan's, not the plan's teacher, or a plan with
            a team's own code, which `jobs.custom.parent` trains.
    """
    size_px = plan.data.image_size_px
    if plan.custom is not None:
        raise ValueError(
            f"the plan has team code, {plan.custom.file}: train it with jobs.custom.parent"
        )
    if data.images.shape[1:] != (3, size_px, size_px):
        raise ValueError(
            f"images of shape {data.images.shape[1:]}; the plan needs (3, {size_px}, {size_px})"
        )
    split = split_images(data.labels, data.groups, plan.data)
    lessons = Lessons(data.images, data.labels, split.train, data.images[split.validation])
    val_labels = torch.from_numpy(data.labels[split.validation])
    diary = OwnDiary(plan, val_labels, report, checkpoint, say)
    return train_on(plan, lessons, Techniques(), diary, should_stop, teaching)


def train_on(
    plan: MemberPlan,
    lessons: Lessons,
    techniques: Techniques,
    diary: Diary,
    should_stop: Callable[[], bool] | None = None,
    teaching: Teaching | None = None,
) -> MemberResult:
    """Train on given images with given techniques; the loop behind `train_member`.

    Raises:
        DataError, Diverged, Stopped, ValueError: as `train_member`; beside that, whatever diary
            and techniques raise.
    """
    size_px, num_classes = plan.data.image_size_px, len(plan.data.classes)
    check_teaching(plan, teaching, len(lessons.labels))
    weights = class_weights(plan.loss, plan.data.classes, plan.device)

    # 1. Model, optimizer, and a random stream for each purpose: new, or as in the checkpoint.
    init_seed, shuffle_seed, augment_seed, mixup_seed = seeds(plan.seed)
    with reproducible(plan.threads, plan.device, init_seed):
        network = techniques.build_model and techniques.build_model(num_classes, size_px)
        state = TrainingState.start(plan, shuffle_seed, augment_seed, mixup_seed, network)
        model, optimizer = state.model, state.optimizer
        fuse(model, plan.device)
        loss_of = techniques.build_loss and techniques.build_loss(weights)
        if loss_of is None:
            loss_of = partial(hard_loss, class_weights=weights)
        tutor = None
        if plan.distill is not None and teaching is not None:
            tutor = Tutor(teaching, num_classes, plan.device)
        steps_per_epoch = math.ceil(len(lessons.rows) / plan.batch_size)
        learning_rate = plan.optimizer.learning_rate
        rates = Rates(plan.schedule, learning_rate, plan.epochs, steps_per_epoch)
        pixels = Pixels(lessons.images, plan.device)
        val_pixels = Pixels(lessons.val_images, plan.device)
        diary.open(state)
        val_logits: Tensor | None = None

        reported_s = time.perf_counter()
        for epoch in range(state.step // steps_per_epoch + 1, plan.epochs + 1):
            # 2. What is random about the epoch. It is drawn at once, because a small batch costs
            # less than its own generators would, and a GPU should not wait for the next one's.
            started_s = time.perf_counter()
            drawn = torch.randperm(len(lessons.rows), generator=state.shuffling)
            order = lessons.rows[drawn.numpy()]
            places, labels_in_order = (
                pixels.places(order),
                moved(lessons.labels[order], plan.device),
            )
            changes = draw_changes(plan.augment, len(order), size_px, size_px, state.augmenting).to(
                plan.device
            )
            mixes = None
            if (alpha := plan.augment.mixup_alpha) > 0:
                mixes = draw_mixes(alpha, len(order), plan.batch_size, state.mixing).to(plan.device)

            # 3. One pass over the training images. Nothing in it waits for a GPU.
            model.train()
            losses: list[Tensor] = []  # per batch, summed over its images; on the device
            num_correct = torch.zeros((), dtype=torch.int64, device=plan.device)
            for start in range(0, len(order), plan.batch_size):
                if should_stop is not None and should_stop():
                    raise Stopped(f"stopped in epoch {epoch}")
                stop = min(start + plan.batch_size, len(order))
                images = apply_changes(pixels.batch(places[start:stop]), changes.part(start, stop))
                if techniques.augment is not None:
                    images = techniques.augment(images, step_generator(augment_seed, state.step))
                labels = targets = labels_in_order[start:stop]
                if mixes is not None:
                    mix = mixes.part(start, stop)
                    images, targets = apply_mixes(images, labels, num_classes, mix)
                    labels = targets.argmax(dim=1)
                with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
                    logits = model(images).float()
                loss = loss_of(logits, targets)
                if plan.distill is not None and tutor is not None:
                    taught = tutor.logits(images, places[start:stop])
                    share, temperature = plan.distill.alpha, plan.distill.temperature
                    loss = distillation_loss(logits, taught, loss, temperature, share)
                optimizer.param_groups[0]["lr"] = rates.at(state.step, state.plateau)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                state.step += 1
                losses.append(loss.detach() * (stop - start))
                num_correct += (logits.detach().argmax(dim=1) == labels).sum()
                if plan.device == "cpu" and not math.isfinite(losses[-1].item()):
                    check_finite(torch.stack(losses), losses[-1], epoch, learning_rate)

            # 4. The epoch's losses: on a GPU, here is the wait for all that was queued.
            epoch_losses = torch.stack(losses).cpu()
            check_finite(epoch_losses, epoch_losses[-1], epoch, learning_rate)
            elapsed_s = time.perf_counter() - started_s

            # 5. Validate in full precision, as the combined model is evaluated later.
            val_logits = evaluate(model, val_pixels)

            # 6. Have it judged, kept and reported: what was reported is never trained again.
            before_s, reported_s = reported_s, time.perf_counter()
            trained = EpochTrained(
                epoch=epoch,
                train_loss=epoch_losses.sum().item() / len(order),
                train_accuracy=num_correct.item() / len(order),
                learning_rate=optimizer.param_groups[0]["lr"],
                images_per_second=len(order) / elapsed_s,
                seconds=reported_s - before_s,
            )
            diary.close_epoch(state, trained, len(losses), val_logits)

        if val_logits is None:  # killed between its last epoch and its result
            val_logits = evaluate(model, val_pixels)
        return MemberResult(
            weights=safetensors.torch.save(own(model.state_dict())),
            val_probs=functional.softmax(val_logits, dim=1).numpy(),
        )


def predict(model: nn.Module, images: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Return a model's outputs (N, C) for images (N, 3, S, S) uint8, in evaluation mode."""
    return evaluate(model, Pixels(images, device)).numpy()


def evaluate(model: nn.Module, pixels: Pixels) -> Tensor:
    """Return a model's outputs (N, C), on the CPU, in evaluation mode."""
    # An exported program keeps the mode that it was exported in and refuses to be asked.
    if not isinstance(model, GraphModule):
        model.eval()
    places = pixels.places(np.arange(len(pixels)))
    with torch.no_grad():
        outputs = [
            model(pixels.batch(places[start : start + EVAL_BATCH]))
            for start in range(0, len(pixels), EVAL_BATCH)
        ]
    return torch.cat(outputs).detach().cpu()


def check_finite(losses: Tensor, val_loss: Tensor, epoch: int, learning_rate: float) -> None:
    """Raise Diverged for an epoch's first infinite or undefined loss.

    The validation loss tells of the last step: no later training loss does.
    """
    broken = torch.nonzero(~torch.isfinite(torch.cat([losses, val_loss[None]])))
    if len(broken):
        raise Diverged(epoch, min(int(broken[0]) + 1, len(losses)), learning_rate)


def main(arguments: list[str]) -> int:
    """Train the plan in a file on the data in a folder; print every epoch as a line of JSON."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m jobs.train PLAN.json DATA_FOLDER\n")
        return 2
    try:
        plan = MemberPlan.model_validate_json(Path(arguments[0]).read_bytes())
        with tempfile.TemporaryDirectory() as cache:
            size_px = plan.data.image_size_px
            decoded = decode(Path(arguments[1]), [size_px], Path(cache))
            if decoded.folder.fingerprint != plan.data.fingerprint:
                raise DataError(
                    f"{arguments[1]} has the fingerprint {decoded.folder.fingerprint}, the plan "
                    f"names {plan.data.fingerprint}; use the plan's data or change the plan"
                )
            keep_freed_memory()
            train_member(
                plan,
                decoded.training(size_px),
                report=lambda epoch: print(epoch.model_dump_json(), flush=True),  # noqa: T201
            )
    except (JobsError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
