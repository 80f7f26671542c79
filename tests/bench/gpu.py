"""Members that share a GPU, beside one member at a time. Runs without Ray and MLflow.

In: a machine with a GPU; anywhere else one row says that there is none. Out: rows for the base
network and a boosted one: how many training images a second 1, 2, 4, ... processes make together,
each with a member of its own; whether neighbours change a member's bits; bfloat16 beside float32.

Processes, because slots are processes: this is what `resources.gpus: 0.25` does without the rest. A
further row trains an epoch with CUDA's sync debug mode on, which counts how often the host waits.

    python -m tests.bench.gpu [--quick]
"""

import hashlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Queue, get_context
from multiprocessing.synchronize import Barrier as BarrierType

import torch

from jobs.errors import Stopped
from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.plan import Device, EpochReport, MemberPlan, ModelPlan, Precision
from jobs.split import split_images
from jobs.train import train_member
from tests.bench.photos import training_images
from tests.bench.rows import Row, at_most, faster, figure, print_rows, skipped

SIZE_PX = 64
NETWORKS = {"base": ModelPlan(), "1 boost": ModelPlan(turbo_blocks=1)}
BATCHES = (8, 32)
START_S = 300.0


class DifferentBits(Exception):
    """The same plan has given other weights beside neighbours."""


@dataclass(frozen=True)
class Trained:
    """What one process has to say: when its epochs ended, and what came out."""

    ended: tuple[float, ...]
    num_images: int
    sha256: str


def rows(quick: bool) -> Iterator[Row]:
    """All rows, or why there are none."""
    if not torch.cuda.is_available():
        yield skipped("members that share a GPU", "this machine has no GPU that torch can use")
        return
    most = 4 if quick else 16
    yield from sharing("cuda", most, epochs=4 if quick else 10)
    yield waits()


def sharing(device: Device, most: int, epochs: int) -> Iterator[Row]:
    """Images a second of 1, 2, 4, ... processes together, for each network and batch size."""
    for name, model in NETWORKS.items():
        for batch_size in BATCHES:
            plan = plan_of(model, batch_size, epochs, device)
            alone = together(plan, 1)
            for num_members in (2**power for power in range(1, most.bit_length())):
                shared = together(plan, num_members)
                if {trained.sha256 for trained in shared} != {alone[0].sha256}:
                    raise DifferentBits(f"{name}, {num_members} members on one {device}")
                yield figure(
                    f"{num_members} members on one GPU, {name}, batch {batch_size}",
                    1 / images_per_s(shared),
                    "s an image",
                    1 / images_per_s(alone),
                    "one member at a time",
                    f"{images_per_s(shared):,.0f} images/s together; the same bits as alone",
                )
            half = together(plan_of(model, batch_size, epochs, device, "bf16"), 1)
            yield faster(
                f"bfloat16 on a GPU, {name}, batch {batch_size}",
                1 / images_per_s(half),
                1 / images_per_s(alone),
                "s an image",
                None,
                "float32",
            )


def plan_of(
    model: ModelPlan, batch_size: int, epochs: int, device: Device, precision: Precision = "fp32"
) -> MemberPlan:
    """The member that every process trains."""
    described, _ = training_images(SIZE_PX)
    return MemberPlan(
        data=described,
        model=model,
        batch_size=batch_size,
        epochs=epochs,
        device=device,
        precision=precision,
    )


def together(plan: MemberPlan, num_members: int) -> list[Trained]:
    """Trains the plan in so many processes at the same time."""
    context = get_context("spawn")
    barrier, answers = context.Barrier(num_members), context.Queue()
    processes = [
        context.Process(target=_train, args=(plan.model_dump_json(), barrier, answers))
        for _ in range(num_members)
    ]
    for process in processes:
        process.start()
    try:
        return [answers.get(timeout=START_S) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=START_S)
            process.kill()


def images_per_s(trained: list[Trained]) -> float:
    """Training images of all members, while all of them trained: first epochs are warm-ups."""
    begun = max(one.ended[0] for one in trained)
    over = min(one.ended[-1] for one in trained)
    images = sum(
        one.num_images * sum(begun < ended <= over for ended in one.ended) for one in trained
    )
    return images / max(over - begun, 1e-9)


def _train(plan_json: str, barrier: BarrierType, answers: "Queue[Trained]") -> None:
    keep_freed_memory()
    plan = MemberPlan.model_validate_json(plan_json)
    _, images = training_images(SIZE_PX)
    barrier.wait(timeout=START_S)
    ended: list[float] = []
    result = train_member(plan, images, lambda _: ended.append(time.time()))
    num_images = len(split_images(images.labels, images.groups, plan.data).train)
    answers.put(Trained(tuple(ended), num_images, hashlib.sha256(result.weights).hexdigest()))


def waits() -> Row:
    """How often the host waits for the GPU in the batches of an epoch: never, it should be.

    The mode warns at every wait. `should_stop` is asked before every batch: of the warnings, those
    between the first batch and the last are counted.
    """
    described, images = training_images(SIZE_PX)
    plan = MemberPlan(data=described, epochs=2, device="cuda")
    return at_most("waits of the host in an epoch's batches", waits_in(plan, images), "waits", 0.0)


def waits_in(plan: MemberPlan, images: LabelledImages) -> int:
    """Warnings between the second epoch's first and last batch."""
    seen: list[int] = []
    batches = 0
    epochs: list[EpochReport] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def before_batch() -> bool:
            nonlocal batches
            if epochs:
                batches += 1
                torch.cuda.set_sync_debug_mode("warn")
                seen.append(len(caught))
            return False

        def report(epoch: EpochReport) -> None:
            torch.cuda.set_sync_debug_mode("default")
            epochs.append(epoch)
            if len(epochs) == 2:
                raise Stopped

        try:
            train_member(plan, images, report, before_batch)
        except Stopped:
            pass
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return seen[-1] - seen[0]


if __name__ == "__main__":
    print_rows(rows, "Members that share a GPU, beside one member at a time.")
