"""The small steps of `moves`, and random lives of a job made of all of them."""

import random
from collections.abc import Callable
from dataclasses import fields
from dataclasses import replace as replaced_by_dataclasses
from typing import Any

import pytest

from orchestrator import lifecycle, operations
from orchestrator.admission.cohort import Retry
from orchestrator.errors import Refused
from orchestrator.lifecycle import failed, finished, halted, started, trained
from orchestrator.moves import Change, off_slot, over, replace, requeued, settled
from orchestrator.phases import TRANSITIONS, Blame, Phase, Reason
from orchestrator.state import Fault, Job, Member
from tests.orchestrator.job_states import NOW, job, member, phases

P, R, S, F, C = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED
LOST = Fault(Reason.SLOT_LOST, "the slot ended", Blame.CLUSTER)
DIVERGED = Fault(Reason.DIVERGED, "nan", Blame.TEAM)


# --- steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [job(1, P, R), member(1, 0, R, epoch=3)])
def test_replace_does_what_that_of_dataclasses_does(value: Job | Member) -> None:
    for field in fields(value):
        other: dict[str, Any] = {field.name: 77}
        ours, theirs = replace(value, **other), replaced_by_dataclasses(value, **other)
        assert ours == theirs
        assert hash(replace(value)) == hash(value)
    assert getattr(value, "phase", None) is not F


def test_a_clock_that_goes_back_takes_no_slot_seconds_away() -> None:
    before = job(1, member(1, 0, R, started_at=NOW + 5), slot_seconds=3.0)
    after = off_slot(before, replace(before.members[0], phase=P), NOW)
    assert after.slot_seconds == 3.0


def test_a_member_on_no_slot_cannot_leave_one() -> None:
    with pytest.raises(AssertionError, match="on no slot"):
        off_slot(job(1), member(1, 0), NOW)


def test_the_end_of_a_job_leaves_what_has_ended_and_what_runs() -> None:
    after = over(job(1, P, R, S, F), C, Reason.CANCELLED_BY_ORGANIZER, "text", NOW)
    assert phases(after) == [C, R, S, F]


@pytest.mark.parametrize(
    "unsettled", [job(1, P), job(1, R, suspended=True), job(1, S, phase=S, suspended=True)]
)
def test_only_suspended_live_jobs_without_slots_settle(unsettled: Job) -> None:
    assert settled(unsettled) is unsettled


def test_requeueing_can_be_limited_to_some_reasons() -> None:
    held, other = member(1, 0, reason=Reason.SUSPENDED), member(1, 1, reason=Reason.INTERRUPTED)
    after = requeued(job(1, held, other), Reason.QUEUED, only=(Reason.SUSPENDED,))
    assert [it.reason for it in after.members] == [Reason.QUEUED, Reason.INTERRUPTED]


def test_what_the_cluster_lost_is_charged_to_nobody() -> None:
    on_slots = [member(1, index, R, started_at=NOW) for index in range(2)]
    before = job(1, *on_slots, active_since=NOW, active_seconds=5.0, slot_seconds=7.0)
    other = lifecycle.failed(before, 0, LOST, Retry(), NOW + 60).job
    assert (other.slot_seconds, other.active_seconds_at(NOW + 60)) == (7.0, 65.0), "it trains on"
    none = lifecycle.failed(other, 1, LOST, Retry(), NOW + 90).job
    assert (none.slot_seconds, none.active_seconds, none.active_since) == (7.0, 5.0, None)
    trained = lifecycle.trained(before, 0, NOW + 60).job
    rest = lifecycle.failed(trained, 1, LOST, Retry(), NOW + 90).job
    assert (rest.slot_seconds, rest.active_seconds) == (67.0, 65.0), "one has used its 60 s"
    spent = [replace(it, cluster_failures=99) for it in before.members]
    degraded = replace(before, members=tuple(spent), min_members=1)
    degraded = lifecycle.failed(degraded, 0, LOST, Retry(), NOW + 60).job
    degraded = lifecycle.failed(degraded, 1, LOST, Retry(), NOW + 90).job
    assert (degraded.slot_seconds, degraded.active_seconds) == (7.0, 5.0), "lost for good"
    own = lifecycle.failed(before, 0, DIVERGED, Retry(backoff_limit=1), NOW + 60).job
    assert (own.slot_seconds, own.active_seconds_at(NOW + 60)) == (67.0, 65.0)


def test_of_a_lost_members_time_only_what_others_used_is_charged() -> None:
    alone = member(1, 0, R, started_at=NOW)
    later = member(1, 1, S, started_at=NOW + 60, ended_at=NOW + 90)
    first = job(1, alone, later, active_since=NOW)
    after = lifecycle.failed(first, 0, LOST, Retry(), NOW + 100).job
    assert (after.active_seconds, after.active_since) == (30.0, None)
    beside = member(1, 2, R, started_at=NOW + 80)
    still = replace(first, members=(alone, later, beside))
    after = lifecycle.failed(still, 0, LOST, Retry(), NOW + 100).job
    assert after.active_seconds_at(NOW + 100) == 40.0, "from 60 s on there was always another one"
    retried = replace(still, active_since=NOW + 70)
    after = lifecycle.failed(retried, 0, LOST, Retry(), NOW + 100).job
    assert after.active_seconds_at(NOW + 100) == 30.0, "before that it counted nothing"


def test_a_result_that_was_lost_costs_no_time() -> None:
    done = member(1, 0, S, started_at=NOW - 40, ended_at=NOW, epoch=10, safe_epoch=10)
    before = job(1, done, slot_seconds=45.0, active_seconds=41.0)
    after = lifecycle.results_lost(before, 0, "gone", Retry(), NOW + 1).job
    assert (after.slot_seconds, after.active_seconds) == (5.0, 1.0)
    assert after.members[0].epoch == 0, "it begins anew"
    pair = replace(before, members=(done, member(1, 1, R, started_at=NOW - 40)))
    after = lifecycle.results_lost(pair, 0, "gone", Retry(), NOW + 1).job
    assert (after.slot_seconds, after.active_seconds) == (5.0, 41.0), "the other one used it"


def test_a_job_that_is_over_takes_no_more_time() -> None:
    """Its controller may be gone, and with it the slot that its member was on."""
    cut_short = job(1, member(1, 0, R, started_at=NOW), active_since=NOW)
    ended = operations.cancelled(cut_short, NOW + 10).job
    assert ended.active_seconds_at(NOW + 86_400) == ended.slot_seconds_at(NOW + 86_400) == 10


# --- any life -------------------------------------------------------------------------------------


def any_change(it: Job, draw: random.Random, now: float) -> Change:
    """Something that can happen to the job, or be wanted of it, or nothing."""
    if draw.random() < 0.15:
        every_operation: list[Callable[[], Change]] = [
            lambda: operations.cancelled(it, now),
            lambda: operations.suspended(it),
            lambda: operations.resumed(it, now),
            lambda: operations.retried(it, now),
            lambda: operations.prioritized(it, draw.choice([50, 100, 200])),
        ]
        try:
            return draw.choice(every_operation)()
        except Refused:
            return Change(it)
    if lifecycle.ready_to_finish(it) and draw.random() < 0.5:
        return finished(it, 0.5, None, now)
    if draw.random() < 0.05 and R in phases(it):
        return lifecycle.interrupted(it, now)
    index = draw.randrange(len(it.members))
    if it.members[index].phase is P and not it.phase.terminal and not it.suspended:
        return started(it, index, "slot", "node", now)
    if it.members[index].phase is not R:
        return Change(it)
    fault = draw.choice([LOST, DIVERGED])
    every_end: list[Callable[[], Change]] = [
        lambda: trained(it, index, now),
        lambda: halted(it, index, now),
        lambda: failed(it, index, fault, Retry(backoff_limit=1), now),
    ]
    return draw.choice(every_end)()


def started_at(it: Member) -> float:
    assert it.started_at is not None
    return it.started_at


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_the_rules_hold(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    now, it, opened = NOW, job(1, P, P, P, min_members=draw.randint(1, 3)), set[int]()
    charged_s = 0.0
    for _ in range(150):
        now += draw.choice([0.0, 0.5, 8.0])
        change = any_change(it, draw, now)
        after = change.job
        ended = [closed for closed in change.closed if closed.blame is not Blame.CLUSTER]
        charged_s += sum(now - started_at(it.members[closed.member]) for closed in ended)
        assert after.phase is it.phase or after.phase in TRANSITIONS[it.phase]
        for old, new in zip(it.members, after.members, strict=True):
            assert new.phase is old.phase or new.phase in TRANSITIONS[old.phase]
            assert (new.index in {c.member for c in change.closed}) == (
                old.phase is R is not new.phase
            )
        assert after.phase is it.phase or change.notes or change.closed
        opened -= {closed.member for closed in change.closed}
        if change.opened is not None:
            assert change.opened not in opened
            opened.add(change.opened)
        it = after
        assert opened == {one.index for one in it.members if one.phase is R}
        assert (it.active_since is not None) == bool(opened)
        until = now if it.ended_at is None else it.ended_at
        running_s = [until - started_at(it.members[index]) for index in opened]
        assert it.slot_seconds_at(now) == pytest.approx(charged_s + sum(running_s))
        assert 0 <= it.active_seconds_at(now) <= now - NOW
        assert it.phase.terminal == (it.ended_at is not None)
        if it.phase.terminal:
            assert not any(one.phase is P for one in it.members)
        if it.phase is S:
            assert it.members_trained >= it.min_members
