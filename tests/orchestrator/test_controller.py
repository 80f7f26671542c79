"""The reconcile loop over a real store, with slots that only pretend to train."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from jobs.plan import MemberPlan
from orchestrator.artifacts import Artifacts
from orchestrator.controller import Controller
from orchestrator.errors import LeaseLost
from orchestrator.finish import ValidationTruth
from orchestrator.news import Failed, Halted, News, Progress, Trained
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.schedule import SlotState
from orchestrator.state import Job, MemberKey
from orchestrator.store import Ledger, Store
from tests.orchestrator.cohorts import cohort, epoch, new_job, submit

LABELS = np.array([0, 1, 2, 0])
RIGHT = np.eye(3, dtype=np.float32)[LABELS]
TRUTH = ValidationTruth(LABELS, np.arange(4))

Outcome = Callable[[MemberKey, int], News | None]


class Clock:
    """Seconds that pass only when somebody looks."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


def trains(key: MemberKey, attempt: int) -> News:
    """The outcome of a member that is right about every image."""
    return Trained(key, attempt, b"weights", RIGHT)


@dataclass
class PretendedSlots:
    """Slots that end what they were given at the next poll, as `outcome` says.

    An outcome of None goes on until it is stopped.
    """

    names: tuple[str, ...] = ("slot-0", "slot-1")
    outcome: Outcome = trains
    busy: dict[str, tuple[MemberKey, int, MemberPlan]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    started: list[tuple[MemberKey, int]] = field(default_factory=list)
    most_busy: int = 0

    def states(self) -> list[SlotState]:
        return [SlotState(n, self.busy[n][0] if n in self.busy else None) for n in self.names]

    def node(self, _slot: str) -> str:
        return "node"

    def start(self, slot: str, key: MemberKey, attempt: int, plan: MemberPlan) -> None:
        assert slot not in self.busy
        self.busy[slot] = (key, attempt, plan)
        self.started.append((key, attempt))
        self.most_busy = max(self.most_busy, len(self.busy))

    def stop(self, slot: str) -> None:
        self.stopped.add(slot)

    def poll(self, _timeout_s: float) -> list[News]:
        news: list[News] = []
        for slot, (key, attempt, plan) in list(self.busy.items()):
            end = Halted(key, attempt) if slot in self.stopped else self.outcome(key, attempt)
            if end is not None:
                reports = tuple((epoch(n), 1000.0 + n) for n in range(1, plan.epochs + 1))
                news += [Progress(key, attempt, reports), end]
                del self.busy[slot]
                self.stopped.discard(slot)
        return news


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Callable[..., tuple[Job, ...]]:
    """A function that runs the cohort `small` to its end and returns its jobs."""

    def run(pool: PretendedSlots, ledger: Ledger | None = None, **spec: object) -> tuple[Job, ...]:
        clock = Clock()
        ledger = ledger or store.acquire("small", "test", clock(), 1e9)
        try:
            Controller(
                cohort=cohort(**spec),
                store=store,
                ledger=ledger,
                pool=pool,
                artifacts=Artifacts(tmp_path / "artifacts"),
                truth=lambda _: TRUTH,
                clock=clock,
            ).run()
        finally:
            with contextlib.suppress(LeaseLost):
                ledger.release()
        return store.jobs("small")

    return run


Run = Callable[..., tuple[Job, ...]]


def test_a_cohort_runs_to_its_end_on_all_slots(store: Store, run: Run) -> None:
    submit(store, new_job("a", num_members=3), new_job("b"), new_job("c", num_members=2))
    pool = PretendedSlots()
    jobs = run(pool)
    assert [job.phase for job in jobs] == [Phase.SUCCEEDED] * 3
    assert [job.val_accuracy for job in jobs] == [1.0] * 3
    assert len(pool.started) == len(set(pool.started)) == 6
    assert pool.most_busy == 2
    assert store.lease_holder("small", now=0) is None


def test_a_member_that_raises_fails_its_job_and_the_cohort_goes_on(store: Store, run: Run) -> None:
    submit(store, new_job("bad", num_members=4), new_job("good"))

    def outcome(key: MemberKey, attempt: int) -> News | None:
        if key == MemberKey(1, 0):
            return Failed(key, attempt, Reason.ERROR, "ValueError: no", Blame.TEAM)
        return None if key.job_id == 1 else trains(key, attempt)

    pool = PretendedSlots(outcome=outcome)
    bad, good = run(pool)
    assert (bad.phase, bad.message) == (Phase.FAILED, "member 0: ValueError: no")
    # Member 1 was on a slot and was stopped; 2 and 3 never started.
    assert [m.phase for m in bad.members] == [Phase.FAILED, *[Phase.CANCELLED] * 3]
    assert [m.attempt for m in bad.members] == [1, 1, 0, 0]
    assert good.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("losses", [1, 3])
def test_a_lost_slot_costs_an_attempt_and_not_the_job(store: Store, run: Run, losses: int) -> None:
    submit(store, new_job("a"))

    def outcome(key: MemberKey, attempt: int) -> News:
        if attempt <= losses:
            return Failed(key, attempt, Reason.SLOT_LOST, "gone", Blame.CLUSTER)
        return trains(key, attempt)

    (job,) = run(PretendedSlots(outcome=outcome))
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, losses + 1)
    warnings = [e for e in store.events("small") if e.kind == "Warning"]
    assert len(warnings) == losses


def test_the_cluster_is_given_up_after_its_retries(store: Store, run: Run) -> None:
    submit(store, new_job("a"))

    def outcome(key: MemberKey, attempt: int) -> News:
        return Failed(key, attempt, Reason.SLOT_LOST, "gone", Blame.CLUSTER)

    (job,) = run(PretendedSlots(outcome=outcome), retry={"clusterRetries": 2})
    assert (job.phase, job.blame, job.members[0].attempt) == (Phase.FAILED, Blame.CLUSTER, 3)


def test_a_team_fault_is_retried_only_where_the_organizer_says_so(store: Store, run: Run) -> None:
    submit(store, new_job("a"))

    def outcome(key: MemberKey, attempt: int) -> News:
        if attempt == 1:
            return Failed(key, attempt, Reason.DIVERGED, "nan", Blame.TEAM)
        return trains(key, attempt)

    (job,) = run(PretendedSlots(outcome=outcome), retry={"backoffLimit": 1})
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, 2)


def test_what_an_earlier_controller_left_open_is_run_again(store: Store, run: Run) -> None:
    submit(store, new_job("a"))
    dead = store.acquire("small", "host:1", 100.0, ttl_s=30)
    dead.start(MemberKey(1, 0), "slot-9", "node", 101.0)
    (job,) = run(PretendedSlots())
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, 2)
    reasons = [e.reason for e in store.events("small") if e.member == 0]
    assert Reason.INTERRUPTED in reasons


def test_an_interrupted_controller_leaves_a_state_to_go_on_from(store: Store, run: Run) -> None:
    submit(store, new_job("a"), new_job("b"))

    def interrupted(key: MemberKey, attempt: int) -> News:
        if key.job_id == 2:
            raise KeyboardInterrupt
        return trains(key, attempt)

    with pytest.raises(KeyboardInterrupt):
        run(PretendedSlots(outcome=interrupted))
    phases = {job.team: job.members[0].phase for job in store.jobs("small")}
    assert phases["b"] is Phase.PENDING
    jobs = run(PretendedSlots())
    assert [job.phase for job in jobs] == [Phase.SUCCEEDED] * 2


def test_a_controller_that_was_taken_over_stops_writing(store: Store, run: Run) -> None:
    submit(store, new_job("a"))

    def outcome(key: MemberKey, attempt: int) -> News:
        store.acquire("small", "other", 1e12, ttl_s=30)
        return trains(key, attempt)

    with pytest.raises(LeaseLost):
        run(PretendedSlots(outcome=outcome))
    (job,) = store.jobs("small")
    assert job.phase is Phase.RUNNING


def test_a_result_of_a_superseded_job_does_not_bring_it_back(store: Store, run: Run) -> None:
    submit(store, new_job("a"))
    ledger = store.acquire("small", "test", 100.0, 1e9)

    def outcome(key: MemberKey, attempt: int) -> News:
        if key.job_id == 1:
            submit(store, new_job("a", seed=7), ledger=ledger, at=500.0)
        return trains(key, attempt)

    old, new = run(PretendedSlots(outcome=outcome), ledger)
    assert (old.phase, new.phase) == (Phase.SUPERSEDED, Phase.SUCCEEDED)


def test_members_are_combined_as_the_job_says(store: Store, run: Run) -> None:
    submit(store, new_job("a", num_members=2))

    def outcome(key: MemberKey, attempt: int) -> News:
        # Member 0 is sure and wrong everywhere, member 1 right with little confidence.
        wrong = np.roll(RIGHT, 1, axis=1)
        probs = wrong if key.index == 0 else (0.4 * RIGHT + 0.2).astype(np.float32)
        return Trained(key, attempt, b"weights", probs)

    (job,) = run(PretendedSlots(outcome=outcome))
    assert job.val_accuracy == 0.0


def test_the_state_is_shown_after_every_round(store: Store, tmp_path: Path) -> None:
    submit(store, new_job("a"))
    seen: list[Phase] = []
    clock = Clock()
    Controller(
        cohort=cohort(),
        store=store,
        ledger=store.acquire("small", "test", clock(), 1e9),
        pool=PretendedSlots(),
        artifacts=Artifacts(tmp_path),
        truth=lambda _: TRUTH,
        clock=clock,
        on_change=lambda jobs: seen.append(jobs[0].phase),
    ).run()
    assert seen[0] is Phase.PENDING
    assert seen[-1] is Phase.SUCCEEDED


def test_results_that_cannot_be_kept_fail_that_job_alone(
    store: Store, run: Run, tmp_path: Path
) -> None:
    submit(store, new_job("a"), new_job("b"))
    # A file stands where the folder of team a's results would go, as on a full or broken disk.
    (tmp_path / "artifacts" / "small").mkdir(parents=True)
    (tmp_path / "artifacts" / "small" / "a").write_text("in the way")
    lost, kept = run(PretendedSlots(), retry={"clusterRetries": 1})
    assert (lost.phase, lost.blame, kept.phase) == (Phase.FAILED, Blame.CLUSTER, Phase.SUCCEEDED)
    assert "its results cannot be kept" in lost.message
    assert lost.members[0].attempt == 2
