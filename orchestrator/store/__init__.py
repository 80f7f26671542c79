"""The SQL store of desired and actual state; the only package that imports SQLAlchemy.

tables       the schema
migrations   how older schemas become this one (Alembic)
database     SQLite and PostgreSQL opened alike
reads        rows -> values of `orchestrator.state`
values       what goes into the transactions
transitions  the moves that transactions are made of, checked against `phases`
store        reading, submission, leases
ledger       what the controller writes, fenced by its lease
"""

from orchestrator.store.ledger import Ledger
from orchestrator.store.store import Store
from orchestrator.store.values import FittedStacker, JobResult, NewJob, Submitted, TrainedWeights

__all__ = [
    "FittedStacker",
    "JobResult",
    "Ledger",
    "NewJob",
    "Store",
    "Submitted",
    "TrainedWeights",
]
