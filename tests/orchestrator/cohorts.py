"""Cohorts for a real store, made without files and without training."""

from jobs.plan import DataPlan, EpochReport, MemberPlan
from orchestrator.cohort import Cohort
from orchestrator.state import DataRecord
from orchestrator.store import Ledger, NewJob, Store, Submitted

CLASSES = ("n0", "n1", "n2")
DATA = DataRecord("drawn", "f", "t", CLASSES)


def new_job(
    team: str, num_members: int = 1, epochs: int = 2, seed: int = 0, work: float = 1.0
) -> NewJob:
    """An admitted job of identical members but for their seeds."""
    data = DataPlan(fingerprint="f", classes=CLASSES, image_size_px=16)
    plans = tuple(
        MemberPlan(data=data, epochs=epochs, seed=seed + index) for index in range(num_members)
    )
    receipt = {"lines": [], "total_bnn": 0, "budget_bnn": 100}
    return NewJob(team, f"team: {team}\n", receipt, "mean", plans, (work,) * num_members)


def cohort(**spec: object) -> Cohort:
    """A cohort named `small` with these sections of its spec."""
    return Cohort.model_validate({"metadata": {"name": "small"}, "spec": spec})


def submit(
    store: Store, *jobs: NewJob, ledger: Ledger | None = None, at: float = 100.0
) -> list[Submitted]:
    """Puts jobs into the store under the cohort `small`, with a lease of its own by default."""
    spec = cohort().model_dump(mode="json", by_alias=True)
    if ledger is not None:
        return ledger.submit(spec, DATA, jobs, at)
    own = store.acquire("small", "submitter", at, ttl_s=1)
    try:
        return own.submit(spec, DATA, jobs, at)
    finally:
        own.release()


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
    )
