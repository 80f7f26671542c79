"""How many jobs a second the store admits, one durable transaction a job.

In: nothing, or GAME_BENCH_POSTGRES, the SQLAlchemy URL of an empty PostgreSQL database; without it
a server is started where its programs are installed. Out: JSON on stdout, with the best of several
rounds for SQLite and PostgreSQL, and beside it what the disk needs for a commit.

    python -m tests.bench.admission
"""

import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from orchestrator.state import MemberKey
from orchestrator.store import Store
from tests.orchestrator.cohorts import DATA, cohort, epoch, new_job
from tests.orchestrator.postgres import postgres_server, reason_why_not

ROUNDS, JOBS_A_ROUND, NUM_MEMBERS = 5, 200, 2
READ_JOBS, READ_EPOCHS, READS = 60, 10, 50
SYNCS, PAGES_A_COMMIT_BYTES = 50, 32_768


def admission(url: str) -> dict[str, float]:
    """Jobs admitted a second, and what reading a cohort costs, in milliseconds."""
    store = Store(url)
    rates = [_submitted_per_s(store, f"round-{uuid.uuid4().hex[:8]}") for _ in range(ROUNDS)]
    name = f"reading-{uuid.uuid4().hex[:8]}"
    _fill(store, name)
    seen = store.changes(name, 0).last_event_id
    measured = {
        "submitted_per_s": round(max(rates), 1),
        "submitted_per_s_median": round(statistics.median(rates), 1),
        f"read_{READ_JOBS}_jobs_ms": _median_ms(lambda: store.jobs(name)),
        "changes_nothing_new_ms": _median_ms(lambda: store.changes(name, seen)),
    }
    store.close()
    return measured


def sync_ms(folder: Path) -> float:
    """What the disk needs to keep as much as a commit writes."""
    with (folder / "synced").open("wb", buffering=0) as file:

        def keep() -> None:
            file.write(bytes(PAGES_A_COMMIT_BYTES))
            os.fdatasync(file.fileno())

        return _median_ms(keep, SYNCS)


def _submitted_per_s(store: Store, name: str) -> float:
    spec = cohort().model_dump(mode="json", by_alias=True)
    jobs = [new_job(f"team-{n}", NUM_MEMBERS, seed=n) for n in range(JOBS_A_ROUND)]
    begun = time.perf_counter()
    for job in jobs:
        store.submit(name, spec, DATA, [job], 100.0)
    return JOBS_A_ROUND / (time.perf_counter() - begun)


def _fill(store: Store, name: str) -> None:
    """A cohort whose members have all been on a slot for some epochs."""
    spec = cohort().model_dump(mode="json", by_alias=True)
    jobs = [new_job(f"team-{n}", NUM_MEMBERS, seed=n) for n in range(READ_JOBS)]
    store.submit(name, spec, DATA, jobs, 100.0)
    ledger = store.acquire(name, "bench", 100.0, 1e9)
    for job in store.jobs(name):
        for index in range(NUM_MEMBERS):
            key = MemberKey(job.id, index)
            ledger.start(key, "slot-0", "node", 101.0)
            epochs = range(1, READ_EPOCHS + 1)
            ledger.record_epochs([(key, 1, epoch(n), 101.0 + n) for n in epochs])


def _median_ms(call: Callable[[], object], times: int = READS) -> float:
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return round(statistics.median(took) * 1000, 3)


def _on_postgres() -> dict[str, float] | dict[str, str]:
    given = os.environ.get("GAME_BENCH_POSTGRES")
    if given:
        return admission(given)
    reason = reason_why_not()
    if reason is not None:
        return {"not_measured": reason}
    with postgres_server(durable=True) as server:
        server.execute("CREATE DATABASE bench")
        return admission(server.url("bench"))


def main() -> None:
    """Measures both and prints the figures."""
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "members_a_job": NUM_MEMBERS,
            "sync_ms": sync_ms(Path(folder)),
            "sqlite": admission(f"sqlite:///{folder}/store.db"),
            "postgresql": _on_postgres(),
        }
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
