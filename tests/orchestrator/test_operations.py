"""What the organizer and the teams want of a job: `operations`."""

from dataclasses import replace

import pytest

from orchestrator import operations
from orchestrator.errors import Refused
from orchestrator.lifecycle import halted
from orchestrator.moves import Change
from orchestrator.phases import Blame, Phase, Reason
from tests.orchestrator.job_states import NOW, job, member, phases, reasons

P, R, S, F, C = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED
ENDS = [S, F, C, Phase.SUPERSEDED]


# --- operations -----------------------------------------------------------------------------------


def test_a_newer_revision_ends_the_job() -> None:
    change = operations.superseded(job(1, R, P), 2, NOW)
    assert (change.job.phase, change.job.ended_at) == (Phase.SUPERSEDED, NOW)
    assert phases(change.job) == [R, C]
    assert change.job.message == "revision 2 was handed in"


def test_cancel_ends_a_live_job_once() -> None:
    change = operations.cancelled(job(1, R, P, S), NOW)
    assert (change.job.phase, phases(change.job)) == (C, [R, C, S])
    assert operations.cancelled(change.job, NOW + 1) == Change(change.job)


@pytest.mark.parametrize("end", [S, F, Phase.SUPERSEDED])
def test_a_job_that_is_over_is_not_cancelled(end: Phase) -> None:
    with pytest.raises(Refused, match=f"cannot cancel the job of team 'team-1'.*{end}"):
        operations.cancelled(job(1, S, phase=end), NOW)


def test_a_waiting_job_is_suspended_at_once() -> None:
    backing_off = member(1, 0, reason=Reason.BACK_OFF, not_before=NOW)
    after = operations.suspended(job(1, backing_off, P)).job
    assert (after.suspended, after.phase, after.reason) == (True, P, Reason.SUSPENDED)
    assert {(it.reason, it.not_before) for it in after.members} == {(Reason.SUSPENDED, None)}
    assert operations.suspended(after) == Change(after)


def test_a_running_job_is_suspended_once_its_members_have_stopped() -> None:
    after = operations.suspended(job(1, R, P)).job
    assert (after.suspended, after.phase) == (True, R)
    assert halted(after, 0, NOW).job.phase is P


def test_resume_queues_the_job_anew() -> None:
    after = operations.resumed(operations.suspended(job(1, P, S)).job, NOW).job
    assert (after.suspended, after.phase, after.reason) == (False, P, Reason.QUEUED)
    assert (after.queued_at, after.members[0].reason) == (NOW, Reason.QUEUED)
    assert operations.resumed(after, NOW + 1) == Change(after)


def test_resume_before_the_members_have_stopped_lets_the_job_run_on() -> None:
    after = operations.resumed(operations.suspended(job(1, R, P)).job, NOW).job
    assert (after.suspended, after.phase, phases(after)) == (False, R, [R, P])
    stopped = halted(after, 0, NOW).job
    assert (stopped.phase, phases(stopped)) == (R, [P, P])


@pytest.mark.parametrize("end", [F, C])
def test_retry_forgets_failures_and_keeps_what_was_learnt(end: Phase) -> None:
    lost = member(1, 0, F, team_failures=1, cluster_failures=2, epoch=4, message="nan")
    ended = job(
        1, lost, S, member(1, 2, C), phase=end, message="why", blame=Blame.TEAM, ended_at=50.0,
        active_seconds=9.0, suspended=True,
    )  # fmt: skip
    change = operations.retried(ended, NOW)
    after = change.job
    assert (after.phase, after.reason, after.message, after.blame) == (P, Reason.QUEUED, "", None)
    assert (after.ended_at, after.queued_at, after.suspended) == (None, NOW, False)
    assert phases(after) == [P, S, P]
    it = after.members[0]
    assert (it.team_failures, it.cluster_failures, it.epoch, it.message) == (0, 0, 4, "")
    assert after.active_seconds_at(NOW + 3) == 0.0
    assert reasons(change) == [(None, Reason.RETRIED)]


def test_a_job_that_is_retried_before_its_members_have_stopped_is_running_still() -> None:
    on_slot = member(1, 0, R, team_failures=1, cluster_failures=7)
    cancelled = operations.cancelled(job(1, on_slot, P, active_since=10.0), NOW).job
    after = operations.retried(cancelled, NOW + 1).job
    assert (after.members[0].team_failures, after.members[0].cluster_failures) == (0, 0)
    assert (after.phase, after.reason, phases(after)) == (R, Reason.TRAINING, [R, P])
    assert after.active_seconds_at(NOW + 3) == 2.0
    stopped = halted(after, 0, NOW + 2).job
    assert phases(stopped) == [P, P]


@pytest.mark.parametrize("phase", [P, R, S, Phase.SUPERSEDED])
def test_only_what_failed_or_was_cancelled_is_retried(phase: Phase) -> None:
    with pytest.raises(Refused, match=f"nothing to retry.*{phase}"):
        operations.retried(job(1, phase=phase), NOW)


@pytest.mark.parametrize("waits", [P, R])
def test_a_job_that_is_held_back_is_not_retried_but_resumed(waits: Phase) -> None:
    held = operations.suspended(job(1, waits)).job
    with pytest.raises(Refused, match="is suspended; `gamectl resume team-1 --cohort"):
        operations.retried(held, NOW)


def test_a_withdrawn_team_comes_back_with_its_loadout_and_not_with_a_retry() -> None:
    gone = operations.withdrawn(job(1, P), NOW).job
    as_stored = replace(gone, reason=str(gone.reason))
    for operate in (operations.cancelled, operations.resumed, operations.retried):
        with pytest.raises(Refused, match="submitted once more, brings the team back"):
            operate(as_stored, NOW)


def test_a_priority_is_changed_once() -> None:
    change = operations.prioritized(job(1), 300)
    assert change.job.priority == 300
    assert change.notes[0].message == "priority changed from 100 to 300"
    assert operations.prioritized(change.job, 300) == Change(change.job)


@pytest.mark.parametrize("priority", [0, -1, operations.HIGHEST_PRIORITY + 1])
def test_a_priority_that_no_weight_can_be_made_of_is_refused(priority: int) -> None:
    with pytest.raises(Refused, match=f"priority is {priority}; allowed is 1 to"):
        operations.prioritized(job(1), priority)


@pytest.mark.parametrize("end", ENDS)
def test_operations_on_a_job_that_is_over_are_refused(end: Phase) -> None:
    ended = job(1, S, phase=end)
    with pytest.raises(Refused, match="cannot suspend"):
        operations.suspended(ended)
    with pytest.raises(Refused, match="cannot resume"):
        operations.resumed(ended, NOW)
    for priority in (7, ended.priority):
        with pytest.raises(Refused, match="cannot prioritize"):
            operations.prioritized(ended, priority)


# --- what is not right yet ------------------------------------------------------------------------


def test_a_job_that_ended_while_suspended_is_not_suspended_again() -> None:
    ended = operations.cancelled(operations.suspended(job(1)).job, NOW).job
    with pytest.raises(Refused, match="cannot suspend"):
        operations.suspended(ended)
