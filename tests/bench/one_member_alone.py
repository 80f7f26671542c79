"""The member of `one_member`, which has next to nothing to train, in plain processes.

In: how many at once. Out: what the training function takes alone. It is a module of its own so that
those processes import what training needs, and neither Ray nor MLflow.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.plan import DataPlan, MemberPlan
from jobs.train import train_member

TINY = DataPlan(fingerprint="f", classes=("a", "b", "c"), image_size_px=8, train_fraction=0.5)
REPEATS = 40


def few_images() -> LabelledImages:
    """12 images of noise in three classes."""
    pixels = np.random.default_rng(0).integers(0, 255, (12, 3, 8, 8), dtype=np.uint8)
    return LabelledImages(pixels, np.arange(12) % 3, np.arange(12))


def training_alone_ms(num_processes: int) -> float:
    """A member, checkpoint included, in each of so many processes; the mean of their medians."""
    words = [sys.executable, "-m", __spec__.name]
    at_once = [
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(num_processes)
    ]
    return statistics.mean(float(process.communicate()[0]) for process in at_once)


def main() -> None:
    """Trains the same member again and again and prints the median of its times."""
    keep_freed_memory()
    images, plan, taken = few_images(), MemberPlan(data=TINY, epochs=1), []
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        for turn in range(REPEATS):
            checkpoint = Path(made) / f"{turn}.checkpoint"
            started_s = time.perf_counter()
            train_member(plan, images, lambda _: None, None, None, checkpoint)
            taken.append(time.perf_counter() - started_s)
    sys.stdout.write(f"{statistics.median(taken) * 1e3}\n")


if __name__ == "__main__":
    main()
