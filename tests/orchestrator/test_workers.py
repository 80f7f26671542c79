"""Members of several workers: admission, room for them, and real worker groups on Ray."""

import os
import pickle
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
from pydantic import ValidationError
from ray.util import placement_group, remove_placement_group

from jobs.errors import Diverged, WorkerLost
from jobs.images import LabelledImages
from jobs.plan import AugmentPlan, ModelPlan
from jobs.values import Place
from orchestrator.admission.admit import admit, member_plans
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.connection import num_slots_that_fit
from orchestrator.cluster.faults import MemberFailed, cause, judge, seen
from orchestrator.cluster.room import Room
from orchestrator.cluster.slots import RaySlots
from orchestrator.cluster.updates import Failed, Trained
from orchestrator.errors import ClusterError
from orchestrator.forecasting.capacity import Machine, fits, num_slots
from orchestrator.forecasting.costs import SLOT_BYTES, kind, memory_bytes, work
from orchestrator.phases import Blame, Reason
from orchestrator.schedule import SlotState
from tests.jobs.test_workers import train_together
from tests.orchestrator.commands import gamectl
from tests.orchestrator.custom_code import with_code
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
from tests.orchestrator.test_admission import cohort, found, loadout

WriteCohort = Callable[..., Path]
GIB = 1 << 30
PAIR = Resources(cpus=0.5, workers_per_member=2)
SHARED = PLAN.model_copy(
    update={
        "workers": 2,
        "epochs": 100,
        "model": ModelPlan(dropout=0.3),
        "augment": AugmentPlan(flip_horizontal_p=0.5),
    }
)


def test_a_batch_smaller_than_the_workers_is_refused_at_its_line() -> None:
    several = cohort(resources={"workersPerMember": 4}, limits={"batchSize": 64})
    members = [{"batchSize": 3}, {"batchSize": 4}]
    admission = admit(
        loadout({"item": "ensemble-enchanter", "members": members}, batchSize=2), several
    )
    at = ("spec", "purchases", 0, "members", 0, "batchSize")
    assert found(admission) == [(("spec", "batchSize"), "out-of-range"), (at, "out-of-range")]
    assert admission.problems[0].message == (
        "batchSize is 2; cohort default divides every batch among 4 workers "
        "(resources.workersPerMember): allowed is 4 to 64"
    )
    assert admit(loadout(batchSize=4), several).ok
    assert [plan.workers for plan in member_plans(loadout(), several)] == [4]


def test_a_teams_own_code_has_one_worker() -> None:
    several = cohort(resources={"workersPerMember": 2}, allowCustomCode=True)
    (problem,) = admit(with_code(), several).problems
    assert (problem.loc, problem.code) == (("spec", "purchases", 0, "item"), "code-not-allowed")
    assert "2 workers, and a team's own code runs in one" in problem.message
    # Where none may be brought at all, that is the one reason.
    (problem,) = admit(with_code(), cohort(resources={"workersPerMember": 2})).problems
    assert "runs no code of teams" in problem.message


@pytest.mark.parametrize("gpus", [0.5, 0.25])
def test_workers_of_a_member_do_not_share_a_gpu(gpus: float) -> None:
    of_each = f"2 workers a member with {gpus:g} of a GPU each; a member's workers cannot share"
    with pytest.raises(ValidationError, match=re.escape(of_each)):
        cohort(resources={"gpus": gpus, "workersPerMember": 2})
    assert Resources(gpus=1, workers_per_member=2).in_worker_group


def test_all_workers_of_a_member_have_to_fit() -> None:
    plan = PLAN.model_copy(update={"workers": 3})
    three = Resources(cpus=2, workers_per_member=3)
    node = Machine(cpus=4, gpus=0, memory_bytes=64 * GIB)
    assert fits(plan, 90, three, node) is None  # the others may be on other nodes
    reason = fits(plan, 90, three, replace(node, alone=True))
    assert reason == (
        "a member asks for 6 CPUs for its 3 workers and the largest node has 4: lower "
        "resources.cpus or resources.workersPerMember in the cohort's file, or join a larger "
        "cluster"
    )
    reason = fits(plan, 90, Resources(), node)
    assert reason is not None
    assert "submitted with 3 workers" in reason
    assert num_slots(three, replace(node, cpus=13)) == 2
    each = memory_bytes(plan, 90) - SLOT_BYTES
    assert memory_bytes(plan, 90, num_workers=3) == 3 * each + SLOT_BYTES
    tight = Machine(cpus=8, gpus=0, memory_bytes=2 * each + SLOT_BYTES, alone=True)
    assert "GiB of memory" in (fits(plan, 90, three, tight) or "")


def test_workers_are_faster_and_a_kind_of_their_own() -> None:
    shared = PLAN.model_copy(update={"workers": 2})
    assert work(PLAN, 900) / 2 < work(shared, 900) < work(PLAN, 900)
    assert kind(shared) == f"{kind(PLAN)} 2workers"


def test_what_happened_to_one_worker_is_told_not_that_the_others_missed_it() -> None:
    lost = MemberFailed(seen("training", WorkerLost(0, 2, "Connection closed by peer")))
    wild = MemberFailed(seen("training", Diverged(1, 2, 0.5)))
    assert pickle.loads(pickle.dumps(wild)).what == wild.what  # noqa: S301
    fault = judge(cause({0: lost, 1: wild}))
    assert (fault.reason, fault.blame) == (Reason.DIVERGED, Blame.TEAM)
    fault = judge(cause({0: lost, 1: RuntimeError("the actor died")}))
    assert (fault.reason, fault.blame) == (Reason.TRAINER_FAILED, Blame.CLUSTER)
    assert "RuntimeError: the actor died" in fault.message
    fault = judge(cause({0: lost}))
    assert (fault.reason, fault.blame) == (Reason.TRAINER_FAILED, Blame.CLUSTER)
    assert "worker 0 of the 2" in fault.message


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_slots_are_counted_by_all_the_workers_of_a_member() -> None:
    assert num_slots_that_fit(Resources(cpus=0.5, workers_per_member=2)) == 2
    assert num_slots_that_fit(Resources(cpus=1, workers_per_member=2)) == 1
    assert num_slots_that_fit(Resources(cpus=0.5, workers_per_member=3)) == 1
    with pytest.raises(
        ClusterError, match=r"each of its 3 workers; the cluster has room for 2 of them"
    ):
        num_slots_that_fit(Resources(cpus=1, workers_per_member=3))


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
