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

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from jobs.augment import apply_changes, draw_changes
from jobs.epoch_plan import EpochPlan
from jobs.errors import DataError, JobsError, Stopped
from jobs.evaluation import evaluate
from jobs.fused import fuse
from jobs.images import LabelledImages, decode
from jobs.losses import check_finite, distillation_loss, hard_loss
from jobs.memory import keep_freed_memory
from jobs.mixup import apply_mixes, draw_mixes
from jobs.pixels import Pixels, moved
from jobs.places import Where
from jobs.plan import EpochReport, MemberPlan
from jobs.rates import Rates
from jobs.reproducible import reproducible, seeds
from jobs.split import split_images
from jobs.teacher import Tutor
from jobs.training_io import (
    EpochRecorder,
    EpochTrained,
    MemberRecorder,
    Techniques,
    TrainingData,
    check_teaching,
    class_weights,
    close_epoch,
    open_recorder,
    step_generator,
)
from jobs.training_state import TrainingState, own
from jobs.values import MemberResult, Teaching
from jobs.workers import Workers


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

    Where the plan has several workers, this is called in as many processes, which torch's process
    group connects. Only the first one validates, reports, and reads and writes the checkpoint; the
    result comes out of all.

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
        Stopped: `should_stop` said so, that of any worker; a GPU is asked once an epoch then.
        ValueError: images of another size than the plan's, not the plan's teacher, other workers
            than the plan's, or a plan with a team's own code, which `jobs.custom.parent` trains.
        WorkerLost: another worker ended.
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
    training_data = TrainingData(
        data.images, data.labels, split.train, data.images[split.validation]
    )
    val_labels = torch.from_numpy(data.labels[split.validation])
    recorder = MemberRecorder(plan, val_labels, report, checkpoint, say)
    return train_on(plan, training_data, Techniques(), recorder, should_stop, teaching)


def train_on(
    plan: MemberPlan,
    training_data: TrainingData,
    techniques: Techniques,
    recorder: EpochRecorder,
    should_stop: Callable[[], bool] | None = None,
    teaching: Teaching | None = None,
) -> MemberResult:
    """Train on given images with given techniques; the loop behind `train_member`.

    Raises:
        DataError, Diverged, Stopped, ValueError, WorkerLost: as `train_member`; beside that,
            whatever recorder and techniques raise.
    """
    workers = Workers.of(plan)
    size_px, num_classes = plan.data.image_size_px, len(plan.data.classes)
    check_teaching(plan, teaching, len(training_data.labels))
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
        num_images = len(training_data.rows)
        steps_per_epoch = math.ceil(num_images / plan.batch_size)
        learning_rate = plan.optimizer.learning_rate
        rates = Rates(plan.schedule, learning_rate, plan.epochs, steps_per_epoch)
        pixels = Pixels(training_data.images, plan.device)
        val_pixels = Pixels(training_data.val_images, plan.device)
        open_recorder(recorder, state, workers)
        val_logits: Tensor | None = None

        reported_s = time.perf_counter()
        for epoch in range(state.step // steps_per_epoch + 1, plan.epochs + 1):
            # 2. What is random about the epoch. It is drawn at once, because a small batch costs
            # less than its own generators would, and a GPU should not wait for the next one's.
            # Several workers draw the same, and each takes its part.
            started_s = time.perf_counter()
            drawn = torch.randperm(num_images, generator=state.shuffling)
            order = training_data.rows[drawn.numpy()]
            changes = draw_changes(plan.augment, num_images, size_px, size_px, state.augmenting)
            mixes = None
            if (alpha := plan.augment.mixup_alpha) > 0:
                mixes = draw_mixes(alpha, num_images, plan.batch_size, state.mixing)
            epoch_plan = EpochPlan.whole(order, changes, mixes, plan.batch_size)
            if not workers.alone:
                weights_in_order = (
                    None if weights is None else weights.cpu()[training_data.labels[order]]
                )
                epoch_plan = epoch_plan.part_of(workers.rank, workers.num_workers, weights_in_order)
            places = pixels.places(epoch_plan.order)
            labels_in_order = moved(training_data.labels[epoch_plan.order], plan.device)
            changes, mixes = epoch_plan.changes_on(plan.device)
            workers.seed_dropout(plan.seed, epoch, plan.device)

            # 3. One pass over the training images. Nothing in it waits for a GPU.
            model.train()
            losses: list[Tensor] = []  # per batch, summed over its images; on the device
            num_correct = torch.zeros((), dtype=torch.int64, device=plan.device)
            num_asking = torch.zeros((), device=plan.device)  # workers, to stop
            for batch in epoch_plan.batches:
                stopping = should_stop is not None and should_stop()
                if stopping and workers.alone:
                    raise Stopped(f"stopped in epoch {epoch}")
                start, stop, end = batch.start, batch.stop, batch.end
                images = apply_changes(pixels.batch(places[start:end]), changes.part(start, end))
                if techniques.augment is not None:
                    images = techniques.augment(images, step_generator(augment_seed, state.step))
                labels = targets = labels_in_order[start:end]
                if mixes is not None:
                    mix = mixes.part(start, end)
                    images, targets = apply_mixes(images, labels, num_classes, mix)
                    if end > stop:  # without those that were only blended with others
                        images, targets = images[: stop - start], targets[: stop - start]
                    labels = targets.argmax(dim=1)
                with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
                    logits = model(images).float()
                loss = loss_of(logits, targets)
                if not workers.alone:
                    loss = loss * batch.label_scale
                if plan.distill is not None and tutor is not None:
                    taught = tutor.logits(images, places[start:stop])
                    share, temperature = plan.distill.alpha, plan.distill.temperature
                    loss = distillation_loss(logits, taught, loss, temperature, share)
                if not workers.alone:
                    loss = loss * batch.share
                correct = (logits.detach().argmax(dim=1) == labels).sum()
                optimizer.param_groups[0]["lr"] = rates.at(state.step, state.plateau)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                if not workers.alone:
                    asks = loss.new_full((), float(stopping))
                    mine = torch.stack([loss.detach(), correct * (batch.share > 0), asks])
                    loss, correct, asks = workers.add_up(model.parameters(), mine)
                    num_asking += asks
                    if plan.device == "cpu" and num_asking > 0:
                        raise Stopped(f"stopped in epoch {epoch}")
                optimizer.step()
                state.step += 1
                losses.append(loss.detach() * batch.size)
                num_correct += correct.long()
                if plan.device == "cpu" and not math.isfinite(losses[-1].item()):
                    check_finite(torch.stack(losses), losses[-1], epoch, learning_rate)

            # 4. The epoch's losses: on a GPU, here is the wait for all that was queued.
            epoch_losses = torch.stack(losses).cpu()
            if num_asking > 0:
                raise Stopped(f"stopped in epoch {epoch}")
            check_finite(epoch_losses, epoch_losses[-1], epoch, learning_rate)
            elapsed_s = time.perf_counter() - started_s

            # 5. Validate in full precision, as the combined model is evaluated later.
            val_logits = workers.by_first(partial(evaluate, model, val_pixels))

            # 6. Have it judged, kept and reported: what was reported is never trained again.
            before_s, reported_s = reported_s, time.perf_counter()
            trained = EpochTrained(
                epoch=epoch,
                train_loss=epoch_losses.sum().item() / num_images,
                train_accuracy=num_correct.item() / num_images,
                learning_rate=optimizer.param_groups[0]["lr"],
                images_per_second=num_images / elapsed_s,
                seconds=reported_s - before_s,
            )
            close_epoch(recorder, state, trained, len(losses), val_logits, workers)

        if val_logits is None:  # killed between its last epoch and its result
            val_logits = workers.by_first(partial(evaluate, model, val_pixels))
        return MemberResult(
            weights=safetensors.torch.save(own(model.state_dict())),
            val_probs=functional.softmax(val_logits, dim=1).numpy(),
        )


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
