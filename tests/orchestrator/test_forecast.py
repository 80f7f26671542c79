"""The forecast: against states that are written down, and against a cohort that is played out."""

import random

import pytest

from orchestrator.admission.cohort import Cohort, CohortSpec, Queue
from orchestrator.forecasting.forecast import Forecast, forecast
from orchestrator.forecasting.speeds import Speeds
from orchestrator.phases import Phase
from orchestrator.state import Job, Member, MemberKey
from tests.bench.fake_cluster import FakeCluster, Odds
from tests.orchestrator.job_states import job, member

P, R, S = Phase.PENDING, Phase.RUNNING, Phase.SUCCEEDED
NOW = 100.0
FAIR, LONGEST = Queue(), Queue(policy="longest-first")


def work(of: Member) -> float:
    return of.work


def expected(*jobs: Job, num_slots: int, rules: Queue = FAIR) -> Forecast:
    return forecast(jobs, num_slots, work, rules, NOW)


def test_members_follow_each_other_on_the_slots_there_are() -> None:
    jobs = [job(1, P, P, work=10), job(2, work=5), job(3, work=1)]
    assert expected(*jobs, num_slots=1).finish == {1: NOW + 20, 2: NOW + 25, 3: NOW + 26}
    assert expected(*jobs, num_slots=2).finish == {1: NOW + 10, 2: NOW + 15, 3: NOW + 11}
    assert expected(*jobs, num_slots=2).end == NOW + 15


def test_the_policy_decides_who_is_first() -> None:
    jobs = [job(1, work=1), job(2, work=7)]
    assert expected(*jobs, num_slots=1, rules=LONGEST).finish == {2: NOW + 7, 1: NOW + 8}


def test_what_runs_keeps_its_slot_for_its_rest() -> None:
    running = job(1, member(1, 0, R, work=4), member(1, 1, S, work=90))
    assert expected(running, job(2, work=2), num_slots=1).finish == {1: NOW + 4, 2: NOW + 6}


def test_more_may_run_than_there_are_slots_left() -> None:
    running = job(1, R, R, work=4)
    assert expected(running, job(2, work=2), num_slots=1).finish == {1: NOW + 4, 2: NOW + 6}


def test_what_teams_have_used_counts() -> None:
    past = job(1, S, phase=S, team="a", slot_seconds=9.0)
    jobs = [past, job(2, team="a", revision=2, work=3), job(3, work=2)]
    assert expected(*jobs, num_slots=1).finish == {3: NOW + 2, 2: NOW + 5}


@pytest.mark.parametrize(
    "gone",
    [job(1, R, phase=Phase.CANCELLED, work=50), job(1, R, P, suspended=True, work=50)],
)
def test_jobs_that_are_over_or_suspended_have_no_end_and_free_their_slots(gone: Job) -> None:
    assert expected(gone, job(2, work=2), num_slots=1).finish == {2: NOW + 2}


def test_a_member_that_backs_off_starts_when_it_may() -> None:
    waits = job(1, member(1, 0, attempt=1, not_before=NOW + 30, work=5))
    assert expected(waits, num_slots=1).finish == {1: NOW + 35}
    assert expected(waits, job(2, work=10), num_slots=1).finish == {1: NOW + 35, 2: NOW + 10}
    assert expected(waits, job(2, work=40), num_slots=1).finish == {1: NOW + 45, 2: NOW + 40}


def test_a_job_whose_members_are_trained_is_finished_now() -> None:
    assert expected(job(1, S, S), num_slots=1).finish == {1: NOW}


def test_without_slots_nothing_is_promised() -> None:
    nothing = expected(job(1), num_slots=0)
    assert (nothing.finish, nothing.end) == ({}, None)
    assert expected(num_slots=3).end is None


def drawn_cohort(draw: random.Random, policy: str) -> tuple[FakeCluster, CohortSpec]:
    """40 jobs of four kinds whose real speeds are up to twice what was expected, or half."""
    factors = {"plain": 0.5, "deep": 2.0, "student": 1.5, "wide": 0.8}
    jobs: list[Job] = []
    epoch_s: dict[MemberKey, float] = {}
    for job_id in range(1, 41):
        members = []
        for index in range(draw.randint(1, 3)):
            kind, epochs = draw.choice(list(factors)), draw.randint(8, 40)
            each = member(
                job_id, index, work=epochs * draw.uniform(0.3, 2), kind=kind, epochs=epochs
            )
            epoch_s[each.key] = each.work / epochs * factors[kind] * draw.gauss(1, 0.1)
            members.append(each)
        jobs.append(job(job_id, *members, submitted_at=0.0))
    spec = Cohort.model_validate({"spec": {"queue": {"policy": policy}}}).spec
    cluster = FakeCluster(spec, 3, epoch_s, Odds())
    for each_job in jobs:
        cluster.submit(each_job)
    return cluster, spec


@pytest.mark.parametrize("policy", ["fair", "longest-first"])
@pytest.mark.parametrize("seed", range(5))
def test_at_half_time_each_waiting_job_ends_within_a_quarter_of_what_is_expected(
    seed: int, policy: str
) -> None:
    whole, _ = drawn_cohort(random.Random(seed), policy)  # noqa: S311
    whole.run()
    half, spec = drawn_cohort(random.Random(seed), policy)  # noqa: S311
    half.run(until=whole.now / 2)
    jobs = half.observed()
    waiting = [each for each in jobs if each.phase is P]
    assert len(waiting) > 5
    speeds = Speeds.of(each for of in jobs for each in of.members)
    ahead = forecast(jobs, 3, speeds.seconds, spec.queue, half.now)
    actual = {each.id: each.ended_at for each in whole.jobs.values()}
    assert ahead.end == pytest.approx(whole.now, rel=0.25)
    for each in waiting:
        assert ahead.finish[each.id] == pytest.approx(actual[each.id], rel=0.25)


def test_speeds_that_are_not_corrected_miss_that_mark() -> None:
    whole, _ = drawn_cohort(random.Random(0), "longest-first")  # noqa: S311
    whole.run()
    half, spec = drawn_cohort(random.Random(0), "longest-first")  # noqa: S311
    half.run(until=whole.now / 2)
    ahead = forecast(half.observed(), 3, lambda each: 2 * each.work, spec.queue, half.now)
    actual = {each.id: each.ended_at for each in whole.jobs.values()}
    assert any(ahead.finish[i] != pytest.approx(actual[i], rel=0.25) for i in ahead.finish)
