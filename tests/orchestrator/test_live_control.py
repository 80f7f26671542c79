"""A cohort that changes while it runs: operations, late teams, lost members, inputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from jobs.errors import DataError
from jobs.plan import MemberPlan
from orchestrator.cluster.updates import Failed, Trained, Update
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import MemberKey
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job
from tests.orchestrator.pretended import (
    DIVERGED,
    RIGHT,
    PretendedSlots,
    Run,
    hand_in,
    phases,
    train_and_die,
    trains,
)


def test_a_cancelled_member_is_stopped_and_the_others_go_on(store: Store, run: Run) -> None:
    hand_in(store, new_job("a", num_members=2), new_job("b"))

    def outcome(key: MemberKey, attempt: int) -> Update | None:
        return None if key.job_id == 1 else trains(key, attempt)

    def cancel(poll: int) -> None:
        if poll == 3:
            store.cancel("small", "a", 1100.0)

    pool = PretendedSlots(outcome=outcome, on_poll=cancel)
    a, b = run(pool)
    assert (a.phase, a.reason) == (Phase.CANCELLED, Reason.CANCELLED_BY_ORGANIZER)
    assert phases(a) == [Phase.CANCELLED] * 2
    assert b.phase is Phase.SUCCEEDED
    assert pool.polls < 10


def test_a_suspended_job_whose_members_were_all_trained_still_gets_its_result(
    store: Store, run: Run, tmp_path: Path
) -> None:
    hand_in(store, new_job("a"))
    train_and_die(store, tmp_path / "artifacts")
    store.suspend("small", "a", 110.0)
    assert store.is_left("small")
    assert store.jobs("small")[0].is_left
    (job,) = run(PretendedSlots())
    assert (job.phase, job.val_accuracy) == (Phase.SUCCEEDED, 1.0)
    assert not store.is_left("small")


def test_a_suspended_job_leaves_its_slots_and_the_controller_ends_without_it(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a", num_members=2), new_job("b"))
    calls = {3: lambda: store.suspend("small", "a", 1100.0)}

    def outcome(key: MemberKey, attempt: int) -> Update | None:
        return None if key.job_id == 1 else trains(key, attempt)

    a, b = run(PretendedSlots(outcome=outcome, on_poll=lambda n: calls.get(n, lambda: None)()))
    assert (a.phase, a.reason, phases(a)) == (
        Phase.PENDING,
        Reason.SUSPENDED,
        [Phase.PENDING] * 2,
    )
    assert b.phase is Phase.SUCCEEDED
    store.resume("small", "a", 1200.0)
    a, b = run(PretendedSlots())
    assert a.phase is Phase.SUCCEEDED
    assert [m.attempt for m in a.members] == [2, 2]


def test_teams_may_join_while_the_cohort_runs(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))
    calls = {2: lambda: hand_in(store, new_job("late", num_members=2), at=1100.0)}
    pool = PretendedSlots(on_poll=lambda n: calls.get(n, lambda: None)())
    jobs = run(pool)
    assert {job.team: job.phase for job in jobs} == dict.fromkeys(["a", "late"], Phase.SUCCEEDED)
    assert max(pool.wanted) == 2


def test_a_failed_job_is_retried_and_keeps_the_members_that_were_trained(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a", num_members=2), new_job("b"))

    def outcome(key: MemberKey, attempt: int) -> Update:
        if key == MemberKey(1, 1) and attempt == 1:
            return Failed(key, attempt, DIVERGED)
        return trains(key, attempt)

    a, _ = run(PretendedSlots(outcome=outcome))
    assert (a.phase, a.blame) == (Phase.FAILED, Blame.TEAM)
    store.retry("small", "a", 1200.0)
    a, _ = run(PretendedSlots(outcome=outcome))
    assert a.phase is Phase.SUCCEEDED
    assert [m.attempt for m in a.members] == [1, 2]


def test_a_job_that_lost_members_succeeds_with_the_others(store: Store, run: Run) -> None:
    hand_in(store, replace(new_job("a", num_members=3), min_members=2))

    def outcome(key: MemberKey, attempt: int) -> Update:
        if key.index == 1:
            return Failed(key, attempt, DIVERGED)
        # Member 0 is right about every image; the others about none, but with less confidence.
        wrong = (0.4 * np.roll(RIGHT, 1, axis=1) + 0.2).astype(np.float32)
        return Trained(key, attempt, b"weights", RIGHT if key.index == 0 else wrong)

    (job,) = run(PretendedSlots(outcome=outcome))
    assert (job.phase, job.reason) == (Phase.SUCCEEDED, Reason.DEGRADED)
    assert job.val_accuracy == 1.0
    assert "2 of 3 members" in job.message
    assert "nan" in job.message


def test_too_few_members_left_fail_the_job(store: Store, run: Run) -> None:
    hand_in(store, replace(new_job("a", num_members=3), min_members=2))

    def outcome(key: MemberKey, attempt: int) -> Update:
        return Failed(key, attempt, DIVERGED) if key.index > 0 else trains(key, attempt)

    (job,) = run(PretendedSlots(outcome=outcome))
    assert (job.phase, job.reason, job.blame) == (Phase.FAILED, Reason.MEMBER_FAILED, Blame.TEAM)


def test_a_job_runs_no_longer_than_its_deadline(store: Store, run: Run) -> None:
    hand_in(store, new_job("slow"), new_job("quick"), limits={"activeDeadlineSeconds": 60.0})

    def outcome(key: MemberKey, attempt: int) -> Update | None:
        return None if key.job_id == 1 else trains(key, attempt)

    slow, quick = run(PretendedSlots(outcome=outcome))
    assert (slow.phase, slow.reason, slow.blame) == (
        Phase.FAILED,
        Reason.DEADLINE_EXCEEDED,
        Blame.TEAM,
    )
    assert slow.active_seconds > 60
    assert phases(slow) == [Phase.CANCELLED]
    assert quick.phase is Phase.SUCCEEDED


def test_members_that_an_earlier_controller_trained_are_combined(
    store: Store, run: Run, tmp_path: Path
) -> None:
    hand_in(store, new_job("a"))
    train_and_die(store, tmp_path / "artifacts")
    pool = PretendedSlots()
    (job,) = run(pool)
    assert (job.phase, job.val_accuracy, pool.started) == (Phase.SUCCEEDED, 1.0, [])


def test_a_job_that_no_node_can_hold_is_refused_and_not_left_waiting(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("big", epochs=99), new_job("small"))
    pool = PretendedSlots()
    big, small = run(pool, unfit=lambda plan: "memory: too big" if plan.epochs == 99 else None)
    assert (big.phase, big.reason) == (Phase.FAILED, Reason.UNSCHEDULABLE)
    assert "memory" in big.message
    assert small.phase is Phase.SUCCEEDED
    assert pool.started == [(MemberKey(2, 0), 1)]


def test_inputs_that_cannot_be_read_fail_the_attempt_and_not_the_controller(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a", seed=7), new_job("b"), retry={"clusterRetries": 0})

    class WithoutImages(PretendedSlots):
        def prepare(self, plan: MemberPlan) -> None:
            if plan.seed == 7:
                raise DataError("the photos are gone")

    a, b = run(WithoutImages())
    assert (a.phase, a.blame) == (Phase.FAILED, Blame.CLUSTER)
    assert "the photos are gone" in a.message
    assert b.phase is Phase.SUCCEEDED
