"""Slots on a real Ray cluster: real training, in both trainer modes."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray

from jobs.images import LabelledImages
from jobs.plan import DistillPlan, TeacherSpec
from jobs.teacher import Teaching
from jobs.train import train_member
from jobs.values import Place
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.connection import largest_node, num_slots_that_fit
from orchestrator.cluster.room import Room
from orchestrator.cluster.slot import Slot
from orchestrator.cluster.slots import RaySlots
from orchestrator.cluster.updates import Halted, Progress, Trained
from orchestrator.errors import ClusterError
from orchestrator.state import MemberKey
from tests.orchestrator.pools import (
    DATA,
    ENDLESS,
    KEY,
    PATIENCE_S,
    PLAN,
    SIDE,
    Inputs,
    call,
    ended,
    epochs_of,
    noise,
    ready,
    train,
    until,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

MakePool = Callable[..., RaySlots]
Warm = tuple[RaySlots, str]


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    """90 images of noise in three classes."""
    return noise()


@pytest.fixture(scope="module")
def inputs(images: LabelledImages) -> Inputs:
    """The images, in one size."""
    return Inputs(images)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """In a folder that is not there yet."""
    return Place(str(tmp_path / "m" / "0.checkpoint"), str(tmp_path / "m" / "0-a1.log"))


@pytest.fixture(scope="module")
def warm(inputs: Inputs) -> Iterator[Warm]:
    """A pool of one slot, and the slot's name, for tests that leave it as it was."""
    pool = RaySlots(Room.fixed(1), Resources(cpus=0.5), inputs.images, inputs.teaching)
    pool.want(1)
    (slot,) = ready(pool)
    yield pool, slot
    pool.close()


@pytest.fixture
def make_pool(inputs: Inputs) -> Iterator[MakePool]:
    """A function that opens a pool, closed at the end of the test."""
    pools: list[RaySlots] = []

    def make(num_slots: int = 1, want: int | None = None, **resources: object) -> RaySlots:
        limits = Resources.model_validate({"cpus": 0.5, **resources})
        pool = RaySlots(Room.fixed(num_slots), limits, inputs.images, inputs.teaching)
        pool.want(num_slots if want is None else want)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()


def test_a_slot_gives_the_bits_that_plain_training_gives(
    warm: Warm, images: LabelledImages, place: Place
) -> None:
    expected = train_member(PLAN, images, lambda _: None)
    pool, slot = warm
    # Something else trains on the slot first, and another plan in between.
    others = [PLAN.model_copy(update={"seed": seed, "batch_size": 16}) for seed in (8, 9)]
    results = []
    for plan in (others[0], PLAN, others[1], PLAN):
        trained = train(pool, slot, place, plan)[-1]
        assert isinstance(trained, Trained)
        results.append(trained)
    for result in (results[1], results[3]):
        assert result.weights == expected.weights
        np.testing.assert_array_equal(result.val_probs, expected.val_probs)
    assert results[0].weights != expected.weights


def test_every_epoch_is_reported_once_and_before_the_result(warm: Warm, place: Place) -> None:
    pool, slot = warm
    plan = PLAN.model_copy(update={"epochs": 30})
    started = time.time()
    *progress, last = train(pool, slot, place, plan)
    assert isinstance(last, Trained)
    assert epochs_of(progress) == list(range(1, 31))
    times = [at for update in progress if isinstance(update, Progress) for _, at in update.reports]
    assert times == sorted(times)
    assert started <= times[0]
    assert times[-1] <= time.time()


def test_members_train_at_the_same_time_in_different_actors(
    make_pool: MakePool, place: Place
) -> None:
    pool = make_pool(2)
    slots = ready(pool, 2)
    keys = [MemberKey(1, index) for index in range(2)]
    for slot, key in zip(slots, keys, strict=True):
        pool.start(slot, key, 1, ENDLESS, replace(place, checkpoint=f"{place.checkpoint}{key}"))
    # Both are seen to make progress while neither has ended.
    updates = until(pool, lambda updates: {n.key for n in updates} == set(keys))
    assert all(isinstance(n, Progress) for n in updates)
    assert {state.busy_with for state in pool.states()} == set(keys)
    assert len({call(pool, slot, lambda _: os.getpid()) for slot in slots}) == 2
    for slot in slots:
        pool.stop(slot)
    halted = [n for n in until(pool, ended(2)) if not isinstance(n, Progress)]
    assert all(isinstance(n, Halted) for n in halted)


def test_a_stopped_slot_trains_the_next_member_as_if_nothing_had_been(
    warm: Warm, images: LabelledImages, place: Place
) -> None:
    pool, slot = warm
    pool.start(slot, KEY, 2, ENDLESS, place)
    until(pool, lambda updates: len(updates) > 0)
    pool.stop(slot)
    assert isinstance(until(pool, ended(1))[-1], Halted)
    trained = train(pool, slot, place)[-1]
    assert isinstance(trained, Trained)
    assert trained.weights == train_member(PLAN, images, lambda _: None).weights


def test_a_stop_that_comes_before_its_run_stops_that_run_alone(images: LabelledImages) -> None:
    slot = ray.remote(Slot).options(num_cpus=0.5, max_concurrency=2).remote()
    ray.get(slot.stop.remote("second"))
    what = ("member", PLAN.model_dump_json(), [ray.put(images)], None)
    outcomes = [ray.get(slot.train.remote(run, *what))[0] for run in ("first", "second", "third")]
    assert [outcome is None for outcome in outcomes] == [False, True, False]
    ray.kill(slot)


def test_the_log_of_a_member_tells_its_epochs_and_its_end(warm: Warm, place: Place) -> None:
    pool, slot = warm
    train(pool, slot, place)
    heading, first, second, last = Path(place.log).read_text().splitlines()
    assert f"job 1, member 0, attempt 1, {slot}, node {pool.node(slot)}, host " in heading
    assert first.startswith("epoch 1/2  loss ")
    assert second.startswith("epoch 2/2  loss ")
    assert last.startswith("completed after ")


def test_images_and_teachers_are_fetched_once_when_they_are_needed(
    warm: Warm, inputs: Inputs, place: Place
) -> None:
    pool, slot = warm
    inputs.by_side[20] = noise(20)
    spec = TeacherSpec(sha256="0" * 64, architecture="resnet18", image_size_px=20)
    inputs.teacher = Teaching(spec, b"", np.zeros((90, 3), np.float32))
    plan = PLAN.model_copy(
        update={
            "data": DATA.model_copy(update={"image_size_px": 20}),
            "distill": DistillPlan(teacher=spec, temperature=2, alpha=0.5),
        }
    )
    assert 20 not in inputs.asked
    for _ in range(2):
        trained = train(pool, slot, place, plan)[-1]
        assert isinstance(trained, Trained)
        expected = train_member(plan, noise(20), lambda _: None, None, inputs.teacher)
        assert trained.weights == expected.weights
    assert inputs.asked.count(20) == 1
    assert inputs.asked_teacher == 1


def test_slots_are_made_as_they_are_wanted_and_stay(make_pool: MakePool) -> None:
    pool = make_pool(2, want=0)
    for wanted, there in ((0, 0), (1, 1), (5, 2), (0, 2)):
        pool.want(wanted)
        assert len(ready(pool, there)) == there


def test_where_others_may_wait_idle_slots_are_given_back_and_busy_ones_are_not(
    inputs: Inputs, place: Place
) -> None:
    def pool_of(**given: float) -> RaySlots:
        room = Room(lambda: 2, grows=True)
        return RaySlots(room, Resources(cpus=0.5), inputs.images, inputs.teaching, **given)

    with closing(pool_of(keep_idle_s=0)) as pool:
        pool.want(3)
        busy = ready(pool, 3)[1]
        pool.start(busy, KEY, 1, ENDLESS, place)
        for wanted in (1, 0):
            pool.want(wanted)
            assert [state.name for state in pool.states()] == [busy]
        # Whoever asks for what the others had gets it.
        ray.get(ray.remote(num_cpus=1)(lambda: None).remote(), timeout=PATIENCE_S)
        pool.stop(busy)
        until(pool, ended(1))
        pool.want(0)
        assert pool.states() == []
    with closing(pool_of(keep_idle_s=1e9)) as pool:
        pool.want(1)
        (slot,) = ready(pool)
        pool.want(0)
        assert [state.name for state in pool.states()] == [slot], "it stays warm for a while"


def test_a_slot_that_waits_in_vain_is_taken_back_and_counts_for_nothing(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the first one takes here: `test_room` has what becomes of it after that.
    monkeypatch.setattr("orchestrator.cluster.room.PLACED_WITHIN_S", math.inf)
    room = Room(lambda: 2, grows=True)
    with closing(RaySlots(room, Resources(cpus=1.5), inputs.images, inputs.teaching)) as pool:
        pool.want(3)
        (there,) = ready(pool)
        assert pool.num_at_a_time == 2
        pool.want(1)
        assert [state.name for state in pool.states()] == [there]
        assert pool.poll(0) == [], "it was no failed start"


@pytest.mark.cluster
def test_a_worker_group_gives_the_same_bits_and_stops_between_batches(
    make_pool: MakePool, images: LabelledImages, inputs: Inputs, place: Place
) -> None:
    pool = make_pool(trainer="workers")
    (slot,) = ready(pool)
    *progress, trained = train(pool, slot, place)
    assert isinstance(trained, Trained)
    expected = train_member(PLAN, images, lambda _: None)
    assert trained.weights == expected.weights
    np.testing.assert_array_equal(trained.val_probs, expected.val_probs)
    assert epochs_of(progress) == [1, 2]
    assert "epoch 2/2" in Path(place.log).read_text()
    # An epoch of many thousand batches does not come to its end.
    inputs.by_side[SIDE + 1] = LabelledImages(
        np.zeros((60_000, 3, SIDE + 1, SIDE + 1), np.uint8),
        np.arange(60_000) % 3,
        np.arange(60_000),
    )
    data = DATA.model_copy(update={"image_size_px": SIDE + 1})
    log = Path(place.log).with_name("long.log")
    long = ENDLESS.model_copy(update={"data": data, "batch_size": 1})
    pool.start(slot, KEY, 2, long, replace(place, log=str(log)))
    until(pool, lambda _: log.exists())
    pool.stop(slot)
    assert until(pool, ended(1)) == [Halted(KEY, 2)]
    assert "stopped after" in log.read_text()


def test_the_largest_node_is_what_a_member_can_have_at_most() -> None:
    machine = largest_node()
    assert (machine.cpus, machine.gpus, machine.memory_bytes > 1 << 30) == (2, 0, True)


def test_slots_that_fit_are_counted_by_what_a_member_asks_for() -> None:
    assert num_slots_that_fit(Resources(cpus=1)) == 2
    assert num_slots_that_fit(Resources(cpus=0.5)) == 4
    assert num_slots_that_fit(Resources(cpus=2)) == 1
    with pytest.raises(ClusterError, match=r"3 CPUs.*has 2 CPUs"):
        num_slots_that_fit(Resources(cpus=3))
    with pytest.raises(ClusterError, match="1 GPUs"):
        num_slots_that_fit(Resources(gpus=1))
