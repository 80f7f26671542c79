"""Epochs as slots report them, and what they say of their attempt and member.

In: a connection within a writing transaction and a batch of reports. Out: rows of `epochs`; the
attempt's last whole epoch; the member's, with its accuracy and the mean duration of an epoch. Used
by `ledger.record_epochs`; `reads` and tracking show it.
"""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, func, select, update

from jobs.plan import EpochReport
from orchestrator.phases import Phase
from orchestrator.state import EpochOfAttempt, MemberKey
from orchestrator.store.tables import attempts, epochs, members
from orchestrator.store.writes import insert_missing, of_member


def put_epochs(connection: Connection, reports: Sequence[EpochOfAttempt]) -> None:
    """Writes epochs.

    Those of an attempt that is not the member's open one came too late and are dropped.
    """
    by_attempt: dict[tuple[MemberKey, int], list[tuple[EpochReport, float]]] = defaultdict(list)
    for key, number, report, at in reports:
        by_attempt[key, number].append((report, at))
    for (key, number), timed in by_attempt.items():
        query = select(members.c.phase, members.c.attempt).where(of_member(members, key))
        if tuple(connection.execute(query).one()) == (Phase.RUNNING, number):
            ids = {"job_id": key.job_id, "idx": key.index, "attempt": number}
            rows = [{**ids, "at": at, **report.model_dump()} for report, at in timed]
            insert_missing(connection, epochs, rows)
            _tell_member(connection, key, number)


def _tell_member(connection: Connection, key: MemberKey, number: int) -> None:
    mine = of_member(epochs, key) & (epochs.c.attempt == number)
    # An epoch of 0 s was not measured; the mean is NULL where none was.
    mean = func.avg(func.nullif(epochs.c.seconds, 0))
    epoch, epoch_seconds = connection.execute(
        select(func.max(epochs.c.epoch), mean).where(mine)
    ).one()
    last = select(epochs.c.val_accuracy).where(mine & (epochs.c.epoch == epoch))
    connection.execute(
        update(members)
        .where(of_member(members, key))
        .values(epoch=epoch, val_accuracy=connection.scalar(last), epoch_seconds=epoch_seconds)
    )
    connection.execute(
        update(attempts)
        .where(of_member(attempts, key) & (attempts.c.number == number))
        .values(epoch=epoch)
    )
