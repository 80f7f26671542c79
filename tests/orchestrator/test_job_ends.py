"""The end of a controller and of a job: `lifecycle.interrupted`, `finished`, `given_up`."""

import pytest

from orchestrator import lifecycle
from orchestrator.lifecycle import finished, given_up
from orchestrator.moves import Change, Note, replace
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault
from tests.orchestrator.job_states import NOW, job, member, phases, reasons

P, R, S, F, C = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED
ENDS = [S, F, C, Phase.SUPERSEDED]
DIVERGED = Fault(Reason.DIVERGED, "nan", Blame.TEAM)


# --- interrupted ----------------------------------------------------------------------------------


def test_when_the_controller_ends_what_was_on_slots_waits_for_the_next() -> None:
    change = lifecycle.interrupted(job(1, member(1, 0, R, epoch=4), S, R), NOW)
    assert (change.job.phase, change.job.reason) == (P, Reason.INTERRUPTED)
    assert phases(change.job) == [P, S, P]
    it = change.job.members[0]
    assert (it.epoch, it.cluster_failures, it.not_before) == (4, 0, None)
    assert [closed.member for closed in change.closed] == [0, 2]
    assert change.job.slot_seconds == 2 * NOW
    assert (change.job.active_since, change.job.active_seconds) == (None, NOW - 1.0)


def test_what_waits_and_what_is_over_is_not_interrupted() -> None:
    waiting = job(1, P, P)
    assert lifecycle.interrupted(waiting, NOW) == Change(waiting)
    over_ = job(1, S, phase=S)
    assert lifecycle.interrupted(over_, NOW) == Change(over_)


def test_a_job_whose_members_are_trained_waits_for_nothing_but_its_combination() -> None:
    ready = job(1, S, S)
    after = lifecycle.interrupted(ready, NOW).job
    assert after == ready
    assert lifecycle.ready_to_finish(after)


@pytest.mark.parametrize("end", [F, C, Phase.SUPERSEDED])
def test_members_of_a_job_that_is_over_do_not_wait_again(end: Phase) -> None:
    after = lifecycle.interrupted(job(1, R, S, phase=end), NOW).job
    assert (after.phase, phases(after)) == (end, [C, S])


def test_an_interrupted_job_that_is_suspended_stays_so() -> None:
    after = lifecycle.interrupted(job(1, R, P, suspended=True), NOW).job
    assert (after.phase, after.reason) == (P, Reason.SUSPENDED)
    assert {it.reason for it in after.members} == {Reason.SUSPENDED}


# --- the end of a job -----------------------------------------------------------------------------


def test_a_job_is_finished_with_the_accuracy_of_its_combination() -> None:
    change = finished(job(1, S, S), 0.5, 0.75, NOW)
    after = change.job
    assert (after.phase, after.reason, after.ended_at) == (S, Reason.COMPLETED, NOW)
    assert (after.val_accuracy, after.val_accuracy_refit) == (0.5, 0.75)
    assert change.notes == (
        Note(None, Reason.COMPLETED, "all members trained, validation accuracy 50.0%"),
    )


def test_a_job_that_lost_members_says_which_and_why() -> None:
    lost = member(1, 1, F, message="nan")
    change = finished(job(1, S, lost, S, min_members=2), 0.5, None, NOW)
    assert (change.job.phase, change.job.reason) == (S, Reason.DEGRADED)
    assert change.job.message == "2 of 3 members; lost member 1: nan"
    assert change.notes[0].warning


@pytest.mark.parametrize("end", ENDS)
def test_what_is_over_is_not_ready_to_finish(end: Phase) -> None:
    assert not lifecycle.ready_to_finish(job(1, S, phase=end))


@pytest.mark.parametrize("open_", [P, R])
def test_a_job_with_an_open_member_is_not_ready_to_finish(open_: Phase) -> None:
    assert not lifecycle.ready_to_finish(job(1, S, open_))


def test_the_deadline_counts_time_on_slots_only() -> None:
    running = job(1, R, active_since=90.0, active_seconds=5.0)
    assert not lifecycle.overdue(running, 15.0, NOW)
    assert lifecycle.overdue(running, 14.9, NOW)
    assert not lifecycle.overdue(running, None, 1e9)
    assert not lifecycle.overdue(replace(running, phase=F), 1.0, NOW)
    waiting = job(1, P, active_seconds=99.0)
    assert not lifecycle.overdue(waiting, 1.0, NOW)


def test_a_job_that_is_given_up_ends_with_the_fault() -> None:
    fault = Fault(Reason.DEADLINE_EXCEEDED, "too long", Blame.TEAM)
    change = given_up(job(1, R, P, S), fault, NOW)
    assert (change.job.phase, change.job.reason, change.job.message, change.job.blame) == (
        F, Reason.DEADLINE_EXCEEDED, "too long", Blame.TEAM
    )  # fmt: skip
    assert phases(change.job) == [R, C, S]
    assert reasons(change) == [(None, Reason.DEADLINE_EXCEEDED)]


# --- what is not right yet ------------------------------------------------------------------------


def test_a_job_that_is_interrupted_between_two_members_tells_of_it() -> None:
    change = lifecycle.interrupted(job(1, S, P), NOW)
    assert change.job.phase is P
    assert change.notes
