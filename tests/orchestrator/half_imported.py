"""Asks for rows by phase while SQLAlchemy's ORM is half imported, as by a thread of MLflow's.

Run by `test_startup` in a process of its own, which has not imported the ORM. At every module that
the ORM imports, statements are made as the controller's thread might at that very moment.
"""

import sys
from collections.abc import Sequence
from types import ModuleType

from orchestrator.phases import TERMINAL, Blame, Phase, Reason
from orchestrator.store.tables import attempts, events, jobs, members


class Meanwhile:
    """A finder that finds nothing, and is asked for every module."""

    def __init__(self) -> None:
        self.times = 0

    def find_spec(
        self, _name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> None:
        for phase in (jobs.c.phase, members.c.phase, events.c.job_phase):
            assert str(phase == Phase.RUNNING)
            assert str(phase.in_(TERMINAL))
        for table in (jobs, members, attempts):
            assert str((table.c.reason == Reason.COMPLETED) | (table.c.blame == Blame.TEAM))
        self.times += 1


def main() -> None:
    assert "sqlalchemy.orm" not in sys.modules
    meanwhile = Meanwhile()
    sys.meta_path.insert(0, meanwhile)  # type: ignore[arg-type]  # it finds nothing
    import sqlalchemy.orm

    assert sqlalchemy.orm.Session
    assert meanwhile.times > 10


if __name__ == "__main__":
    main()
