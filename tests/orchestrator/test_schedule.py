"""The decision, over states that are written down."""

import pytest

from orchestrator.fair_queue import Policy
from orchestrator.phases import Phase
from orchestrator.schedule import SlotState, Start, Stop, decide
from orchestrator.state import Job, MemberKey
from tests.orchestrator.job_states import NOW, job, queue_of

P, R, S = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED


def idle(*names: str) -> list[SlotState]:
    return [SlotState(name, None) for name in names]


def decided(*jobs: Job, slots: list[SlotState], policy: Policy = "fair") -> list[Start | Stop]:
    return decide(queue_of(*jobs, policy=policy), {j.id: j for j in jobs}, slots, NOW)


def test_free_slots_are_filled_and_no_more() -> None:
    actions = decided(job(1), job(2), job(3), slots=idle("a", "b"))
    assert actions == [Start(MemberKey(1, 0), "a"), Start(MemberKey(2, 0), "b")]


def test_nothing_to_do_without_free_slots_or_waiting_members() -> None:
    running = job(1, R)
    assert decided(running, job(2), slots=[SlotState("a", MemberKey(1, 0))]) == []
    assert decided(job(1, S, phase=S), slots=idle("a")) == []
    assert decided(slots=idle("a")) == []


@pytest.mark.parametrize(
    "unneeded",
    [
        job(1, R, phase=Phase.FAILED),
        job(1, R, phase=Phase.CANCELLED),
        job(1, R, phase=Phase.SUPERSEDED),
        job(1, R, suspended=True),
        job(1, S, R),
    ],
)
def test_a_slot_whose_member_nobody_needs_is_stopped(unneeded: Job) -> None:
    busy = [SlotState("a", MemberKey(1, 0))]
    assert decided(unneeded, slots=busy) == [Stop(MemberKey(1, 0), "a")]


def test_a_slot_whose_job_is_unknown_is_stopped() -> None:
    assert decided(slots=[SlotState("a", MemberKey(9, 0))]) == [Stop(MemberKey(9, 0), "a")]


def test_stopping_keeps_no_free_slot_waiting() -> None:
    over = job(1, R, phase=Phase.FAILED)
    actions = decided(over, job(2), slots=[SlotState("a", MemberKey(1, 0)), *idle("b")])
    assert actions == [Stop(MemberKey(1, 0), "a"), Start(MemberKey(2, 0), "b")]


def test_a_member_that_a_slot_is_still_busy_with_waits_for_that_slot() -> None:
    again = job(1, P, P)
    queue, jobs = queue_of(again, job(2)), {1: again, 2: job(2)}
    busy = SlotState("a", MemberKey(1, 0))
    assert decide(queue, jobs, [busy, *idle("b")], NOW) == [
        Stop(MemberKey(1, 0), "a"),
        Start(MemberKey(1, 1), "b"),
    ]
    assert decide(queue, jobs, idle("a"), NOW) == [Start(MemberKey(1, 0), "a")]


def test_a_decision_over_the_slots_that_changed_knows_of_the_others() -> None:
    jobs = {1: job(1), 2: job(2)}
    queue = queue_of(*jobs.values())
    assert decide(queue, jobs, idle("b"), NOW, on_slots={MemberKey(1, 0)}) == [
        Start(MemberKey(2, 0), "b")
    ]
