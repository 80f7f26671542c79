"""Slots on a real Ray cluster: what becomes of a member that fails there, or whose slot does."""

import os
import re
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray

from jobs.images import LabelledImages
from jobs.plan import OptimizerPlan
from jobs.train import train_member
from jobs.values import Place
from orchestrator.admission.cohort import Resources
from orchestrator.cluster import slots
from orchestrator.cluster.faults import RAY_LOST
from orchestrator.cluster.liveness import LivenessProbe
from orchestrator.cluster.room import Room
from orchestrator.cluster.slot import Slot
from orchestrator.cluster.slots import RaySlots
from orchestrator.cluster.updates import Failed, Halted, Progress, Trained
from orchestrator.errors import ClusterLost, Damaged
from orchestrator.phases import Blame, Reason
from tests.orchestrator.pools import (
    DATA,
    ENDLESS,
    KEY,
    PLAN,
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

MakePool = Callable[[], RaySlots]
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


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots are asked often, so that what is killed has epochs to go on any machine."""
    monkeypatch.setattr(slots, "DRAIN_EVERY_S", 0.05)


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

    def make() -> RaySlots:
        pool = RaySlots(Room.fixed(1), Resources(cpus=0.5), inputs.images, inputs.teaching)
        pool.want(1)
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()


def test_a_killed_slot_is_replaced_and_the_member_goes_on_from_its_checkpoint(
    make_pool: MakePool, images: LabelledImages, place: Place
) -> None:
    plan = PLAN.model_copy(update={"epochs": 100})
    pool = make_pool()
    (slot,) = ready(pool)
    pid = call(pool, slot, lambda _: os.getpid())
    pool.start(slot, KEY, 1, plan, place)
    before = until(pool, lambda updates: len(updates) > 0)
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    before += until(pool, ended(1))
    lost = before[-1]
    assert isinstance(lost, Failed)
    assert (lost.fault.reason, lost.fault.blame) == (Reason.SLOT_LOST, Blame.CLUSTER)
    (successor,) = ready(pool)
    assert successor != slot
    log = Path(place.log).with_name("0-a2.log")
    pool.start(successor, KEY, 2, plan, replace(place, log=str(log)))
    after = until(pool, ended(1))
    assert epochs_of(after) == list(range(1, 101))
    trained = after[-1]
    assert isinstance(trained, Trained)
    expected = train_member(plan, images, lambda _: None)
    assert trained.weights == expected.weights
    np.testing.assert_array_equal(trained.val_probs, expected.val_probs)
    # What was told of the first attempt was not trained again.
    resumed = re.search(r"resumed after epoch (\d+)", log.read_text())
    assert resumed is not None
    assert int(resumed[1]) >= max(epochs_of(before))


def test_a_diverging_member_is_the_teams_fault(warm: Warm, place: Place) -> None:
    pool, slot = warm
    plan = PLAN.model_copy(update={"optimizer": OptimizerPlan(learning_rate=1e30)})
    failed = train(pool, slot, place, plan)[-1]
    assert isinstance(failed, Failed)
    assert (failed.fault.reason, failed.fault.blame) == (Reason.DIVERGED, Blame.TEAM)
    assert "epoch 1, step" in failed.fault.message
    assert isinstance(train(pool, slot, place)[-1], Trained)


def test_an_exception_is_told_in_words(warm: Warm, place: Place) -> None:
    pool, slot = warm
    # A class without any image cannot be split into training and validation images.
    plan = PLAN.model_copy(
        update={"data": DATA.model_copy(update={"classes": ("a", "b", "c", "d")})}
    )
    failed = train(pool, slot, place, plan)[-1]
    assert isinstance(failed, Failed)
    assert (failed.fault.reason, failed.fault.blame) == (Reason.STORAGE, Blame.CLUSTER)
    assert failed.fault.message.startswith("the training images cannot be used: ")
    assert "class d has no training image" in failed.fault.message


def test_a_member_too_large_for_its_memory_is_the_teams_fault_and_gets_a_new_slot(
    make_pool: MakePool, inputs: Inputs, place: Place
) -> None:
    inputs.by_side[224] = noise(224)
    plan = PLAN.model_copy(
        update={"data": DATA.model_copy(update={"image_size_px": 224}), "batch_size": 90}
    )
    pool = make_pool()
    (slot,) = ready(pool)

    def limit(_: object) -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20), resource.RLIM_INFINITY))

    call(pool, slot, limit)
    failed = train(pool, slot, place, plan)[-1]
    assert isinstance(failed, Failed)
    assert (failed.fault.reason, failed.fault.blame) == (Reason.OUT_OF_MEMORY, Blame.TEAM)
    assert "smaller batch size" in failed.fault.message
    assert "Traceback (most recent call last)" in Path(place.log).read_text()
    assert ready(pool) != [slot]


def test_a_checkpoint_that_cannot_be_written_is_the_clusters_fault(
    warm: Warm, tmp_path: Path
) -> None:
    pool, slot = warm
    (tmp_path / "file").touch()
    # The log can't be written either, which is nobody's fault.
    failed = train(pool, slot, Place(f"{tmp_path}/file/c", f"{tmp_path}/file/l"))[-1]
    assert isinstance(failed, Failed)
    assert (failed.fault.reason, failed.fault.blame) == (Reason.STORAGE, Blame.CLUSTER)
    assert f"{tmp_path}/file/c cannot be written" in failed.fault.message


def test_images_that_cannot_be_had_leave_the_slot_free(warm: Warm, place: Place) -> None:
    pool, slot = warm
    other = PLAN.model_copy(update={"data": DATA.model_copy(update={"image_size_px": 20})})
    with pytest.raises(Damaged, match="no images of 20 px"):
        pool.start(slot, KEY, 1, other, place)
    assert [state.busy_with for state in pool.states()] == [None]
    assert isinstance(train(pool, slot, place)[-1], Trained)


def test_slots_of_a_lost_cluster_are_given_up_without_asking_it(
    inputs: Inputs, place: Place
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        probe = LivenessProbe([door.getsockname()])
        pool = RaySlots(Room.fixed(1), Resources(cpus=0.5), inputs.images, inputs.teaching, probe)
        pool.want(1)
        (slot,) = ready(pool)
        actor = pool._slots[slot].actor
        pool.start(slot, KEY, 3, ENDLESS, place)
        until(pool, lambda updates: len(updates) > 0)
    try:
        with pytest.raises(ClusterLost, match="nothing answers at 127"):
            until(pool, ended(1))
        assert pool.abandon() == [Failed(KEY, 3, RAY_LOST)]
        assert pool.states() == []
        pool.close()
    finally:
        ray.kill(actor)


def test_a_slot_without_a_gpu_sees_none(warm: Warm) -> None:
    """Ray Train would take one of those that are there, in every slot."""
    pool, slot = warm
    assert call(pool, slot, lambda _: os.environ["CUDA_VISIBLE_DEVICES"]) == ""


def test_a_slot_that_dies_while_it_is_idle_costs_no_attempt(
    make_pool: MakePool, place: Place
) -> None:
    pool = make_pool()
    (slot,) = ready(pool)
    assert isinstance(train(pool, slot, place)[-1], Trained)
    pid = call(pool, slot, lambda _: os.getpid())
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    updates = until(pool, lambda _: [state.name for state in pool.states()] not in ([], [slot]))
    assert updates == [], "no attempt has failed"
    (successor,) = ready(pool)
    assert isinstance(train(pool, successor, place)[-1], Trained)


def test_a_member_that_does_not_stop_loses_its_slot(
    inputs: Inputs, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deaf(Slot):
        def stop(self, run: str) -> None:
            pass

    monkeypatch.setattr(slots, "Slot", Deaf)
    few = Resources(cpus=0.5)
    with closing(RaySlots(Room.fixed(1), few, inputs.images, inputs.teaching)) as pool:
        pool.want(1)
        (slot,) = ready(pool)
        pool.start(slot, KEY, 1, ENDLESS, place)
        until(pool, lambda updates: len(updates) > 0)
        pool.stop(slot)
        assert isinstance(until(pool, lambda updates: len(updates) > 0)[-1], Progress)
        pool.stops_within_s = 0.0  # asking again neither prolongs its half a minute nor ends it
        pool.stop(slot)
        assert isinstance(until(pool, lambda updates: len(updates) > 0)[-1], Progress)
        pool._slots[slot].stop_by = 0.0
        assert until(pool, ended(1))[-1] == Halted(KEY, 1)
        assert ready(pool) != [slot]
