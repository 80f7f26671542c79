"""What slots tell of a job: `lifecycle.started`, `trained`, `halted` and `failed`."""

import pytest

from orchestrator import lifecycle
from orchestrator.admission.cohort import Retry
from orchestrator.lifecycle import back_off_s, failed, halted, started, trained
from orchestrator.moves import Closed, Note
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault
from tests.orchestrator.job_states import NOW, job, member, phases, reasons

P, R, S, F, C = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED
LOST = Fault(Reason.SLOT_LOST, "the slot ended", Blame.CLUSTER)
DIVERGED = Fault(Reason.DIVERGED, "nan", Blame.TEAM)
NO_RETRY, RETRY = Retry(backoff_limit=0, cluster_retries=0), Retry(backoff_limit=2)


# --- started --------------------------------------------------------------------------------------


def test_the_first_start_begins_the_job() -> None:
    change = started(job(1, P, P), 1, "slot-a", "node-a", NOW)
    assert (change.opened, change.closed) == (1, ())
    assert change.notes == (Note(1, Reason.TRAINING, "attempt 1 started on slot-a"),)
    after = change.job
    assert (after.phase, after.reason) == (R, Reason.TRAINING)
    assert (after.started_at, after.active_since) == (NOW, NOW)
    assert phases(after) == [P, R]
    it = after.members[1]
    assert (it.attempt, it.slot, it.node, it.started_at) == (1, "slot-a", "node-a", NOW)


def test_a_later_start_keeps_when_the_job_began_and_counts_attempts() -> None:
    again = member(1, 0, attempt=3, started_at=5.0, ended_at=9.0, not_before=NOW, message="was")
    begun = job(1, again, R, started_at=2.0, active_since=4.0)
    after = started(begun, 0, "b", "n", NOW).job
    assert (after.started_at, after.active_since) == (2.0, 4.0)
    it = after.members[0]
    assert (it.attempt, it.started_at, it.ended_at, it.not_before) == (4, NOW, None, None)
    assert it.message == ""


def test_time_without_a_slot_is_not_active() -> None:
    waits = job(1, member(1, 0, attempt=1, started_at=0.0), active_seconds=7.0)
    assert waits.active_seconds_at(NOW) == 7.0
    after = started(waits, 0, "a", "n", NOW).job
    assert after.active_seconds_at(NOW + 3) == 10.0


def test_a_start_keeps_what_the_member_has_learnt() -> None:
    it = started(job(1, member(1, 0, epoch=4, epoch_seconds=2.0)), 0, "a", "n", NOW).job.members[0]
    assert (it.epoch, it.epoch_seconds) == (4, 2.0)


# --- trained, halted ------------------------------------------------------------------------------


def test_a_trained_member_leaves_its_slot_and_the_others_go_on() -> None:
    change = trained(job(1, R, R), 0, NOW)
    assert phases(change.job) == [S, R]
    assert change.job.phase is R
    assert change.job.members[0].ended_at == NOW
    assert change.job.slot_seconds == NOW
    assert change.job.active_since == 1.0
    assert change.closed == (Closed(0, Reason.COMPLETED),)
    assert reasons(change) == [(0, Reason.COMPLETED)]
    assert not lifecycle.ready_to_finish(change.job)


def test_the_last_trained_member_makes_the_job_ready_to_finish() -> None:
    after = trained(job(1, S, R, slot_seconds=11.0), 1, NOW).job
    assert (after.phase, after.active_since) == (R, None)
    assert after.active_seconds == NOW - 1.0
    assert after.slot_seconds == NOW + 11.0
    assert lifecycle.ready_to_finish(after)


@pytest.mark.parametrize("end", [F, C, Phase.SUPERSEDED])
def test_a_member_that_was_trained_before_it_could_be_stopped_stays_trained(end: Phase) -> None:
    change = trained(job(1, R, phase=end), 0, NOW)
    assert (phases(change.job), change.job.phase) == ([S], end)
    assert not lifecycle.ready_to_finish(change.job)


def test_a_halted_member_of_a_live_job_is_queued_again() -> None:
    change = halted(job(1, member(1, 0, R, epoch=4)), 0, NOW)
    it = change.job.members[0]
    assert (it.phase, it.reason, it.epoch, it.not_before) == (P, Reason.QUEUED, 4, None)
    assert change.closed == (Closed(0, Reason.QUEUED, "stopped after its last whole epoch"),)
    assert reasons(change) == [(0, Reason.QUEUED)]


@pytest.mark.parametrize("end", [F, C, Phase.SUPERSEDED])
def test_a_halted_member_of_a_job_that_is_over_is_cancelled(end: Phase) -> None:
    change = halted(job(1, R, S, phase=end), 0, NOW)
    assert (phases(change.job), change.job.phase) == ([C, S], end)
    assert change.job.members[0].reason == Reason.JOB_ENDED
    assert reasons(change) == [(0, Reason.JOB_ENDED)]


def test_the_last_halted_member_of_a_suspended_job_makes_it_pending() -> None:
    suspended = job(1, R, R, P, S, suspended=True)
    first = halted(suspended, 0, NOW).job
    assert (first.phase, phases(first)) == (R, [P, R, P, S])
    second = halted(first, 1, NOW).job
    assert (second.phase, second.reason) == (P, Reason.SUSPENDED)
    assert phases(second) == [P, P, P, S]
    assert {it.reason for it in second.members[:3]} == {Reason.SUSPENDED}
    assert second.active_since is None


# --- failed ---------------------------------------------------------------------------------------


def test_a_failed_member_backs_off_and_its_job_goes_on() -> None:
    change = failed(job(1, member(1, 0, R, epoch=3), R), 0, LOST, Retry(), NOW)
    it = change.job.members[0]
    assert (it.phase, it.reason, it.message) == (P, Reason.BACK_OFF, "the slot ended")
    assert (it.not_before, it.cluster_failures, it.safe_epoch) == (NOW + 1, 1, 3)
    assert change.job.phase is R
    assert change.closed == (Closed(0, Reason.SLOT_LOST, "the slot ended", Blame.CLUSTER),)
    assert [note.warning for note in change.notes] == [True]


@pytest.mark.parametrize(
    ("fault", "team", "cluster", "again"),
    [
        (DIVERGED, 0, 0, True),
        (DIVERGED, 1, 99, True),
        (DIVERGED, 2, 0, False),
        (LOST, 99, 0, True),
        (LOST, 0, 2, True),
        (LOST, 0, 3, False),
    ],
)
def test_each_blame_has_a_limit_of_its_own(
    fault: Fault, team: int, cluster: int, again: bool
) -> None:
    retry = Retry(backoff_limit=2, cluster_retries=3)
    it = member(1, 0, R, team_failures=team, cluster_failures=cluster)
    after = failed(job(1, it), 0, fault, retry, NOW).job
    assert after.members[0].phase is (P if again else F)
    assert after.phase is (R if again else F)


def test_without_retries_the_first_failure_is_the_last() -> None:
    for fault in (DIVERGED, LOST):
        assert failed(job(1, R), 0, fault, NO_RETRY, NOW).job.phase is F


def test_losses_count_only_in_a_row_without_an_epoch_between_them() -> None:
    stuck = job(1, member(1, 0, R, epoch=3, safe_epoch=3, cluster_failures=9))
    assert failed(stuck, 0, LOST, Retry(), NOW).job.members[0].cluster_failures == 10
    further = job(1, member(1, 0, R, epoch=4, safe_epoch=3, cluster_failures=9))
    it = failed(further, 0, LOST, Retry(), NOW).job.members[0]
    assert (it.cluster_failures, it.safe_epoch) == (1, 4)


def test_the_teams_failures_add_up_whatever_the_progress() -> None:
    further = job(1, member(1, 0, R, epoch=4, team_failures=2))
    assert failed(further, 0, DIVERGED, RETRY, NOW).job.members[0].team_failures == 3


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (100, 60), (1001, 60)]
)
def test_the_back_off_doubles_up_to_a_minute(failures: int, wait_s: float) -> None:
    assert back_off_s(failures) == wait_s


def test_the_loss_of_a_member_that_is_needed_fails_the_job() -> None:
    change = failed(job(1, R, P, R, S), 0, DIVERGED, NO_RETRY, NOW)
    assert (change.job.phase, change.job.reason) == (F, Reason.MEMBER_FAILED)
    assert (change.job.blame, change.job.ended_at) == (Blame.TEAM, NOW)
    assert change.job.message == "member 0: nan"
    assert phases(change.job) == [F, C, R, S]
    assert change.job.members[1].reason == Reason.JOB_ENDED
    assert reasons(change) == [(0, Reason.DIVERGED), (None, Reason.MEMBER_FAILED)]


def test_a_job_of_one_member_fails_with_that_members_message() -> None:
    assert failed(job(1, R), 0, DIVERGED, NO_RETRY, NOW).job.message == "nan"


def test_a_team_is_to_blame_where_too_many_members_are_lost_by_itself() -> None:
    """Of three, two are enough: one by the cluster and one by the team is the cluster's fault."""
    by_cluster = member(1, 0, F, blame=Blame.CLUSTER)
    on_slot = member(1, 1, R, started_at=NOW)
    ended = failed(job(1, by_cluster, on_slot, S, min_members=2), 1, DIVERGED, Retry(), NOW).job
    assert (ended.phase, ended.blame) == (F, Blame.CLUSTER)
    assert ended.message == "member 1: nan; but for what the cluster lost, enough would be left"
    by_team = member(1, 0, F, blame=Blame.TEAM)
    ended = failed(job(1, by_team, on_slot, S, min_members=2), 1, DIVERGED, Retry(), NOW).job
    assert (ended.phase, ended.blame, ended.message) == (F, Blame.TEAM, "member 1: nan")


def test_a_member_that_can_be_spared_is_lost_alone() -> None:
    tolerant = job(1, R, R, R, min_members=2)
    change = failed(tolerant, 0, DIVERGED, NO_RETRY, NOW)
    assert (change.job.phase, phases(change.job)) == (R, [F, R, R])
    assert reasons(change) == [(0, Reason.DIVERGED), (None, Reason.DEGRADED)]
    assert failed(change.job, 1, DIVERGED, NO_RETRY, NOW).job.phase is F


def test_losing_the_last_open_member_leaves_the_others_to_be_combined() -> None:
    after = failed(job(1, S, R, min_members=1), 1, DIVERGED, NO_RETRY, NOW).job
    assert lifecycle.ready_to_finish(after)


def test_a_failure_in_a_suspended_job_waits_for_the_resume() -> None:
    after = failed(job(1, R, suspended=True), 0, LOST, Retry(), NOW).job
    it = after.members[0]
    assert (after.phase, it.phase, it.reason) == (P, P, Reason.SUSPENDED)
    assert (it.not_before, it.cluster_failures) == (None, 1)


@pytest.mark.parametrize("end", [F, C, Phase.SUPERSEDED])
def test_a_failure_in_a_job_that_is_over_changes_only_the_member(end: Phase) -> None:
    change = failed(job(1, R, phase=end, message="why"), 0, DIVERGED, RETRY, NOW)
    assert (change.job.phase, change.job.message) == (end, "why")
    it = change.job.members[0]
    assert (it.phase, it.team_failures) == (C, 0)
    assert change.closed == (Closed(0, Reason.DIVERGED, "nan", Blame.TEAM),)
    assert change.job.slot_seconds == NOW


# --- suspended or over in the meantime ------------------------------------------------------------


def test_a_suspended_job_is_pending_once_its_last_member_on_a_slot_is_trained() -> None:
    after = trained(job(1, R, P, suspended=True), 0, NOW).job
    assert (after.phase, after.reason) == (P, Reason.SUSPENDED)


def test_a_failure_in_a_job_that_is_over_is_told() -> None:
    assert failed(job(1, R, phase=C), 0, LOST, Retry(), NOW).notes


def test_a_suspended_job_whose_members_are_all_trained_is_left_to_be_combined() -> None:
    after = trained(job(1, S, R, suspended=True), 1, NOW).job
    assert after.phase is R
    assert lifecycle.ready_to_finish(after)
