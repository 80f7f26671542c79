"""A pool of slots under test: what its members train on, and how it is waited for."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import ray

from jobs.images import LabelledImages
from jobs.plan import DataPlan, MemberPlan
from jobs.teacher import Teaching
from jobs.values import Place
from orchestrator.cluster.slots import RaySlots
from orchestrator.cluster.updates import Progress, Update
from orchestrator.errors import Damaged
from orchestrator.state import MemberKey

SIDE = 16
DATA = DataPlan(fingerprint="f", classes=("a", "b", "c"), image_size_px=SIDE, train_fraction=1)
PLAN = MemberPlan(data=DATA, epochs=2, seed=3)
ENDLESS = PLAN.model_copy(update={"epochs": 10_000})
KEY = MemberKey(1, 0)
PATIENCE_S = 120


def noise(side_px: int = SIDE, num_images: int = 90) -> LabelledImages:
    """Images of noise in three classes."""
    generator = np.random.default_rng(0)
    labels = np.arange(num_images) % 3
    pixels = generator.integers(0, 255, (num_images, 3, side_px, side_px), dtype=np.uint8)
    return LabelledImages(pixels, labels, np.arange(num_images))


class Inputs:
    """Images by their side, a teacher for all, and how often they were asked for."""

    def __init__(self, *images: LabelledImages) -> None:
        self.by_side = {each.images.shape[-1]: each for each in images}
        self.teacher: Teaching | None = None
        self.asked: list[int] = []
        self.asked_teacher = 0

    def images(self, plan: DataPlan) -> LabelledImages:
        self.asked.append(plan.image_size_px)
        if plan.image_size_px not in self.by_side:
            raise Damaged(f"no images of {plan.image_size_px} px")
        return self.by_side[plan.image_size_px]

    def teaching(self, _: MemberPlan) -> Teaching | None:
        self.asked_teacher += 1
        return self.teacher


def until(pool: RaySlots, enough: Callable[[list[Update]], bool]) -> list[Update]:
    """Polls until the updates are enough."""
    updates: list[Update] = []
    deadline = time.monotonic() + PATIENCE_S
    while not enough(updates):
        assert time.monotonic() < deadline, f"still waiting, with {updates}"
        updates += pool.poll(0.1)
    return updates


def ready(pool: RaySlots, num_slots: int = 1) -> list[str]:
    """The names of the pool's slots, once they are all there."""
    until(pool, lambda _: len(pool.states()) == num_slots)
    return [state.name for state in pool.states()]


def ended(count: int) -> Callable[[list[Update]], bool]:
    return lambda updates: sum(not isinstance(n, Progress) for n in updates) == count


def epochs_of(updates: list[Update]) -> list[int]:
    return [r.epoch for n in updates if isinstance(n, Progress) for r, _ in n.reports]


def train(pool: RaySlots, slot: str, place: Place, plan: MemberPlan = PLAN) -> list[Update]:
    """Trains a member; of its checkpoint nothing is left."""
    pool.start(slot, KEY, 1, plan, place)
    updates = until(pool, ended(1))
    with suppress(OSError):
        Path(place.checkpoint).unlink()
    return updates


def call(pool: RaySlots, slot: str, function: Callable[[object], object]) -> object:
    """Runs something within a slot's process."""
    return ray.get(pool._slots[slot].actor.__ray_call__.remote(function))
