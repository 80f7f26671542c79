"""Whether bfloat16 costs accuracy: the same trainings in both precisions, over several seeds.

In: nothing. Out: a row for each network with the difference of the mean validation accuracies.
float32 stays the default of a cohort; `resources.precision: bf16` is what is looked at here. Small
differences are a matter of seeds, so the row tells the standard error of the difference as well;
the target is two of these, or a point where that is more.
"""

import os
import statistics
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.plan import DataPlan, EpochReport, MemberPlan, ModelPlan, Precision
from jobs.train import train_member
from tests.bench.photos import training_images
from tests.bench.rows import Row, at_most, figure, print_rows

SIZE_PX, SEEDS = 64, 5
POINT = 1.0


@cache
def data() -> tuple[DataPlan, LabelledImages]:
    """Once for each process."""
    keep_freed_memory()
    return training_images(SIZE_PX)


def accuracy(turbo_blocks: int, epochs: int, precision: Precision, seed: int) -> float:
    """Validation accuracy after the last epoch, in percent."""
    described, images = data()
    reports: list[EpochReport] = []
    plan = MemberPlan(
        data=described,
        model=ModelPlan(turbo_blocks=turbo_blocks),
        epochs=epochs,
        precision=precision,
        seed=seed,
    )
    train_member(plan, images, reports.append)
    return 100 * reports[-1].val_accuracy


def rows(quick: bool) -> Iterator[Row]:
    """One for the base network, and in full one for the network with a turbo boost."""
    networks = [("base", 0, 3)] if quick else [("base", 0, 20), ("1 boost", 1, 8)]
    seeds = 3 if quick else SEEDS
    workers = ProcessPoolExecutor(min(2, os.cpu_count() or 1), get_context("spawn"))
    with workers as pool:
        for name, turbo_blocks, epochs in networks:
            waiting = {
                precision: [
                    pool.submit(accuracy, turbo_blocks, epochs, precision, seed)
                    for seed in range(seeds)
                ]
                for precision in ("fp32", "bf16")
            }
            found = {key: [one.result() for one in ones] for key, ones in waiting.items()}
            yield from compared(name, epochs, found["bf16"], found["fp32"])


def compared(name: str, epochs: int, bf16: list[float], fp32: list[float]) -> Iterator[Row]:
    """The mean accuracies, and their difference beside what seeds alone would make of it."""
    error = (statistics.variance(bf16) / len(bf16) + statistics.variance(fp32) / len(fp32)) ** 0.5
    difference = statistics.mean(bf16) - statistics.mean(fp32)
    note = f"{epochs} epochs, {len(fp32)} seeds; {difference:+.2f} ± {error:.2f} points"
    mean = statistics.mean
    yield figure(f"validation accuracy, {name}, bf16", mean(bf16), "%", mean(fp32), "fp32", note)
    yield at_most(
        f"bf16 off fp32, {name}", abs(difference), "points", max(2 * error, POINT), note=note
    )


if __name__ == "__main__":
    print_rows(rows, "Accuracy in bfloat16 beside float32.")
