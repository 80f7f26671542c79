"""The small steps of `moves`, and random lives of a job made of all of them."""

import random
from collections.abc import Callable
from dataclasses import fields
from dataclasses import replace as replaced_by_dataclasses
from typing import Any

import pytest

from orchestrator import lifecycle, wishes
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


# --- any life -------------------------------------------------------------------------------------


def any_change(it: Job, draw: random.Random, now: float) -> Change:
    """Something that can happen to the job, or be wanted of it, or nothing."""
    if draw.random() < 0.15:
        every_wish: list[Callable[[], Change]] = [
            lambda: wishes.cancelled(it, now),
            lambda: wishes.suspended(it),
            lambda: wishes.resumed(it, now),
            lambda: wishes.retried(it, now),
            lambda: wishes.prioritized(it, draw.choice([50, 100, 200])),
        ]
        try:
            return draw.choice(every_wish)()
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


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_the_rules_hold(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    now, it, opened = NOW, job(1, P, P, P, min_members=draw.randint(1, 3)), set[int]()
    on_slots_s = 0.0
    for _ in range(150):
        step_s = draw.choice([0.0, 0.5, 8.0])
        on_slots_s += step_s * sum(one.phase is R for one in it.members)
        now += step_s
        change = any_change(it, draw, now)
        after = change.job
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
        assert it.slot_seconds_at(now) == pytest.approx(on_slots_s)
        assert it.phase.terminal == (it.ended_at is not None)
        if it.phase.terminal:
            assert not any(one.phase is P for one in it.members)
        if it.phase is S:
            assert it.members_trained >= it.min_members
