"""Cohorts for a real store, made without files and without training."""

import time

from jobs.plan import DataPlan, EpochReport, MemberPlan
from orchestrator.admission.cohort import Cohort
from orchestrator.state import DataRecord, MemberKey
from orchestrator.store import Ledger, NewJob, Store, Submitted, TrainedWeights

CLASSES = ("n0", "n1", "n2")
DATA = DataRecord("drawn", "f", "t", CLASSES)
TRAINED = TrainedWeights("m0.safetensors", "0" * 64, "m0-val.npy")


def new_job(
    team: str,
    num_members: int = 1,
    epochs: int = 2,
    seed: int = 0,
    work: float = 1.0,
    min_members: int | None = None,
) -> NewJob:
    """An admitted job of identical members but for their seeds."""
    data = DataPlan(fingerprint="f", classes=CLASSES, image_size_px=16)
    plans = tuple(
        MemberPlan(data=data, epochs=epochs, seed=seed + index) for index in range(num_members)
    )
    receipt = {"lines": [], "total_bnn": 0, "budget_bnn": 100}
    return NewJob(
        team=team,
        loadout=f"team: {team}\nseed: {seed}\n",
        receipt=receipt,
        combine="mean",
        plans=plans,
        work=(work,) * num_members,
        kinds=("base",) * num_members,
        min_members=num_members if min_members is None else min_members,
    )


def cohort(**spec: object) -> Cohort:
    """A cohort named `small` with these sections of its spec."""
    return Cohort.model_validate({"metadata": {"name": "small"}, "spec": spec})


WEEK_S = 7 * 24 * 3600.0


def controller_elsewhere(store: Store, name: str = "small") -> Ledger:
    """A controller of another machine that is at work on the cohort, and trains nothing."""
    ledger = store.acquire(name, "elsewhere:1", time.time(), WEEK_S)
    ledger.tell_slots(1)
    return ledger


def submit(
    store: Store,
    *jobs: NewJob,
    at: float = 100.0,
    name: str = "small",
    submissions_per_team: int | None = None,
    side: bool = False,
) -> list[Submitted]:
    """Puts jobs into the store, by default under the cohort `small`."""
    spec = cohort().model_dump(mode="json", by_alias=True)
    return store.submit(name, spec, DATA, jobs, at, submissions_per_team, side)


def epoch(number: int, val_accuracy: float = 0.5) -> EpochReport:
    """A report of that epoch."""
    return EpochReport(
        epoch=number,
        train_loss=1.0 / number,
        train_accuracy=0.5,
        val_loss=1.0,
        val_accuracy=val_accuracy,
        learning_rate=0.01,
        images_per_second=1000.0,
        seconds=1.0,
    )


def take(store: Store, now: float = 100.0) -> Ledger:
    """A controller's ledger of the cohort `small`."""
    return store.acquire("small", "host:1", now, ttl_s=30)


def start(ledger: Ledger, key: MemberKey, at: float = 101.0, slot: str = "slot-0") -> int:
    """Starts a member's next attempt; returns its number."""
    return ledger.start(key, slot, "node", at).members[key.index].attempt
