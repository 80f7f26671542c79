"""Asks for rows by phase while MLflow's store, and what it needs, is half imported.

Run by `test_startup` in a process of its own, which has imported neither MLflow nor SQLAlchemy's
ORM. It takes a lease, as a controller does; then, at every module of MLflow's and SQLAlchemy's that
is imported, statements are made as the controller's thread might at that very moment.
"""

import sys
from collections.abc import Sequence
from types import ModuleType

from orchestrator.phases import TERMINAL, Blame, Phase, Reason
from orchestrator.store import Store
from orchestrator.store.tables import attempts, events, jobs, members
from tests.orchestrator.cohorts import new_job, submit


class Meanwhile:
    """A finder that finds nothing, and is asked for every module."""

    def __init__(self) -> None:
        self.times = 0

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> None:
        if name.partition(".")[0] not in ("mlflow", "sqlalchemy"):
            return
        for phase in (jobs.c.phase, members.c.phase, events.c.job_phase):
            assert str(phase == Phase.RUNNING)
            assert str(phase.in_(TERMINAL))
        for table in (jobs, members, attempts):
            assert str((table.c.reason == Reason.COMPLETED) | (table.c.blame == Blame.TEAM))
        self.times += 1


def main(url: str) -> None:
    assert not {"sqlalchemy.orm", "mlflow"} & set(sys.modules)
    store = Store(url)
    submit(store, new_job("apes"))
    store.acquire("small", "test", 100.0, 1e9)
    meanwhile = Meanwhile()
    sys.meta_path.insert(0, meanwhile)  # type: ignore[arg-type]  # it finds nothing
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    assert SqlAlchemyStore
    assert meanwhile.times > 10
    store.close()


if __name__ == "__main__":
    main(sys.argv[1])
