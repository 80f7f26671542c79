"""Places in the queue and expected ends, as plain values."""

from dataclasses import replace

import pytest

from orchestrator.admission.cohort import CohortSpec
from orchestrator.forecasting.outlook import Outlook, outlook
from orchestrator.phases import Phase, Reason
from orchestrator.terminal import display
from tests.orchestrator.job_states import job, member

SPEC = CohortSpec()
NOW = 100.0


def running(job_id: int, epoch: int, seconds: float = 2.0) -> object:
    """A job with one member of ten epochs on a slot."""
    return job(job_id, member(job_id, 0, Phase.RUNNING, epoch=epoch, epoch_seconds=seconds))


def test_waiting_jobs_have_places_from_one_in_the_queues_order() -> None:
    jobs = [running(1, 5), job(2, submitted_at=9.0), job(3, submitted_at=4.0)]
    assert outlook(jobs, SPEC, NOW).positions == {3: 1, 2: 2}


def test_a_job_that_is_gated_is_in_nobodys_line() -> None:
    gated = job(2, submitted_at=4.0, reason=Reason.SCHEDULING_GATED)
    assert outlook([gated, job(3, submitted_at=9.0)], SPEC, NOW).positions == {3: 1}


def test_suspended_and_ended_jobs_have_neither_place_nor_end() -> None:
    jobs = [
        running(1, 5),
        job(2, suspended=True, reason=Reason.SUSPENDED),
        job(3, Phase.SUCCEEDED, phase=Phase.SUCCEEDED),
        job(4),
    ]
    ahead = outlook(jobs, SPEC, NOW, num_slots=1)
    assert ahead.positions == {4: 1}
    assert set(ahead.finish) == {1, 4}


def test_ends_follow_from_measured_epochs_and_the_queue() -> None:
    # Five epochs of 2 s are left, then ten more on the one slot.
    ahead = outlook([running(1, 5), job(2)], SPEC, NOW, num_slots=1)
    assert ahead.finish == pytest.approx({1: NOW + 10, 2: NOW + 30})
    assert ahead.end == pytest.approx(NOW + 30)
    on_two = outlook([running(1, 5), job(2)], SPEC, NOW, num_slots=2)
    assert on_two.finish == pytest.approx({1: NOW + 10, 2: NOW + 20})


@pytest.mark.parametrize("num_slots", [None, 0])
def test_nothing_is_expected_without_slots(num_slots: int | None) -> None:
    ahead = outlook([running(1, 5), job(2)], SPEC, NOW, num_slots)
    assert (ahead.positions, ahead.finish, ahead.end) == ({2: 1}, {}, None)


def test_nothing_is_expected_before_anything_was_measured() -> None:
    fresh = job(1, member(1, 0, Phase.RUNNING, epoch=0))
    ahead = outlook([fresh, job(2)], SPEC, NOW, num_slots=1)
    assert (ahead.finish, ahead.end) == ({}, None)


def test_how_an_expectation_reads() -> None:
    waiting = job(2)
    assert display.expected(waiting, Outlook(), NOW) == "-"
    assert display.expected(waiting, Outlook({2: 3}), NOW) == "#3"
    at = display.short_time(NOW + 60, NOW)
    assert display.expected(waiting, Outlook({2: 3}, {2: NOW + 60}), NOW) == f"#3, ~{at}"
    assert display.expected(running(2, 5), Outlook({2: 3}), NOW) == "-", "it had to wait before"
    assert display.expected(replace(waiting, phase=Phase.FAILED), Outlook(), NOW) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (41.6, "42s"),
        (60, "1m00s"),
        (3599.6, "1h00m"),
        (7500, "2h05m"),
        (90_000, "1d1h"),
    ],
)
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert display.duration(seconds) == text


def test_another_day_is_named() -> None:
    assert len(display.short_time(NOW + 86_400 * 3, NOW)) > len(display.short_time(NOW, NOW))
    assert display.clock_time(None, NOW) == ""


@pytest.mark.parametrize(
    ("shown", "fields"),
    [
        ("Running", {"phase": Phase.RUNNING, "reason": Reason.TRAINING}),
        ("Suspending", {"phase": Phase.RUNNING, "reason": Reason.TRAINING, "suspended": True}),
        ("Pending", {"phase": Phase.PENDING, "reason": Reason.QUEUED}),
        ("Suspended", {"phase": Phase.PENDING, "reason": Reason.SUSPENDED, "suspended": True}),
        ("Interrupted", {"phase": Phase.PENDING, "reason": Reason.INTERRUPTED}),
        ("Succeeded", {"phase": Phase.SUCCEEDED, "reason": Reason.COMPLETED}),
        ("Degraded", {"phase": Phase.SUCCEEDED, "reason": Reason.DEGRADED}),
        ("Failed", {"phase": Phase.FAILED, "reason": Reason.DEADLINE_EXCEEDED}),
        ("Cancelled", {"phase": Phase.CANCELLED, "reason": Reason.CANCELLED_BY_ORGANIZER}),
    ],
)
def test_the_word_for_a_state(shown: str, fields: dict[str, object]) -> None:
    assert display.status(replace(job(1), **fields)) == shown


def test_a_member_that_backs_off_and_one_that_was_lost_are_said() -> None:
    waits = member(1, 0, Phase.PENDING, reason=Reason.BACK_OFF)
    lost = member(1, 1, Phase.FAILED, reason=Reason.DIVERGED, epoch=3)
    goes_on = job(1, waits, lost, member(1, 2), phase=Phase.RUNNING, min_members=2)
    assert display.status(goes_on) == "BackOff"
    assert display.lost_note(goes_on) == "goes on with 2 of 3 members; lost: 1"
    assert display.epochs(goes_on) == "0/10 ✗3/10 0/10"
    assert display.epochs(goes_on, max_members=1) == "0/10 +2 ✗1"
    failed = replace(goes_on, phase=Phase.FAILED, reason=Reason.MEMBER_FAILED)
    assert (display.reason(failed), display.lost_note(failed)) == ("Diverged", "")
