"""What a further slot costs in memory, beside a further process with its own copy of the images.

In: nothing. Out: rows for a small and a large set of images (8 and 98 MB), in MiB. All of them
train the base network while they are measured. Memory is the sum of the processes' proportional set
size (PSS), in which what several share counts once, so the growth from one to more is what each
further one costs. A plain process has torch and this project loaded, but neither Ray nor Ray Train.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Queue, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np

from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.plan import DataPlan, MemberPlan
from jobs.train import train_member
from jobs.values import Place
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.connection import ray_cluster
from orchestrator.cluster.room import Room
from orchestrator.cluster.slots import RaySlots
from orchestrator.cluster.updates import Progress, Update
from orchestrator.state import MemberKey
from tests.bench import processes
from tests.bench.rows import Row, faster, figure, print_rows

MIB = 1 << 20
SETS = {"8 MB": (683, 64), "98 MB": (2000, 128)}
EPOCHS = 10_000
START_S = 300.0


class TooSlow(Exception):
    """Nobody trains."""


def rows(quick: bool) -> Iterator[Row]:
    """A row for each set of images, and how often a node holds them."""
    most = 2 if quick else 3
    with ray_cluster(num_cpus=most):
        for name, (num_images, side_px) in list(SETS.items())[: 1 if quick else None]:
            plan, images = noise(num_images, side_px)
            ours = mib_of_slots(plan, images, (1, most))
            theirs = mib_of_processes(plan, images, (1, most))
            slot, process = ((more - one) / (most - 1) for one, more in (ours, theirs))
            copy = f"{images.images.nbytes / MIB:.0f} MiB of images"
            yield faster(
                f"a further slot, {name} of images",
                slot,
                process,
                "MiB",
                None,
                f"a plain process with its own copy of {copy}",
                f"the first: {ours[0]:.0f} and {theirs[0]:.0f} MiB",
            )
    (bare,) = mib_of_processes(plan, None, (1,))
    yield figure("a process that has only imported torch", bare, "MiB")


def noise(num_images: int, side_px: int) -> tuple[MemberPlan, LabelledImages]:
    """Random images in two classes, and a member that would train on them for hours."""
    pixels = np.random.default_rng(0).integers(
        0, 256, (num_images, 3, side_px, side_px), dtype=np.uint8
    )
    fingerprint = f"{num_images} of {side_px} px"
    data = DataPlan(fingerprint=fingerprint, classes=("a", "b"), image_size_px=side_px)
    labels = np.sort(np.arange(num_images) % 2)
    return MemberPlan(data=data, epochs=EPOCHS), LabelledImages(
        pixels, labels, np.arange(num_images)
    )


def mib_of_slots(plan: MemberPlan, images: LabelledImages, numbers: Sequence[int]) -> list[float]:
    """Of so many slots, and then of so many, on the connected Ray while all of them train."""
    pool = RaySlots(Room.fixed(max(numbers)), Resources(), lambda _: images, lambda _: None)
    training: set[MemberKey] = set()
    found = []
    # The folder outlives the slots, which write to it until they end.
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        try:
            for number in numbers:
                pool.want(number)
                deadline = time.monotonic() + START_S
                while len(training) < number:
                    if time.monotonic() > deadline:
                        raise TooSlow(f"{len(training)} of {number} slots train")
                    updates: list[Update] = pool.poll(0.2)
                    training |= {each.key for each in updates if isinstance(each, Progress)}
                    for state in pool.states():
                        if state.busy_with is None:
                            index = int(state.name.rpartition("-")[2])
                            place = Place(f"{folder}/{index}.checkpoint", f"{folder}/{index}.log")
                            pool.start(state.name, MemberKey(1, index), 1, plan, place)
                found.append(_pss_mib(processes.slots(os.getpid())))
            return found
        finally:
            pool.close()
            _until(lambda: not processes.slots(os.getpid()))


def mib_of_processes(
    plan: MemberPlan, images: LabelledImages | None, numbers: Sequence[int]
) -> list[float]:
    """Of so many plain processes, and then of so many, while all of them train.

    Without images they only import.
    """
    context = get_context("spawn")
    epochs: Queue[int] = context.Queue()
    shape = None if images is None else images.images.shape
    started: list[SpawnProcess] = []
    found = []
    try:
        for number in numbers:
            while len(started) < number:
                arguments = plan.model_dump_json(), shape, epochs
                started.append(context.Process(target=_train, args=arguments, daemon=True))
                started[-1].start()
            pids: set[int] = set()
            while len(pids) < number:
                pids.add(epochs.get(timeout=START_S))
            found.append(_pss_mib(sorted(pids)))
        return found
    finally:
        for process in started:
            process.kill()
            process.join()


def _train(plan_json: str, shape: tuple[int, ...] | None, epochs: "Queue[int]") -> None:
    keep_freed_memory()
    plan = MemberPlan.model_validate_json(plan_json)
    if shape is None:
        epochs.put(os.getpid())
        time.sleep(START_S)
        return
    _, images = noise(shape[0], shape[2])
    train_member(plan, images, lambda _: epochs.put(os.getpid()))


def _pss_mib(pids: list[int]) -> float:
    kib = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not done() and time.monotonic() < deadline:
        time.sleep(0.1)


if __name__ == "__main__":
    print_rows(rows, "Memory of a further slot beside a further process.")
