"""Members of several workers: admission, and room for them."""

import pickle
import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from jobs.errors import Diverged, WorkerLost
from orchestrator.admission.admit import admit, member_plans
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.connection import num_slots_that_fit
from orchestrator.cluster.faults import MemberFailed, cause, judge, seen
from orchestrator.errors import ClusterError
from orchestrator.forecasting.capacity import Machine, fits, num_slots
from orchestrator.forecasting.costs import SLOT_BYTES, kind, memory_bytes, work
from orchestrator.phases import Blame, Reason
from tests.orchestrator.custom_code import with_code
from tests.orchestrator.pools import PLAN
from tests.orchestrator.test_admission import cohort, found, loadout

GIB = 1 << 30


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
