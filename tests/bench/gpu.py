"""Members that share a GPU, beside one member at a time. Runs without Ray and MLflow.

In: a machine with a GPU; anywhere else one row says that there is none. Out: rows for the base
network and a boosted one: how many training images a second 1, 2, 4, ... processes make together,
each with a member of its own; whether neighbours change a member's bits; bfloat16 beside float32.

Processes, because slots are processes: this is what `resources.gpus: 0.25` does without the rest.
Further rows, from `techniques`, count how often the host waits in an epoch's batches.

    python -m tests.bench.gpu [--quick]
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Queue, get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier as BarrierType
from queue import Empty

import torch

from jobs.memory import keep_freed_memory
from jobs.plan import Device, MemberPlan, ModelPlan, Precision
from jobs.split import split_images
from jobs.train import train_member
from tests.bench import techniques
from tests.bench.photos import training_images
from tests.bench.rows import Row, faster, figure, print_rows, skipped
from tests.bench.techniques import DifferentBits

SIZE_PX = 64
NETWORKS = {"base": ModelPlan(), "1 boost": ModelPlan(turbo_blocks=1)}
BATCHES = (8, 32)
START_S, LOOK_EVERY_S = 300.0, 1.0


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
    yield from techniques.rows(*training_images(SIZE_PX), "cuda")


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
        return [_answer(answers, processes) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=START_S)
            process.kill()


def _answer(answers: "Queue[Trained]", processes: Sequence[BaseProcess]) -> Trained:
    """The next answer; raises `ChildProcessError` where none comes, at once where one died."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(Empty):
            return answers.get(timeout=LOOK_EVERY_S)
        for process in processes:
            if process.exitcode not in (None, 0):
                raise ChildProcessError(f"a member's process ended with {process.exitcode}")
    raise ChildProcessError(f"no member has answered for {START_S:g} s")


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


if __name__ == "__main__":
    print_rows(rows, "Members that share a GPU, beside one member at a time.")
