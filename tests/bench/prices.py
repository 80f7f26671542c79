"""What the amounts of `forecasting.costs` cost on this machine: the prices, measured anew.

In: nothing. Out: `PRICES_NS` to be pasted, and how well they meet the trainings that they were
fitted to. 165 plans, each trained for some epochs on noise; the fastest epoch counts, and its
validation apart. Relative errors are minimized, of which the largest count less (Huber's weights),
and no price is negative. It takes some minutes, and nothing else should run meanwhile.

    python -m tests.bench.prices
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import safetensors.torch
from scipy.optimize import nnls
from torch import Tensor

import jobs.train
from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.plan import MemberPlan
from jobs.teacher import build_classifier
from jobs.values import Teaching
from orchestrator.forecasting.costs import PRICES_NS, amounts, work
from tests.orchestrator.test_costs import plan as plan_of

EPOCHS = 5
EPOCH_S = 0.12
"""About what an epoch is to take."""
MOST_IMAGES = 1200
BY_HAND = ("attention_step", "augmented_step", "distilled_step", "dropped", "epoch")
"""Too small to be seen among the others."""
HUBER = 0.1
VALIDATED = "validated"
CHANGES: list[dict[str, float]] = [
    {"rotate_degrees": 20},
    {"rotate_degrees": 20, "shift_fraction": 0.1, "flip_horizontal_p": 0.5},
    {"flip_horizontal_p": 0.5},
    {"blur_strength": 1},
    {"erase_p": 0.5},
    {"mixup_alpha": 0.2},
]
TEACHERS = [
    ("resnet18", 64),
    ("resnet18", 128),
    ("mobilenet_v2", 128),
    ("resnet50", 128),
    ("resnet18", 224),
]
plan = partial(plan_of, epochs=EPOCHS)
Sized = tuple[MemberPlan, int]
"""A plan, and the number of images of its training folder."""


def plans() -> Iterator[MemberPlan]:
    """Sizes, batches and techniques that people choose, and some that they hardly do."""
    for side_px, turbo_blocks in product((32, 48, 64, 96, 128), (0, 1, 2)):
        for batch in (4, 8, 16, 32, 64):
            yield plan(side_px, turbo_blocks, batch)
        for batch in (8, 32):
            yield plan(side_px, turbo_blocks, batch, attention=True)
    for sizes in ((224, 0, 4), (224, 0, 8), (224, 0, 16), (224, 1, 8), (64, 3, 8), (128, 3, 8)):
        yield plan(*sizes)
    for side_px, turbo_blocks, batch in ((64, 0, 8), (64, 0, 32), (64, 1, 8), (64, 1, 32),
                                         (128, 0, 8), (128, 1, 8)):  # fmt: skip
        yield plan(side_px, turbo_blocks, batch, dropout=0.3)
        for change in CHANGES:
            yield plan(side_px, turbo_blocks, batch, **change)
    for teacher, batch in product(TEACHERS, (8, 32)):
        yield plan(64, 0, batch, teacher=teacher, flip_horizontal_p=0.5)
    for batch in (8, 32):
        yield plan(64, 0, batch, teacher=TEACHERS[0])


def sized(plan: MemberPlan) -> Sized:
    """With so many images that an epoch takes about `EPOCH_S`, and has a whole batch at least."""
    num = int(1.6 * plan.batch_size) + 4
    while work(plan, num) / EPOCHS < EPOCH_S and num < MOST_IMAGES:
        num = int(num * 1.15) + 1
    return plan, num


def measured_ns(plan: MemberPlan, num: int) -> tuple[float, float]:
    """Of the fastest epoch's training, and of the fastest validation."""
    teaching = None
    if plan.distill is not None and plan.distill.teacher is not None:
        spec = plan.distill.teacher
        state = build_classifier(spec.architecture, 2).state_dict()
        known = None if plan.augmented else np.zeros((num, 2), np.float32)
        teaching = Teaching(spec, safetensors.torch.save(state), known)
    side_px = plan.data.image_size_px
    pixels = np.random.default_rng(0).integers(0, 255, (num, 3, side_px, side_px), dtype=np.uint8)
    optimizer = plan.optimizer.model_copy(update={"learning_rate": 1e-4})  # noise is not learnt
    validations, ends = list[int](), [time.process_time_ns()]
    with _evaluation(lambda: validations.append(time.process_time_ns())):
        jobs.train.train_member(
            plan.model_copy(update={"optimizer": optimizer}),
            LabelledImages(pixels, np.arange(num) % 2, np.arange(num)),
            lambda _: ends.append(time.process_time_ns()),
            teaching=teaching,
        )
    begun, over = validations[::2], validations[1::2]
    trained = [begin - end for begin, end in zip(begun[1:], ends[1:], strict=False)]
    return float(min(trained)), float(min(b - a for a, b in zip(begun[1:], over[1:], strict=True)))


@contextlib.contextmanager
def _evaluation(look: Callable[[], None]) -> Iterator[None]:
    """Looks before and after every validation of the trainings in the block."""
    ours = jobs.train.evaluate

    def watched(*given: Any) -> Tensor:
        look()
        outputs = ours(*given)
        look()
        return outputs

    jobs.train.evaluate = watched
    try:
        yield
    finally:
        jobs.train.evaluate = ours


def fitted(rows: Sequence[Mapping[str, float]], wanted_ns: Sequence[float]) -> dict[str, float]:
    """Prices of the amounts in the rows; those by hand are as they were."""
    names = sorted({name for row in rows for name in row} - set(BY_HAND))
    by_hand = [sum(PRICES_NS[name] * row.get(name, 0) for name in BY_HAND) for row in rows]
    wanted = np.array(wanted_ns) - by_hand
    relative = np.array([[row.get(name, 0) for name in names] for row in rows]) / wanted[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-30)
    weights, found = np.ones(len(rows)), np.zeros(len(names))
    for _ in range(30):
        found, _ = nnls(relative / scale * weights[:, None], weights)
        errors = np.abs(relative / scale @ found - 1)
        weights = 1 / np.sqrt(np.maximum(1, errors / HUBER))
    return dict(zip(names, found / scale, strict=True))


def main() -> None:
    """Measure, fit, and print."""
    keep_freed_memory()
    of_training, of_validation, measured = [], [], []
    for each, num in map(sized, plans()):
        measured.append(measured_ns(each, num))
        counted = amounts(each, num).items()
        of_training.append({name: n for name, n in counted if not name.startswith(VALIDATED)})
        of_validation.append({name: n for name, n in counted if name.startswith(VALIDATED)})
        sys.stderr.write(f"{len(measured)}: {sum(measured[-1]) / 1e6:.0f} ms\n")
    trained, validated = zip(*measured, strict=True)
    hands = {name: PRICES_NS[name] for name in BY_HAND}
    prices = fitted(of_training, trained) | fitted(of_validation, validated) | hands
    foretold = [
        sum(n * prices[name] for name, n in (a | b).items())
        for a, b in zip(of_training, of_validation, strict=True)
    ]
    ratios = np.array(foretold) / [sum(both) for both in measured]
    rounded = {name: float(f"{price:.3g}") for name, price in sorted(prices.items())}
    within = " to ".join(f"{each:.2f}" for each in np.percentile(ratios, [5, 95]))
    sys.stdout.write(
        f"{json.dumps(rounded, indent=4)}\n{len(ratios)} plans; foretold beside measured, the "
        f"middle nine of ten: {within}\n"
    )


if __name__ == "__main__":
    main()
