"""Jobs whose images or teacher are still being fetched: they wait, and nobody else does."""

from itertools import groupby
from pathlib import Path

from jobs.plan import MemberPlan
from orchestrator.phases import Phase, Reason
from orchestrator.results.truth import ValidationTruth
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job
from tests.orchestrator.pretended import (
    TRUTH,
    PretendedSlots,
    Run,
    hand_in,
    train_and_die,
    trains,
)


def test_a_job_whose_images_are_being_fetched_keeps_nobody_waiting(store: Store, run: Run) -> None:
    hand_in(store, new_job("a", seed=7, num_members=2), new_job("b"), new_job("c"))
    judged: list[int] = []

    def unfit(plan: MemberPlan) -> None:
        judged.append(plan.seed)

    pool = PretendedSlots(names=("slot-0",))
    jobs = run(pool, fetched=lambda plan: plan.seed not in (7, 8) or pool.polls > 8, unfit=unfit)
    assert [job.phase for job in jobs] == [Phase.SUCCEEDED] * 3
    assert [key.job_id for key, _ in pool.started] == [2, 3, 1, 1]
    assert judged[-2:] == [7, 8]  # what it takes depends on how many images there are


def test_a_job_that_is_gated_for_long_says_so_and_others_do_not(store: Store, run: Run) -> None:
    hand_in(store, new_job("a", seed=7), new_job("b", seed=8))
    seen: list[str] = []

    def look(_poll: int) -> None:
        a, b = store.jobs("small")
        assert b.reason != Reason.SCHEDULING_GATED
        seen.append(a.reason)

    pool = PretendedSlots(on_poll=look)
    here = {7: lambda: pool.polls > 12, 8: lambda: pool.polls > 1}
    jobs = run(pool, fetched=lambda plan: here[plan.seed]())
    assert [job.phase for job in jobs] == [Phase.SUCCEEDED] * 2
    assert [reason for reason, _ in groupby(seen)] == ["Queued", "SchedulingGated", "Training"]
    told = [event for event in store.events("small") if event.reason == Reason.SCHEDULING_GATED]
    assert [(event.team, event.member) for event in told] == [("a", None)]


def test_a_gate_that_its_controller_left_shut_is_opened_by_the_next(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))
    ledger = store.acquire("small", "gone", 100.0, ttl_s=1.0)
    assert ledger.gate(1, True, 100.0).reason == Reason.SCHEDULING_GATED
    (job,) = run(PretendedSlots())
    assert (job.phase, job.reason, job.message) == (Phase.SUCCEEDED, Reason.COMPLETED, "")


def test_a_job_that_was_cancelled_meanwhile_is_not_gated(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"), new_job("b"))
    ledger = store.acquire("small", "me", 100.0, ttl_s=1.0)
    store.cancel("small", "a", 101.0)
    store.suspend("small", "b", 101.0)
    assert ledger.gate(1, True, 102.0).phase is Phase.CANCELLED
    assert ledger.gate(2, True, 102.0).reason == Reason.SUSPENDED
    assert ledger.gate(1, False, 102.0).reason == Reason.CANCELLED_BY_ORGANIZER


def test_nobody_is_judged_before_its_images_are_here(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"), new_job("b", seed=7))
    store.suspend("small", "b", 200.0)
    fetched: list[int] = []
    judged: list[int] = []

    def unfit(plan: MemberPlan) -> None:
        assert plan.seed in fetched
        judged.append(plan.seed)

    def is_here(plan: MemberPlan) -> bool:
        fetched.append(plan.seed)
        return True

    calls = {6: lambda: store.resume("small", "b", 1200.0)}
    pool = PretendedSlots(
        outcome=lambda key, attempt: trains(key, attempt) if pool.polls > 8 else None,
        on_poll=lambda n: calls.get(n, lambda: None)(),
    )
    jobs = run(pool, fetched=is_here, unfit=unfit)
    assert [job.phase for job in jobs] == [Phase.SUCCEEDED] * 2
    assert judged[-1] == 7


def test_a_job_that_is_gated_can_be_cancelled(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))

    def cancel(poll: int) -> None:
        if poll == 3:
            store.cancel("small", "a", 1100.0)

    (job,) = run(pool := PretendedSlots(on_poll=cancel), fetched=lambda _: False)
    assert (job.phase, pool.started) == (Phase.CANCELLED, [])


def test_what_could_not_be_had_is_fetched_again_before_the_next_attempt_begins(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"), retry={"clusterRetries": 1})
    pool = PretendedSlots()
    asked: list[int] = []

    def fetched(_: MemberPlan) -> bool:
        """Whatever is decided, what was found has become too old by the time a slot is free."""
        asked.append(pool.polls)
        return len(asked) not in (2, 3)

    (job,) = run(pool, fetched=fetched)
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, 1)
    assert len(pool.started) == 1
    assert asked[3] > asked[1]


def test_members_that_were_trained_are_combined_once_their_images_are_here_again(
    store: Store, run: Run, tmp_path: Path
) -> None:
    hand_in(store, new_job("a"))
    train_and_die(store, tmp_path / "artifacts")
    pool = PretendedSlots()
    seen: list[int] = []

    def truth(_: object) -> ValidationTruth:
        seen.append(pool.polls)
        return TRUTH

    (job,) = run(pool, fetched=lambda _: pool.polls > 4, truth=truth)
    assert (job.phase, job.val_accuracy, pool.started) == (Phase.SUCCEEDED, 1.0, [])
    assert seen == [5]
