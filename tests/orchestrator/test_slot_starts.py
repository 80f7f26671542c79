"""Slots that do not get ready: their GPU does not work, or they hang."""

import threading
from contextlib import closing

import pytest
import ray
import torch

from orchestrator.admission.cohort import Resources
from orchestrator.cluster import slots
from orchestrator.cluster.room import Room
from orchestrator.cluster.slot import Slot
from orchestrator.cluster.slots import RaySlots
from orchestrator.errors import ClusterError
from tests.orchestrator.pools import Inputs, noise, ready, until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """90 images of noise in three classes, in one size."""
    return Inputs(noise())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_slot_is_not_ready_where_its_gpu_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: ["0"])
    with pytest.raises((RuntimeError, AssertionError), match=r"NVIDIA|CUDA"):
        Slot().ready()


def test_slots_that_never_get_ready_end_the_pool_unless_others_are_at_work(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fine(Slot):
        def ready(self) -> str:
            return "here"

    class Broken(Slot):
        def ready(self) -> str:
            raise RuntimeError("Found no NVIDIA driver\nCompile with something")

    monkeypatch.setattr(slots, "Slot", Broken)
    told = "^3 slots in a row died before they were ready: Found no NVIDIA driver; `gamectl doctor"
    few = Resources(cpus=0.5)
    with closing(RaySlots(Room.fixed(2), few, inputs.images, inputs.teaching)) as pool:
        pool.want(1)
        with pytest.raises(ClusterError, match=told):
            until(pool, lambda _: False)

    class Hanging(Slot):
        def ready(self) -> str:
            threading.Event().wait()
            return "never"

    monkeypatch.setattr(slots, "Slot", Hanging)
    room = Room.fixed(2)
    with closing(RaySlots(room, few, inputs.images, inputs.teaching, starts_within_s=0.0)) as pool:
        pool.want(1)
        with pytest.raises(ClusterError, match="ready: not ready after 0 s"):
            until(pool, lambda _: False)

    monkeypatch.setattr(slots, "Slot", Fine)
    with closing(RaySlots(Room.fixed(2), few, inputs.images, inputs.teaching)) as pool:
        pool.want(1)
        (fine,) = ready(pool)
        monkeypatch.setattr(slots, "Slot", Broken)
        pool.want(2)
        until(pool, lambda _: pool._num_made > 5)
        assert [state.name for state in pool.states()] == [fine]
