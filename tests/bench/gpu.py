"""Members that share a GPU, beside one member at a time. Runs without Ray and MLflow.

In: a machine with a GPU; anywhere else one row says that there is none. Out: rows for the base
network and a boosted one: how many training images a second 1, 2, 4, ... processes make together,
each with a member of its own; whether neighbours change a member's bits; bfloat16 beside float32.

Processes, because slots are processes: this is what `resources.gpus: 0.25` does without the rest,
each kept to its share of the GPU's memory as slots are. Rows from `techniques` come first: whether
every technique gives the same bits again, and how often the host waits in an epoch's batches. What
goes wrong in one row ends the section only once all others were measured.

    python -m tests.bench.gpu [--quick] [--device cpu]

With `--device cpu` the same processes share a processor instead, which tries the section itself.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Queue, get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier as BarrierType
from queue import Empty

import torch

from jobs.errors import Stopped
from jobs.gpu import keep_to_share
from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.plan import DataPlan, Device, EpochReport, MemberPlan, ModelPlan
from jobs.split import split_images
from jobs.train import train_member
from tests.bench import techniques
from tests.bench.photos import training_images
from tests.bench.rows import Row, faster, figure, print_rows, skipped

SIZE_PX = 64
NETWORKS = {"base": ModelPlan(), "1 boost": ModelPlan(turbo_blocks=1)}
BATCHES = (8, 32)
EPOCHS = 3
"""Of the member whose bits are compared."""
FOR_EVER = 1_000_000
"""Epochs of the member whose speed is measured: it is stopped."""
ANSWERS_WITHIN_S, LOOK_EVERY_S = 120.0, 1.0


class RowsFailed(Exception):
    """What went wrong in some of the rows, a line each."""


@dataclass(frozen=True)
class Trained:
    """What one process has to say: when its epochs ended, and what came out of a whole training."""

    ended: tuple[float, ...]
    num_images: int
    sha256: str


def rows(quick: bool, device: Device = "cuda") -> Iterator[Row]:
    """All rows, or why there are none; raises `RowsFailed` behind the last one."""
    if device == "cuda" and not torch.cuda.is_available():
        yield skipped("members that share a GPU", "this machine has no GPU that torch can use")
        return
    data, images = training_images(SIZE_PX)
    failed: list[str] = []
    if device == "cuda":
        yield from techniques.rows(data, images, device, failed)
    numbers, seconds = ((4,), 2.0) if quick else ((2, 4, 8, 16), 4.0)
    yield from sharing(data, images, device, numbers, seconds, failed)
    if failed:
        raise RowsFailed("\n".join(failed))


def sharing(
    data: DataPlan,
    images: LabelledImages,
    device: Device,
    numbers: Sequence[int],
    seconds: float,
    failed: list[str],
) -> Iterator[Row]:
    """Images a second of so many processes together, for each network and batch size."""
    for name, model in NETWORKS.items():
        for batch_size in BATCHES:
            what = f"{name}, batch {batch_size}"
            plan = MemberPlan(
                data=data, model=model, batch_size=batch_size, epochs=EPOCHS, device=device
            )
            try:
                alone = together(plan, images, 1, seconds)
                alone_per_s = images_per_s(alone)
            except ChildProcessError as error:
                failed.append(f"{what}, alone: {error}")
                yield skipped(f"members on one GPU, {what}", str(error))
                continue
            for number in numbers:
                yield _shared(what, plan, images, alone, number, seconds, failed)
            half = plan.model_copy(update={"precision": "bf16"})
            try:
                half_per_s = images_per_s(together(half, images, 1, seconds))
            except ChildProcessError as error:
                failed.append(f"{what}, bfloat16: {error}")
                yield skipped(f"bfloat16 on a GPU, {what}", str(error))
                continue
            yield faster(
                f"bfloat16 on a GPU, {what}",
                1 / half_per_s,
                1 / alone_per_s,
                "s an image",
                None,
                "float32",
            )


def _shared(
    what: str,
    plan: MemberPlan,
    images: LabelledImages,
    alone: list[Trained],
    number: int,
    seconds: float,
    failed: list[str],
) -> Row:
    name = f"{number} members on one GPU, {what}"
    try:
        shared = together(plan, images, number, seconds)
        per_s = images_per_s(shared)
    except ChildProcessError as error:
        failed.append(f"{name}: {error}")
        return skipped(name, str(error))
    same = {trained.sha256 for trained in shared} == {alone[0].sha256}
    if not same:
        failed.append(f"{name}: other bits than one alone")
    bits = "the same bits as" if same else "OTHER BITS than"
    return figure(
        name,
        1 / per_s,
        "s an image",
        1 / images_per_s(alone),
        "one member at a time",
        f"{per_s:,.0f} images/s together; {bits} alone",
    )


def together(
    plan: MemberPlan, images: LabelledImages, num_members: int, seconds: float
) -> list[Trained]:
    """Trains the plan in so many processes, and goes on for so long in all of them at once.

    Raises `ChildProcessError` where one of them ends early or says nothing.
    """
    context = get_context("spawn")
    barrier, answers = context.Barrier(num_members), context.Queue()
    told = plan.model_dump_json(), images, 1 / num_members, seconds
    processes = [
        context.Process(target=_train, args=(*told, barrier, answers)) for _ in range(num_members)
    ]
    for process in processes:
        process.start()
    try:
        return [_answer(answers, processes) for _ in processes]
    finally:  # whoever has answered is done; the others wait in vain
        for process in processes:
            process.kill()
            process.join()


def _answer(answers: "Queue[Trained]", processes: Sequence[BaseProcess]) -> Trained:
    """The next answer; raises `ChildProcessError` where none comes, at once where one died."""
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(Empty):
            return answers.get(timeout=LOOK_EVERY_S)
        for process in processes:
            if process.exitcode not in (None, 0):
                raise ChildProcessError(f"a member's process ended with {process.exitcode}")
    raise ChildProcessError(f"no member has answered for {ANSWERS_WITHIN_S:g} s")


def images_per_s(trained: list[Trained]) -> float:
    """Training images of all members, while all of them trained.

    Raises `ChildProcessError` where they never did at the same time.
    """
    begun = max(one.ended[0] for one in trained)
    over = min(one.ended[-1] for one in trained)
    if over <= begun:
        raise ChildProcessError("the members did not train at the same time: give them longer")
    images = sum(
        one.num_images * sum(begun < ended <= over for ended in one.ended) for one in trained
    )
    return images / (over - begun)


def _train(
    plan_json: str,
    images: LabelledImages,
    share: float,
    seconds: float,
    barrier: BarrierType,
    answers: "Queue[Trained]",
) -> None:
    keep_freed_memory()
    plan = MemberPlan.model_validate_json(plan_json)
    if plan.device == "cuda":
        keep_to_share(share)
    # What a first training pays, for the GPU's context and its kernels, is paid before they meet.
    train_member(plan.model_copy(update={"epochs": 1}), images, lambda _: None)
    barrier.wait(timeout=ANSWERS_WITHIN_S)
    result = train_member(plan, images, lambda _: None)
    barrier.wait(timeout=ANSWERS_WITHIN_S)
    stops_at = time.monotonic() + seconds
    ended: list[float] = []

    def report(_: EpochReport) -> None:
        ended.append(time.time())
        if time.monotonic() > stops_at and len(ended) > 1:
            raise Stopped

    with suppress(Stopped):
        train_member(plan.model_copy(update={"epochs": FOR_EVER}), images, report)
    num_images = len(split_images(images.labels, images.groups, plan.data).train)
    answers.put(Trained(tuple(ended), num_images, hashlib.sha256(result.weights).hexdigest()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    chosen, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    print_rows(
        lambda quick: rows(quick, chosen.device),
        "Members that share a GPU, beside one member at a time.",
    )
