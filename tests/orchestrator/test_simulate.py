"""A small simulation: all that `make simulate` shows, speed and size left out."""

import json

import pytest

from orchestrator.fair_queue import Policy
from orchestrator.phases import Phase
from tests.bench import simulate as bench
from tests.bench.simulate import broken, main, num_lost, simulate, too_slow
from tests.bench.workload import Workload
from tests.orchestrator.job_states import job, member

SIZE = {"members": 500, "teams": 100, "slots": 10}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("policy", ["fair", "longest-first"])
def test_no_promise_is_broken(policy: Policy, late: bool) -> None:
    figures = simulate(**SIZE, policy=policy, late=late, seed=1)
    assert broken(figures) == []
    assert figures["members"] == SIZE["members"]
    assert figures["failed_attempts"] > 0
    assert figures["ratio"] >= 1
    assert (figures["jobs"] > SIZE["teams"]) is late


def test_what_a_simulation_shows_depends_on_its_seed_alone() -> None:
    first, again, other = (
        simulate(**SIZE, policy="fair", late=True, seed=seed)["makespan_s"] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_queue_that_is_not_fair_is_found_out() -> None:
    figures = simulate(**SIZE, policy="longest-first", late=True, seed=1)
    assert any("went first" in line for line in broken(figures | {"policy": "fair"}))


def test_a_late_cohort_has_every_kind_of_end() -> None:
    workload = Workload(100, 500, 10, "fair", seed=3, late=True)
    workload.cluster.run()
    ends = {each.phase for each in workload.cluster.jobs.values()}
    assert ends >= {Phase.SUCCEEDED, Phase.CANCELLED, Phase.SUPERSEDED}
    assert workload.cluster.counts.stops > 0


def test_each_way_to_lose_a_member_is_counted() -> None:
    workload = Workload(2, 4, 2, "fair", seed=0, late=False)
    cluster = workload.cluster
    cluster.run()
    assert num_lost(cluster) == 0
    left_open = job(1001, Phase.PENDING, Phase.RUNNING)
    never_trained = job(1002, Phase.SUCCEEDED, phase=Phase.SUCCEEDED)
    left_out = job(1003, Phase.CANCELLED, phase=Phase.SUCCEEDED)
    explained = job(1004, Phase.CANCELLED, phase=Phase.CANCELLED)
    forgotten = member(1005, 0, Phase.CANCELLED, epoch=10)
    cluster.counts.trained.add(forgotten.key)
    trained_in_vain = job(1005, forgotten, phase=Phase.CANCELLED)
    for lost, each in ((2, left_open), (1, never_trained), (1, left_out), (1, trained_in_vain)):
        cluster.jobs = {each.id: each}
        assert num_lost(cluster) == lost
    cluster.jobs = {explained.id: explained}
    assert num_lost(cluster) == 0


def test_every_broken_promise_has_its_line() -> None:
    kept = simulate(**SIZE, policy="longest-first", late=False, seed=1)
    for wrong, line in (
        ({"lost": 3}, "3 members were lost"),
        ({"run_twice": 2}, "2 members were run twice"),
        ({"ratio": 1.03}, "makespan is 1.0300 of its bound"),
    ):
        (problem,) = broken(kept | wrong)
        assert line in problem
    assert too_slow(kept | {"decisions_per_s": 9_999}) == [
        "longest-first: 9999 decisions a second, not 10000"
    ]
    assert too_slow(kept | {"decisions_per_s": 10_000}) == []


def test_the_command_prints_json_and_ends_with_its_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["--members", "80", "--teams", "16", "--slots", "4", "--late"])
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert [(run["policy"], run["late"]) for run in shown["runs"]] == [("fair", True)]
    assert shown["memory"]["peak_bytes"] > 0
    assert code == bool(shown["problems"])
    assert err.splitlines() == [f"simulate: {line}" for line in shown["problems"]]


def test_memory_grows_with_the_members_and_no_faster() -> None:
    assert bench.memory(250, 50, 5, seed=0)["growth"] < bench.LARGEST_GROWTH


def test_numbers_that_do_not_fit_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--members", "5", "--teams", "6"])
    assert "a member for each team" in capsys.readouterr().err
