"""Slots that only pretend to train, and a controller that runs a cohort on them."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jobs.plan import MemberPlan
from orchestrator.artifacts import Artifacts, Place
from orchestrator.cluster.updates import Halted, Progress, Trained, Update
from orchestrator.control.controller import Controller
from orchestrator.errors import LeaseLost
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.results.truth import ValidationTruth
from orchestrator.schedule import SlotState
from orchestrator.state import Fault, Job, MemberKey
from orchestrator.store import Ledger, NewJob, Store
from tests.orchestrator.cohorts import DATA, cohort, epoch

LABELS = np.array([0, 1, 2, 0])
RIGHT = np.eye(3, dtype=np.float32)[LABELS]
TRUTH = ValidationTruth(LABELS, np.arange(4), np.arange(4))

Outcome = Callable[[MemberKey, int], Update | None]
Run = Callable[..., tuple[Job, ...]]
LOST = Fault(Reason.SLOT_LOST, "gone", Blame.CLUSTER)
DIVERGED = Fault(Reason.DIVERGED, "nan", Blame.TEAM)


class Clock:
    """Seconds that pass only when somebody looks."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.5
        return self.now


def trains(key: MemberKey, attempt: int) -> Update:
    """The outcome of a member that is right about every image."""
    return Trained(key, attempt, b"weights", RIGHT)


@dataclass
class PretendedSlots:
    """Slots that end what they were given at the next poll, as `outcome` says.

    An outcome of None goes on until it is stopped. `wanted` is what the controller asked for last.
    """

    names: tuple[str, ...] = ("slot-0", "slot-1")
    outcome: Outcome = trains
    busy: dict[str, tuple[MemberKey, int, MemberPlan]] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    waiting: set[MemberKey] = field(default_factory=set)
    """Members that wait for their workers: they neither begin nor end."""
    started: list[tuple[MemberKey, int]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    prepared: list[MemberPlan] = field(default_factory=list)
    most_busy: int = 0
    wanted: list[int] = field(default_factory=list)
    on_poll: Callable[[int], None] = lambda _: None
    """Called with the number of the poll, from 1: what happens elsewhere meanwhile."""
    polls: int = 0

    def want(self, num_slots: int) -> None:
        self.wanted.append(num_slots)

    def states(self) -> list[SlotState]:
        keys = {name: self.busy[name][0] if name in self.busy else None for name in self.names}
        return [SlotState(name, key, key not in self.waiting) for name, key in keys.items()]

    def node(self, _slot: str) -> str:
        return "node"

    def prepare(self, plan: MemberPlan) -> None:
        self.prepared.append(plan)

    def start(
        self, slot: str, key: MemberKey, attempt: int, plan: MemberPlan, place: Place
    ) -> None:
        assert slot not in self.busy
        self.busy[slot] = (key, attempt, plan)
        self.started.append((key, attempt))
        self.places.append(place)
        self.most_busy = max(self.most_busy, len(self.busy))

    def stop(self, slot: str) -> None:
        self.stopped.add(slot)

    def poll(self, _timeout_s: float) -> list[Update]:
        self.polls += 1
        self.on_poll(self.polls)
        updates: list[Update] = []
        for slot, (key, attempt, plan) in list(self.busy.items()):
            if key in self.waiting:
                continue
            end = Halted(key, attempt) if slot in self.stopped else self.outcome(key, attempt)
            if end is not None:
                reports = tuple((epoch(n), 1000.0 + n) for n in range(1, plan.epochs + 1))
                updates += [Progress(key, attempt, reports), end]
                del self.busy[slot]
                self.stopped.discard(slot)
        return updates

    def abandon(self) -> list[Update]:
        self.busy.clear()
        return []


def hand_in(store: Store, *jobs: NewJob, at: float = 100.0, **spec: object) -> None:
    """Hands jobs in under these rules, as `gamectl submit` does."""
    rules = cohort(**spec).model_dump(mode="json", by_alias=True)
    store.submit("small", rules, DATA, jobs, at, None)


def run_controller(
    store: Store, folder: Path, pool: PretendedSlots, ledger: Ledger | None = None, **given: Any
) -> tuple[Job, ...]:
    """Runs the cohort `small` to its end and returns its jobs."""
    defaults = {"artifacts": Artifacts(folder), "truth": lambda _: TRUTH, "clock": Clock()}
    given = {**defaults, **given}
    ledger = ledger or store.acquire("small", "test", given["clock"](), 1e9)
    try:
        Controller(cohort="small", store=store, ledger=ledger, pool=pool, **given).run()
    finally:
        with contextlib.suppress(LeaseLost):
            ledger.release()
    return store.jobs("small")


def train_and_die(store: Store, folder: Path) -> None:
    """A controller trains the first job's only member, and dies before it combines."""
    dead, key = store.acquire("small", "host:1", 100.0, ttl_s=30), MemberKey(1, 0)
    job = dead.start(key, "slot-9", "node", 101.0)
    dead.succeed(key, 1, Artifacts(folder).save(job, 0, 1, b"weights", RIGHT), 102.0)


def phases(job: Job) -> list[Phase]:
    """The phases of a job's members."""
    return [member.phase for member in job.members]
