"""Slots on a real Ray cluster: real training, real failures, both trainer modes."""

import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import ray

from jobs.images import LabelledImages
from jobs.plan import DataPlan, MemberPlan, OptimizerPlan
from jobs.train import train_member
from orchestrator.cluster import num_slots_that_fit
from orchestrator.cohort import Resources
from orchestrator.errors import ClusterError
from orchestrator.news import Failed, Halted, News, Progress, Trained
from orchestrator.phases import Blame, Reason
from orchestrator.slots import RaySlots
from orchestrator.state import MemberKey

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SIDE = 16
DATA = DataPlan(fingerprint="f", classes=("a", "b", "c"), image_size_px=SIDE, train_fraction=1)
PLAN = MemberPlan(data=DATA, epochs=2, seed=3)
KEY = MemberKey(1, 0)
PATIENCE_S = 120


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    """90 images of noise in three classes."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    pixels = generator.integers(0, 255, (90, 3, SIDE, SIDE), dtype=np.uint8)
    return LabelledImages(pixels, labels, np.arange(90))


MakePool = Callable[..., RaySlots]


@pytest.fixture
def make_pool(images: LabelledImages) -> Iterator[MakePool]:
    """A function that opens a pool, closed at the end of the test."""
    pools: list[RaySlots] = []

    def make(num_slots: int = 1, **resources: object) -> RaySlots:
        pool = RaySlots(num_slots, Resources.model_validate(resources), {SIDE: images})
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()


def until(pool: RaySlots, enough: Callable[[list[News]], bool]) -> list[News]:
    """Polls until the news are enough."""
    news: list[News] = []
    deadline = time.monotonic() + PATIENCE_S
    while not enough(news):
        assert time.monotonic() < deadline, f"still waiting, with {news}"
        news += pool.poll(0.1)
    return news


def ready(pool: RaySlots, num_slots: int = 1) -> list[str]:
    """The names of the pool's slots, once they are all there."""
    until(pool, lambda _: len(pool.states()) == num_slots)
    return [state.name for state in pool.states()]


def ended(count: int) -> Callable[[list[News]], bool]:
    return lambda news: sum(not isinstance(n, Progress) for n in news) == count


def train(pool: RaySlots, slot: str, plan: MemberPlan = PLAN, key: MemberKey = KEY) -> list[News]:
    pool.start(slot, key, 1, plan)
    return until(pool, ended(1))


def test_a_slot_gives_the_bits_that_plain_training_gives(
    make_pool: MakePool, images: LabelledImages
) -> None:
    expected = train_member(PLAN, images, lambda _: None)
    pool = make_pool()
    (slot,) = ready(pool)
    # Something else trains on the slot first, and another plan in between.
    others = [PLAN.model_copy(update={"seed": seed, "batch_size": 16}) for seed in (8, 9)]
    results = []
    for plan in (others[0], PLAN, others[1], PLAN):
        trained = train(pool, slot, plan)[-1]
        assert isinstance(trained, Trained)
        results.append(trained)
    for result in (results[1], results[3]):
        assert result.weights == expected.weights
        np.testing.assert_array_equal(result.val_probs, expected.val_probs)
    assert results[0].weights != expected.weights


def test_every_epoch_is_reported_once_and_before_the_result(make_pool: MakePool) -> None:
    pool = make_pool()
    (slot,) = ready(pool)
    plan = PLAN.model_copy(update={"epochs": 30})
    started = time.time()
    *progress, last = train(pool, slot, plan)
    assert isinstance(last, Trained)
    reports = [r for news in progress if isinstance(news, Progress) for r in news.reports]
    assert [report.epoch for report, _ in reports] == list(range(1, 31))
    times = [at for _, at in reports]
    assert times == sorted(times)
    assert started <= times[0]
    assert times[-1] <= time.time()


def test_members_train_at_the_same_time_in_different_actors(make_pool: MakePool) -> None:
    pool = make_pool(2)
    slots = ready(pool, 2)
    endless = PLAN.model_copy(update={"epochs": 10_000})
    keys = [MemberKey(1, index) for index in range(2)]
    for slot, key in zip(slots, keys, strict=True):
        pool.start(slot, key, 1, endless)
    # Both are seen to make progress while neither has ended.
    news = until(pool, lambda news: {n.key for n in news} == set(keys))
    assert all(isinstance(n, Progress) for n in news)
    assert {state.busy_with for state in pool.states()} == set(keys)
    pids = ray.get([handle.actor.__ray_call__.remote(lambda _: os.getpid())
                    for handle in pool._slots.values()])  # fmt: skip
    assert len(set(pids)) == 2
    for slot in slots:
        pool.stop(slot)
    halted = [n for n in until(pool, ended(2)) if not isinstance(n, Progress)]
    assert all(isinstance(n, Halted) for n in halted)


def test_a_stopped_slot_trains_the_next_member_as_if_nothing_had_been(
    make_pool: MakePool, images: LabelledImages
) -> None:
    pool = make_pool()
    (slot,) = ready(pool)
    pool.start(slot, KEY, 1, PLAN.model_copy(update={"epochs": 10_000}))
    until(pool, lambda news: len(news) > 0)
    pool.stop(slot)
    assert isinstance(until(pool, ended(1))[-1], Halted)
    trained = train(pool, slot)[-1]
    assert isinstance(trained, Trained)
    assert trained.weights == train_member(PLAN, images, lambda _: None).weights


def test_a_killed_slot_is_the_clusters_fault_and_is_replaced(
    make_pool: MakePool, images: LabelledImages
) -> None:
    pool = make_pool()
    (slot,) = ready(pool)
    pool.start(slot, KEY, 1, PLAN.model_copy(update={"epochs": 10_000}))
    until(pool, lambda news: len(news) > 0)
    ray.kill(pool._slots[slot].actor)
    lost = until(pool, ended(1))[-1]
    assert isinstance(lost, Failed)
    assert (lost.reason, lost.blame) == (Reason.SLOT_LOST, Blame.CLUSTER)
    (successor,) = ready(pool)
    assert successor != slot
    trained = train(pool, successor)[-1]
    assert isinstance(trained, Trained)
    assert trained.weights == train_member(PLAN, images, lambda _: None).weights


def test_a_diverging_member_is_the_teams_fault(make_pool: MakePool) -> None:
    pool = make_pool()
    (slot,) = ready(pool)
    plan = PLAN.model_copy(update={"optimizer": OptimizerPlan(learning_rate=1e30)})
    failed = train(pool, slot, plan)[-1]
    assert isinstance(failed, Failed)
    assert (failed.reason, failed.blame) == (Reason.DIVERGED, Blame.TEAM)
    assert "epoch 1, step" in failed.message
    assert isinstance(train(pool, slot)[-1], Trained)


def test_an_exception_is_told_in_words(make_pool: MakePool) -> None:
    pool = make_pool()
    (slot,) = ready(pool)
    # A class without any image cannot be split into training and validation images.
    plan = PLAN.model_copy(
        update={"data": DATA.model_copy(update={"classes": ("a", "b", "c", "d")})}
    )
    failed = train(pool, slot, plan)[-1]
    assert isinstance(failed, Failed)
    assert failed.reason is Reason.ERROR
    assert failed.message.startswith("DataError: ")


@pytest.mark.slow
def test_a_worker_group_gives_the_same_bits(make_pool: MakePool, images: LabelledImages) -> None:
    pool = make_pool(trainer="workers")
    (slot,) = ready(pool)
    *progress, trained = train(pool, slot)
    assert isinstance(trained, Trained)
    expected = train_member(PLAN, images, lambda _: None)
    assert trained.weights == expected.weights
    np.testing.assert_array_equal(trained.val_probs, expected.val_probs)
    reports = [r for news in progress if isinstance(news, Progress) for r in news.reports]
    assert [report.epoch for report, _ in reports] == [1, 2]


def test_slots_that_fit_are_counted_by_what_a_member_asks_for() -> None:
    assert num_slots_that_fit(Resources(cpus=1)) == 2
    assert num_slots_that_fit(Resources(cpus=0.5)) == 4
    assert num_slots_that_fit(Resources(cpus=2)) == 1
    with pytest.raises(ClusterError, match=r"3 CPUs.*has 2 CPUs"):
        num_slots_that_fit(Resources(cpus=3))
    with pytest.raises(ClusterError, match="1 GPUs"):
        num_slots_that_fit(Resources(gpus=1))
