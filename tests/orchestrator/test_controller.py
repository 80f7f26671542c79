"""The reconcile loop over a real store, with slots that only pretend to train."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.cluster.updates import Failed, Trained, Update
from orchestrator.errors import LeaseLost
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, MemberKey
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job
from tests.orchestrator.pretended import DIVERGED, LOST, RIGHT, PretendedSlots, Run, hand_in, trains


def test_a_cohort_runs_to_its_end_on_all_slots(store: Store, run: Run) -> None:
    hand_in(store, new_job("a", num_members=3), new_job("b"), new_job("c", num_members=2))
    pool = PretendedSlots()
    jobs = run(pool)
    assert [job.phase for job in jobs] == [Phase.SUCCEEDED] * 3
    assert [job.val_accuracy for job in jobs] == [1.0] * 3
    assert len(pool.started) == len(set(pool.started)) == 6
    assert pool.most_busy == 2
    lease = store.lease("small")
    assert lease is not None
    assert lease.expires_at == 0, "it was given up"


def test_a_member_that_raises_fails_its_job_and_the_cohort_goes_on(store: Store, run: Run) -> None:
    hand_in(store, new_job("bad", num_members=4), new_job("good"))

    def outcome(key: MemberKey, attempt: int) -> Update | None:
        if key == MemberKey(1, 0):
            return Failed(key, attempt, Fault(Reason.ERROR, "ValueError: no", Blame.TEAM))
        return None if key.job_id == 1 else trains(key, attempt)

    pool = PretendedSlots(outcome=outcome)
    bad, good = run(pool)
    assert (bad.phase, bad.message) == (Phase.FAILED, "member 0: ValueError: no")
    # Member 1 was on a slot and was stopped; 2 and 3 never started.
    assert [m.phase for m in bad.members] == [Phase.FAILED, *[Phase.CANCELLED] * 3]
    assert [m.attempt for m in bad.members] == [1, 1, 0, 0]
    assert good.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("losses", [1, 3])
def test_a_lost_slot_costs_an_attempt_and_not_the_job(store: Store, run: Run, losses: int) -> None:
    hand_in(store, new_job("a"))

    def outcome(key: MemberKey, attempt: int) -> Update:
        if attempt <= losses:
            return Failed(key, attempt, LOST)
        return trains(key, attempt)

    (job,) = run(PretendedSlots(outcome=outcome))
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, losses + 1)
    warnings = [e for e in store.events("small") if e.kind == "Warning"]
    assert len(warnings) == losses


def test_the_cluster_is_given_up_after_its_retries(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"), retry={"clusterRetries": 2})

    def outcome(key: MemberKey, attempt: int) -> Update:
        return Failed(key, attempt, LOST)

    (job,) = run(PretendedSlots(outcome=outcome))
    assert (job.phase, job.blame, job.members[0].attempt) == (Phase.FAILED, Blame.CLUSTER, 3)


def test_a_team_fault_is_retried_only_where_the_organizer_says_so(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"), retry={"backoffLimit": 1})

    def outcome(key: MemberKey, attempt: int) -> Update:
        if attempt == 1:
            return Failed(key, attempt, DIVERGED)
        return trains(key, attempt)

    (job,) = run(PretendedSlots(outcome=outcome))
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, 2)


def test_what_an_earlier_controller_left_open_is_run_again(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))
    dead = store.acquire("small", "host:1", 100.0, ttl_s=30)
    dead.start(MemberKey(1, 0), "slot-9", "node", 101.0)
    (job,) = run(PretendedSlots())
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, 2)
    reasons = [e.reason for e in store.events("small") if e.member == 0]
    assert Reason.INTERRUPTED in reasons


def test_an_interrupted_controller_leaves_a_state_to_go_on_from(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"), new_job("b"))

    def interrupted(key: MemberKey, attempt: int) -> Update:
        if key.job_id == 2:
            raise KeyboardInterrupt
        return trains(key, attempt)

    with pytest.raises(KeyboardInterrupt):
        run(PretendedSlots(outcome=interrupted))
    phases = {job.team: job.members[0].phase for job in store.jobs("small")}
    assert phases["b"] is Phase.PENDING
    jobs = run(PretendedSlots())
    assert [job.phase for job in jobs] == [Phase.SUCCEEDED] * 2


def test_a_controller_that_was_taken_over_stops_writing(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))

    def outcome(key: MemberKey, attempt: int) -> Update:
        store.acquire("small", "other", 1e12, ttl_s=30)
        return trains(key, attempt)

    with pytest.raises(LeaseLost):
        run(PretendedSlots(outcome=outcome))
    (job,) = store.jobs("small")
    assert (job.phase, job.reason) == (Phase.PENDING, Reason.INTERRUPTED)


def test_a_result_of_a_superseded_job_does_not_bring_it_back(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))

    def outcome(key: MemberKey, attempt: int) -> Update:
        if key.job_id == 1:
            hand_in(store, new_job("a", seed=7), at=500.0)
        return trains(key, attempt)

    old, new = run(PretendedSlots(outcome=outcome))
    assert (old.phase, new.phase) == (Phase.SUPERSEDED, Phase.SUCCEEDED)


def test_members_are_combined_as_the_job_says(store: Store, run: Run) -> None:
    hand_in(store, new_job("a", num_members=2))

    def outcome(key: MemberKey, attempt: int) -> Update:
        # Member 0 is sure and wrong everywhere, member 1 right with little confidence.
        wrong = np.roll(RIGHT, 1, axis=1)
        probs = wrong if key.index == 0 else (0.4 * RIGHT + 0.2).astype(np.float32)
        return Trained(key, attempt, b"weights", probs)

    (job,) = run(PretendedSlots(outcome=outcome))
    assert job.val_accuracy == 0.0


def test_the_state_is_shown_after_every_round(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))
    seen: list[Phase] = []
    run(PretendedSlots(), on_change=lambda jobs: seen.append(jobs[0].phase))
    assert seen[0] is Phase.RUNNING
    assert seen[-1] is Phase.SUCCEEDED


def test_results_that_cannot_be_kept_fail_that_job_alone(
    store: Store, run: Run, tmp_path: Path
) -> None:
    hand_in(store, new_job("a"), new_job("b"), retry={"clusterRetries": 1})
    # A file stands where the folder of team a's results would go, as on a full or broken disk.
    (tmp_path / "artifacts" / "small").mkdir(parents=True)
    (tmp_path / "artifacts" / "small" / "a").write_text("in the way")
    lost, kept = run(PretendedSlots())
    assert (lost.phase, lost.blame, kept.phase) == (Phase.FAILED, Blame.CLUSTER, Phase.SUCCEEDED)
    assert "its results cannot be kept" in lost.message
    assert len(store.epochs(lost.id, 0, 1)) == 2
    # Every attempt got to its last epoch, so the cluster's count began anew each time but the last.
    assert lost.members[0].attempt >= 2
