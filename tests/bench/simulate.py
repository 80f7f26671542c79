"""`make simulate`: the queue, the decision and the state machine over 50,000 members, in seconds.

In: how many members, teams and slots, a seed. Out: JSON on stdout with what was measured, and exit
code 1 with a line on stderr for every promise that was not kept: no member lost or run twice,
first slots in the order that `fair` says, the makespan of `longest-first`, decisions a second,
memory linear in members. It runs on a fake clock and fake slots (`fake_cluster`), on one core.
"""

import argparse
import json
import sys
import time
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from orchestrator.fair_queue import Policy
from orchestrator.phases import Phase
from tests.bench.fake_cluster import FakeCluster
from tests.bench.workload import Workload, useful_s

LEAST_DECISIONS_PER_S = 10_000
LARGEST_RATIO = 1.02
"""Makespan of `longest-first` without late submissions, over its lower bound."""
LARGEST_GROWTH = 2.2
"""Of memory, with twice the members, teams and slots."""
ROUNDING_S = 1e-3

Figures = dict[str, Any]


def simulate(
    members: int, teams: int, slots: int, policy: Policy, late: bool, seed: int
) -> Figures:
    """Runs one random cohort to its end and returns what was seen; keys carry their units."""
    began = time.process_time()
    workload = Workload(teams, members, slots, policy, seed, late)
    cluster = workload.cluster
    cluster.run()
    loop_s = time.process_time() - began - cluster.fairness.cpu_s
    counts, fairness = cluster.counts, cluster.fairness
    useful = useful_s(cluster, workload.epoch_s)
    bound_s = max(*useful, sum(useful) / slots)
    decisions = counts.starts + counts.stops
    return {
        "policy": policy,
        "late": late,
        "seed": seed,
        "members": len(workload.epoch_s),
        "teams": teams,
        "slots": slots,
        "jobs": len(cluster.jobs),
        "decisions": decisions,
        "decisions_per_s": round(decisions / counts.decision_s),
        "decisions_per_s_of_whole_loop": round(decisions / loop_s),
        "failed_attempts": counts.failures,
        "lost": num_lost(cluster),
        "run_twice": counts.run_twice,
        "makespan_s": cluster.now,
        "lower_bound_s": bound_s,
        "ratio": cluster.now / bound_s,
        "longest_wait_s": counts.longest_wait_s,
        "fairness": {
            "pick_excess_slot_s": fairness.pick_excess_s,
            "picks_looked_at": fairness.num_looks,
            "common_wait_slot_s": fairness.common_wait_s,
            "total_slot_s": fairness.total_s,
            "largest_job_slot_s": fairness.largest_job_s,
        },
    }


def num_lost(cluster: FakeCluster) -> int:
    """Members without an end, or with one that does not fit what slots did with them.

    A member has to be in a terminal phase with its job; Succeeded if and only if a slot trained it
    to its last epoch. Only an end of the job explains that it was not.
    """
    lost = 0
    for job in cluster.jobs.values():
        for member in job.members:
            succeeded = member.phase is Phase.SUCCEEDED
            explained = succeeded or member.phase is Phase.FAILED or job.phase.terminal
            trained = member.key in cluster.counts.trained and member.epoch == member.epochs
            whole = not (job.phase is Phase.SUCCEEDED and member.phase is Phase.CANCELLED)
            ended = member.phase.terminal and job.phase.terminal
            lost += not (ended and explained and whole and succeeded == trained)
    return lost


def memory(members: int, teams: int, slots: int, seed: int) -> Figures:
    """Peak memory of a whole late simulation, and of one of twice the size.

    Each in a process of its own: a caller's threads would be counted too, and what it has alive
    decides when Python looks for garbage.
    """
    sizes = [(factor * members, factor * teams, factor * slots) for factor in (1, 2)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        peaks = [pool.submit(_peak_bytes, *size, seed).result() for size in sizes]
    return {
        "members": members,
        "peak_bytes": peaks[0],
        "peak_bytes_of_twice_as_many": peaks[1],
        "growth": peaks[1] / peaks[0],
    }


def _peak_bytes(members: int, teams: int, slots: int, seed: int) -> int:
    tracemalloc.start()
    simulate(members, teams, slots, "fair", True, seed)
    return tracemalloc.get_traced_memory()[1]


def broken(figures: Figures) -> list[str]:
    """The promises that one simulation did not keep, speed left out."""
    name = f"{figures['policy']}{', late' if figures['late'] else ''}"
    fairness = figures["fairness"]
    problems = [
        f"{name}: {figures[key]} members {what}"
        for key, what in (("lost", "were lost"), ("run_twice", "were run twice"))
        if figures[key]
    ]
    if figures["policy"] == "fair" and fairness["pick_excess_slot_s"] > ROUNDING_S:
        excess_s = fairness["pick_excess_slot_s"]
        problems.append(f"{name}: a team that had used {excess_s:.3f} slot-s more went first")
    if figures["policy"] == "fair" and (
        fairness["common_wait_slot_s"] > fairness["largest_job_slot_s"] + ROUNDING_S
    ):
        problems.append(f"{name}: a team got more than a job's slot-seconds while it waited")
    ratio = figures["ratio"]
    if (figures["policy"], figures["late"]) == ("longest-first", False) and ratio > LARGEST_RATIO:
        problems.append(f"{name}: makespan is {ratio:.4f} of its bound, not {LARGEST_RATIO}")
    return problems


def too_slow(figures: Figures) -> list[str]:
    """The promise of speed, where one simulation did not keep it."""
    per_s = figures["decisions_per_s"]
    if per_s >= LEAST_DECISIONS_PER_S:
        return []
    return [f"{figures['policy']}: {per_s} decisions a second, not {LEAST_DECISIONS_PER_S}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="simulate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--members", type=int, default=50_000)
    parser.add_argument("--teams", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", choices=["fair", "longest-first"], help="only this one")
    parser.add_argument("--late", action="store_true", help="only with late submissions")
    asked = parser.parse_args(arguments)
    if asked.slots < 1 or not 1 <= asked.teams <= asked.members:
        parser.error("there must be a slot and a team, and a member for each team")
    asked_runs: list[tuple[Policy, bool]] = [
        ("longest-first", False), ("fair", False), ("fair", True)
    ]  # fmt: skip
    if asked.policy is not None or asked.late:
        lates = [True] if asked.late else [False, True]
        asked_runs = [(asked.policy or "fair", late) for late in lates]
    runs = [
        simulate(asked.members, asked.teams, asked.slots, policy, late, asked.seed)
        for policy, late in asked_runs
    ]
    problems = [line for figures in runs for line in (*broken(figures), *too_slow(figures))]
    small = [max(1, number // 8) for number in (asked.members, asked.teams, asked.slots)]
    used = memory(small[0], small[1], small[2], asked.seed)
    if used["growth"] > LARGEST_GROWTH:
        problems.append(f"memory grows {used['growth']:.2f}-fold with twice the members")
    print(json.dumps({"runs": runs, "memory": used, "problems": problems}, indent=2))  # noqa: T201
    for line in problems:
        print(f"simulate: {line}", file=sys.stderr)  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
