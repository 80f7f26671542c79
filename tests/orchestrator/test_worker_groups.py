"""Real worker groups on Ray: what begins, what is killed, and what comes back."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import safetensors.torch
import torch
from ray.util import placement_group, remove_placement_group

from jobs.images import LabelledImages
from jobs.plan import AugmentPlan, ModelPlan
from jobs.values import Place
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.room import Room
from orchestrator.cluster.slots import RaySlots
from orchestrator.cluster.train_loop import at_most_every
from orchestrator.cluster.updates import Failed, Trained
from orchestrator.phases import Blame, Reason
from orchestrator.schedule import SlotState
from tests.jobs.test_workers import train_together
from tests.orchestrator.commands import gamectl
from tests.orchestrator.pools import (
    KEY,
    PLAN,
    Inputs,
    call,
    ended,
    epochs_of,
    noise,
    ready,
    until,
)

WriteCohort = Callable[..., Path]
PAIR = Resources(cpus=0.5, workers_per_member=2)
SHARED = PLAN.model_copy(
    update={
        "workers": 2,
        "epochs": 100,
        "model": ModelPlan(dropout=0.3),
        "augment": AugmentPlan(flip_horizontal_p=0.5),
    }
)


def test_a_question_is_asked_again_only_after_a_while() -> None:
    now = 100.0
    answers = iter([False, True])
    ask = at_most_every(0.5, lambda: next(answers), lambda: now)
    assert [ask(), ask()] == [False, False]
    now += 0.5
    assert [ask(), ask()] == [True, True]


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    """90 images of noise in three classes."""
    return noise()


@pytest.fixture
def pool(images: LabelledImages) -> Iterator[RaySlots]:
    """A pool of one slot for members of two workers."""
    inputs = Inputs(images)
    pool = RaySlots(Room.fixed(1), PAIR, inputs.images, inputs.teaching)
    pool.want(1)
    yield pool
    pool.close()


class Others:
    """Somebody else's work."""


def workers_of(pool: RaySlots, slot: str) -> list[int]:
    """The processes of the slot's worker group: Ray's, on the slot's node."""
    raylet = call(pool, slot, lambda _: os.getppid())
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            title = (process / "cmdline").read_bytes()
        except (OSError, ProcessLookupError):
            continue  # it ended meanwhile
        if parent == raylet and b"RayTrainWorker" in title:
            found.append(int(process.name))
    return found


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_worker_is_the_clusters_fault_and_the_member_ends_with_the_same_bits(
    pool: RaySlots, images: LabelledImages, tmp_path: Path
) -> None:
    # What two plain processes give, undisturbed.
    _, [[whole], _] = train_together(
        tmp_path / "whole",
        images,
        [{"name": "whole", "plan": SHARED.model_dump(mode="json")}],
    )
    place = Place(str(tmp_path / "m" / "0.checkpoint"), str(tmp_path / "m" / "0-a1.log"))

    # 1. A worker is killed in the middle.
    (slot,) = ready(pool)
    pool.start(slot, KEY, 1, SHARED, place)
    before = until(pool, lambda updates: len(updates) > 0)
    pids = workers_of(pool, slot)
    assert len(pids) == 2
    os.kill(pids[1], signal.SIGKILL)
    before += until(pool, ended(1))
    failed = before[-1]
    assert isinstance(failed, Failed)
    assert (failed.fault.reason, failed.fault.blame) == (Reason.TRAINER_FAILED, Blame.CLUSTER)
    assert 1 <= max(epochs_of(before)) < 100

    # 2. The next attempt goes on from the checkpoint, to the same bits.
    (successor,) = ready(pool)
    log = Path(place.log).with_name("0-a2.log")
    pool.start(successor, KEY, 2, SHARED, replace(place, log=str(log)))
    after = until(pool, ended(1))
    trained = after[-1]
    assert isinstance(trained, Trained)
    expected = (tmp_path / "whole" / "whole.safetensors").read_bytes()
    assert trained.weights == expected
    assert epochs_of(after) == list(range(1, 101)) == [r["epoch"] for r in whole["history"]]
    resumed = re.search(r"resumed after epoch (\d+)", log.read_text())
    assert resumed is not None
    assert int(resumed[1]) >= max(epochs_of(before))
    assert "the first of 2 workers" in log.read_text()


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_member_has_begun_once_its_workers_have_their_cpus(
    pool: RaySlots, tmp_path: Path
) -> None:
    (slot,) = ready(pool)
    place = Place(str(tmp_path / "0.checkpoint"), str(tmp_path / "0-a1.log"))
    others = placement_group([{"CPU": 2}])
    ray.get(others.ready())
    pool.start(slot, KEY, 1, SHARED, place)
    assert pool.poll(3.0) == []
    assert pool.states() == [SlotState(slot, KEY, begun=False)]
    remove_placement_group(others)
    until(pool, lambda _: pool.states()[0].begun)
    assert isinstance(until(pool, ended(1))[-1], Trained)
    assert pool.states() == [SlotState(slot, None)]


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("waits", [True, False])
def test_a_slot_that_is_killed_gives_its_workers_cpus_back(
    waits: bool, images: LabelledImages, tmp_path: Path
) -> None:
    inputs = Inputs(images)
    pool = RaySlots(Room.fixed(1), PAIR, inputs.images, inputs.teaching, stops_within_s=2.0)
    pool.want(1)
    (slot,) = ready(pool)
    # An actor: placement groups of this job, which is the pool's too, are taken for its own.
    others = ray.remote(num_cpus=2 if waits else 0)(Others).remote()
    ray.get(others.__ray_ready__.remote())
    place = Place(str(tmp_path / "0.checkpoint"), str(tmp_path / "0-a1.log"))
    pool.start(slot, KEY, 1, SHARED.model_copy(update={"epochs": 10_000}), place)
    if waits:
        assert pool.poll(3.0) == []
        pool.stop(slot)
        until(pool, ended(1))
    else:
        until(pool, lambda updates: len(updates) > 0)
        os.kill(int(str(call(pool, slot, lambda _: os.getpid()))), signal.SIGKILL)
        until(pool, ended(1))
    ray.kill(others)
    everything = placement_group([{"CPU": 2}])
    assert ray.wait([everything.ready()], timeout=60)[0], "the CPUs never came back"
    remove_placement_group(everything)
    pool.close()


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_cohort_of_several_workers_gives_what_one_worker_gives(
    write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    loadouts = {"apes": "epochs: 3\nlearningRate: 0.05\npurchases: [{item: flip-trick}]\n"}
    alone, shared = (
        write_and_submit(write_cohort, loadouts, photos, home, name, spec)
        for name, spec in (
            ("alone", "  budget: 100\n"),
            ("shared", "  resources: {workersPerMember: 2}\n"),
        )
    )
    for key, value in alone.items():
        torch.testing.assert_close(shared[key], value, rtol=1e-3, atol=1e-5)
    assert any(not np.array_equal(shared[key], value) for key, value in alone.items())
    # Three would never get their CPUs.
    folder = write_cohort(loadouts, spec="  resources: {workersPerMember: 3}\n", name="large")
    done = gamectl("submit", folder, "--data", photos, "--cpus", "2")
    assert done.exit_code == 1
    assert "asks for 3 CPUs for its 3 workers" in done.stderr


def write_and_submit(
    write_cohort: WriteCohort,
    loadouts: dict[str, str],
    photos: Path,
    home: Path,
    name: str,
    spec: str,
) -> dict[str, torch.Tensor]:
    """The weights that a cohort's only member ends with."""
    done = gamectl("submit", write_cohort(loadouts, spec=spec, name=name), "--data", photos)
    assert done.exit_code == 0, done.output
    weights = next((home / "artifacts" / name / "apes").glob("r1-*/m0.safetensors"))
    return safetensors.torch.load_file(weights)
