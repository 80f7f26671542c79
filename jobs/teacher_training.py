"""The teacher's training: a torchvision classifier, from random or given weights.

In: a `TeacherPlan`, the training part of the data, and the state dict to start from, if any. Out: a
`MemberResult` of the epoch with the lowest validation loss. The recipe is the usual one for small
residual networks: SGD with Nesterov momentum, one cycle of the learning rate (Smith 2018,
https://arxiv.org/abs/1803.09820), light augmentation. Not label smoothing: a smoothed teacher no
longer tells which mistakes are near ones, and students learn less from it (Müller et al. 2019,
https://arxiv.org/abs/1906.02629). It trains on the training images that are not validation images;
those only say when to stop. Next on the path: `jobs.teacher` uses the result.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR

from jobs.augment import apply_changes, draw_changes
from jobs.errors import DataError, Stopped
from jobs.evaluation import evaluate
from jobs.images import LabelledImages
from jobs.losses import check_finite
from jobs.pixels import Pixels, moved
from jobs.plan import EpochReport, TeacherPlan, TeacherSpec
from jobs.reproducible import reproducible, seeds
from jobs.split import split_images
from jobs.teacher import TeacherNet
from jobs.values import MemberResult

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
WARMUP = 0.2  # share of the training in which the learning rate rises


def train_teacher(
    plan: TeacherPlan,
    data: LabelledImages,
    initial: Mapping[str, Tensor] | None,
    report: Callable[[EpochReport], None],
    should_stop: Callable[[], bool] | None = None,
) -> MemberResult:
    """Train a teacher until its last epoch, or until patience runs out.

    Args:
        plan: what to train.
        data: the training part of the data at the plan's image size.
        initial: a state dict in torchvision's keys, with another last layer or without one.
        report: called after every epoch.
        should_stop: looked at before every batch.

    Raises:
        DataError: no such architecture, weights that do not fit it, or images that cannot be
            divided as the plan says.
        Diverged: a loss is not finite.
        Stopped: `should_stop` said so.
    """
    num_classes = len(plan.data.classes)
    split = split_images(data.labels, data.groups, plan.data)
    val_labels = torch.from_numpy(data.labels[split.validation])
    spec = TeacherSpec(
        sha256="",
        architecture=plan.architecture,
        image_size_px=plan.data.image_size_px,
        normalize=plan.normalize,
    )
    init_seed, shuffle_seed, augment_seed, _ = seeds(plan.seed)
    with reproducible(plan.threads, plan.device, init_seed):
        shuffling = torch.Generator().manual_seed(shuffle_seed)
        augmenting = torch.Generator().manual_seed(augment_seed)
        net = TeacherNet(spec, num_classes)
        if initial is not None:
            start_from(net.network, initial)
        net = net.to(plan.device).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(
            net.parameters(),
            lr=plan.learning_rate,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            nesterov=True,
        )
        # Whole batches only: batch normalization learns nothing from a batch of one.
        batch_size = min(plan.batch_size, len(split.train))
        num_batches, side_px = len(split.train) // batch_size, plan.data.image_size_px
        num_steps = plan.epochs * num_batches
        rates = _rates(optimizer, plan.learning_rate, num_steps)
        pixels = Pixels(data.images, plan.device)
        val_pixels = Pixels(data.images[split.validation], plan.device)
        best: tuple[float, int, dict[str, Tensor], np.ndarray] | None = None
        reported_s = time.perf_counter()
        for epoch in range(1, plan.epochs + 1):
            # 1. One pass over the training images.
            started_s = time.perf_counter()
            net.train()
            order = split.train[torch.randperm(len(split.train), generator=shuffling).numpy()]
            order = order[: num_batches * batch_size]
            changes = draw_changes(plan.augment, len(order), side_px, side_px, augmenting)
            changes = changes.to(plan.device)
            places, labels_in_order = pixels.places(order), moved(data.labels[order], plan.device)
            losses: list[Tensor] = []
            num_correct = torch.zeros((), dtype=torch.int64, device=plan.device)
            for start in range(0, len(order), batch_size):
                if should_stop is not None and should_stop():
                    raise Stopped(f"stopped in epoch {epoch}")
                stop = start + batch_size
                images = apply_changes(pixels.batch(places[start:stop]), changes.part(start, stop))
                labels = labels_in_order[start:stop]
                with torch.autocast(plan.device, torch.bfloat16, enabled=plan.precision == "bf16"):
                    logits = net(images.contiguous(memory_format=torch.channels_last))
                loss = functional.cross_entropy(logits.float(), labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                learning_rate = rates.get_last_lr()[0]
                rates.step()
                losses.append(loss.detach() * batch_size)
                num_correct += (logits.detach().argmax(dim=1) == labels).sum()
            epoch_losses = torch.stack(losses).cpu()
            elapsed_s = time.perf_counter() - started_s

            # 2. Validate; keep the best epoch.
            val_logits = evaluate(net, val_pixels)
            val_loss = functional.cross_entropy(val_logits, val_labels)
            check_finite(epoch_losses, val_loss, epoch, plan.learning_rate)
            before_s, reported_s = reported_s, time.perf_counter()
            report(
                EpochReport(
                    epoch=epoch,
                    train_loss=epoch_losses.sum().item() / len(order),
                    train_accuracy=num_correct.item() / len(order),
                    val_loss=val_loss.item(),
                    val_accuracy=(val_logits.argmax(dim=1) == val_labels).float().mean().item(),
                    learning_rate=learning_rate,
                    images_per_second=len(order) / elapsed_s,
                    seconds=reported_s - before_s,
                )
            )
            if best is None or val_loss.item() < best[0]:
                state = {k: v.cpu().clone() for k, v in net.network.state_dict().items()}
                probs = functional.softmax(val_logits, dim=1).numpy()
                best = (val_loss.item(), epoch, state, probs)
            elif epoch - best[1] >= plan.patience_epochs:
                break

        assert best is not None
        weights = {name: value.contiguous() for name, value in best[2].items()}
        return MemberResult(weights=safetensors.torch.save(weights), val_probs=best[3])


def _rates(optimizer: Optimizer, learning_rate: float, num_steps: int) -> LRScheduler:
    """One cycle; of fewer than 3 steps, which are no cycle, the rate itself."""
    if num_steps < 3:
        return ConstantLR(optimizer, factor=1)
    return OneCycleLR(
        optimizer,
        learning_rate,
        total_steps=num_steps,
        # A rise of exactly one step would be divided by its length of zero.
        pct_start=max(WARMUP, 2 / num_steps),
        cycle_momentum=False,
    )


def start_from(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the weights of a backbone; the part of the network with the last layer may differ.

    Raises:
        DataError: they do not fit.
    """
    network.load_state_dict({**network.state_dict(), **fitting_weights(network, state)})


def fitting_weights(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a network can start from; it may have been built on the meta device.

    torchvision calls that part `fc`, `classifier`, `heads` or `head`: whatever of it is missing in
    the state dict, or is of another shape there (another number of classes), starts at random.

    Raises:
        DataError: something else is missing, unknown, or of another shape, or a weight is not
            finite.
    """
    wanted = network.state_dict()
    head = list(wanted)[-1].partition(".")[0] + "."
    fitting = {k: v for k, v in state.items() if k in wanted and v.shape == wanted[k].shape}
    lacking = [k for k in wanted if k not in fitting and not k.startswith(head)]
    unknown = [k for k in state if k not in wanted and not k.startswith((head, "aux", "AuxLogits"))]
    if lacking or unknown:
        examples = ", ".join((lacking + unknown)[:3])
        raise DataError(
            f"these are no weights for {type(network).__name__}: {len(lacking)} parameters are "
            f"missing or of another shape and {len(unknown)} unknown ({examples}); name the "
            "architecture that the weights are of"
        )
    if wrong := [key for key, value in fitting.items() if not value.isfinite().all()]:
        raise DataError(f"they cannot be those of a trained network: {wrong[0]} is not finite")
    return fitting
