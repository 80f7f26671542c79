"""The decision, over states that are written down."""

from dataclasses import replace

import pytest

from jobs.plan import AugmentPlan, DataPlan, DistillPlan, MemberPlan, ModelPlan
from orchestrator.cohort import Retry
from orchestrator.phases import Blame, Phase
from orchestrator.schedule import SlotState, Start, Stop, decide, expected_work, in_order, retries
from orchestrator.state import Job, Member, MemberKey


def member(job_id: int, index: int, phase: Phase = Phase.PENDING, work: float = 1.0) -> Member:
    key, attempt = MemberKey(job_id, index), 0 if phase is Phase.PENDING else 1
    return Member(key, phase, "", "", None, work, attempt, team_failures=0, cluster_failures=0)


def job(
    job_id: int,
    *phases: Phase,
    team: str = "",
    phase: Phase = Phase.PENDING,
    slot_seconds: float = 0.0,
    work: float = 1.0,
) -> Job:
    members = tuple(member(job_id, i, p, work) for i, p in enumerate(phases or (Phase.PENDING,)))
    return Job(
        id=job_id,
        uid=f"uid-{job_id}",
        cohort="c",
        team=team or f"team-{job_id}",
        revision=1,
        phase=phase,
        reason="",
        message="",
        blame=None,
        combine="mean",
        spent_bnn=0,
        submitted_at=float(job_id),
        started_at=None,
        ended_at=None,
        val_accuracy=None,
        val_accuracy_refit=None,
        slot_seconds=slot_seconds,
        members=members,
    )


def idle(*names: str) -> list[SlotState]:
    return [SlotState(name, None) for name in names]


P, R, S = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED


def test_free_slots_are_filled_and_no_more() -> None:
    actions = decide([job(1), job(2), job(3)], idle("a", "b"), "fair")
    assert actions == [Start(MemberKey(1, 0), "a"), Start(MemberKey(2, 0), "b")]


def test_nothing_to_do_without_free_slots_or_waiting_members() -> None:
    assert decide([job(1)], [SlotState("a", MemberKey(9, 0))], "fair") == [
        Stop(MemberKey(9, 0), "a")
    ]
    assert decide([job(1, S, phase=S)], idle("a"), "fair") == []
    assert decide([], idle("a"), "fair") == []


def test_an_ensemble_trains_together() -> None:
    begun = job(2, R, P, P, phase=R)
    actions = decide([job(1), begun], [*idle("a", "b"), SlotState("c", MemberKey(2, 0))], "fair")
    assert actions == [Start(MemberKey(2, 1), "a"), Start(MemberKey(2, 2), "b")]


def test_an_ensemble_goes_on_when_its_first_members_have_ended() -> None:
    begun = job(2, S, S, P, phase=R, slot_seconds=90)
    assert decide([job(1), begun], idle("a"), "fair") == [Start(MemberKey(2, 2), "a")]


def test_a_member_that_a_slot_is_busy_with_is_not_started_again() -> None:
    busy = [SlotState("a", MemberKey(1, 0)), *idle("b")]
    assert decide([job(1, P)], busy, "fair") == []


def test_what_runs_for_a_job_that_is_over_is_stopped() -> None:
    over = job(1, R, P, phase=Phase.FAILED)
    actions = decide([over, job(2)], [SlotState("a", MemberKey(1, 0)), *idle("b")], "fair")
    assert actions == [Stop(MemberKey(1, 0), "a"), Start(MemberKey(2, 0), "b")]


def test_fair_goes_by_slot_seconds_of_the_team_over_all_its_revisions() -> None:
    jobs = [
        job(1, S, team="busy", phase=S, slot_seconds=50),
        job(2, team="busy"),
        job(3, team="modest", slot_seconds=20),
        job(4, team="new"),
    ]
    assert [j.id for j in in_order(jobs, "fair")] == [4, 3, 2]


def test_longest_first_goes_by_work_that_is_left() -> None:
    jobs = [job(1, work=5), job(2, work=6), job(3, P, P, work=4)]
    assert [j.id for j in in_order(jobs, "longest-first")] == [3, 2, 1]


def test_ties_go_to_the_earlier_submission() -> None:
    late, early = replace(job(1), submitted_at=9.0), replace(job(2), submitted_at=3.0)
    for policy in ("fair", "longest-first"):
        assert [j.id for j in in_order([late, early], policy)] == [2, 1]


@pytest.mark.parametrize("policy", ["fair", "longest-first"])
def test_every_member_is_started_exactly_once_until_all_are_done(policy: str) -> None:
    jobs = {i: job(i, *([P] * (1 + i % 3)), work=i % 5) for i in range(1, 30)}
    slots: dict[str, MemberKey | None] = {"a": None, "b": None, "c": None}
    started: list[MemberKey] = []
    for _ in range(200):
        states = [SlotState(name, key) for name, key in slots.items()]
        for action in decide(list(jobs.values()), states, policy):
            assert isinstance(action, Start)
            started.append(action.key)
            slots[action.slot] = action.key
            _set_phase(jobs, action.key, R)
        for name in list(slots)[: 1 + len(started) % 3]:
            if (key := slots[name]) is not None:
                slots[name] = None
                _set_phase(jobs, key, S)
    assert sorted(started) == [m.key for j in jobs.values() for m in j.members]
    assert len(set(started)) == len(started)


def _set_phase(jobs: dict[int, Job], key: MemberKey, phase: Phase) -> None:
    members = list(jobs[key.job_id].members)
    members[key.index] = replace(members[key.index], phase=phase)
    ended = all(m.phase is S for m in members)
    jobs[key.job_id] = replace(
        jobs[key.job_id], members=tuple(members), phase=S if ended else Phase.RUNNING
    )


@pytest.mark.parametrize(
    ("blame", "team_failures", "cluster_failures", "expected"),
    [
        (Blame.TEAM, 0, 0, True),
        (Blame.TEAM, 1, 0, False),
        (Blame.TEAM, 0, 9, True),
        (Blame.CLUSTER, 9, 1, True),
        (Blame.CLUSTER, 0, 2, False),
    ],
)
def test_each_blame_has_a_limit_of_its_own(
    blame: Blame, team_failures: int, cluster_failures: int, expected: bool
) -> None:
    failed = replace(member(1, 0), team_failures=team_failures, cluster_failures=cluster_failures)
    assert retries(failed, blame, Retry(backoff_limit=1, cluster_retries=2)) is expected


def test_expected_work_grows_with_what_costs_time() -> None:
    data = DataPlan(fingerprint="f", classes=("a", "b"))
    base = MemberPlan(data=data)
    deeper = base.model_copy(update={"model": ModelPlan(turbo_blocks=1)})
    deepest = base.model_copy(update={"model": ModelPlan(turbo_blocks=2)})
    longer = base.model_copy(update={"epochs": 2 * base.epochs})
    works = [expected_work(plan, 1000) for plan in (base, longer, deeper, deepest)]
    assert works == sorted(works)
    assert works[1] == 2 * works[0]
    assert expected_work(base, 2000) == 2 * works[0]


def test_a_teacher_that_looks_at_every_batch_is_expected_to_cost_time() -> None:
    base = MemberPlan(data=DataPlan(fingerprint="f", classes=("a", "b")), distill=DistillPlan())
    alone = base.model_copy(update={"distill": None})
    flipped = base.model_copy(update={"augment": AugmentPlan(flip_horizontal_p=0.5)})
    assert expected_work(base, 1000) == expected_work(alone, 1000)
    assert expected_work(flipped, 1000) > 2 * expected_work(alone, 1000)
