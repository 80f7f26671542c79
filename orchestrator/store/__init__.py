"""The SQL store of desired and actual state; the only package that imports SQLAlchemy.

tables       the schema
migrations   how older schemas become this one (Alembic)
urls         what a database's URL tells
database     SQLite and PostgreSQL opened alike
values       what goes into the transactions and comes back
reads        rows -> values of `orchestrator.state`
writes       the one writer: a `Change` -> rows and events, checked against `phases`
progress     epochs -> rows, and what they say of their member
orphans      attempts that a controller left open
desired      submissions and operations, which need no lease
ledger       what the controller writes, fenced by its lease
store        all of it for clients; leases
"""

from orchestrator.store.ledger import Ledger
from orchestrator.store.store import Store
from orchestrator.store.values import (
    Altered,
    Changes,
    CheckStanding,
    FittedStacker,
    JobResult,
    Lease,
    NewJob,
    Standing,
    Submitted,
    TrainedWeights,
)

__all__ = [
    "Altered",
    "Changes",
    "CheckStanding",
    "FittedStacker",
    "JobResult",
    "Lease",
    "Ledger",
    "NewJob",
    "Standing",
    "Store",
    "Submitted",
    "TrainedWeights",
]
