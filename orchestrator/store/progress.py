"""Epochs as slots report them, and what they say of their attempt and member.

In: a connection within a writing transaction and a batch of reports. Out: rows of `epochs`; the
attempt's last whole epoch; the member's, with its accuracy and the mean duration of an epoch. Used
by `ledger`, for members that train and for those that end; `reads` and tracking show it.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from orchestrator.phases import Phase
from orchestrator.state import EpochOfAttempt, MemberKey
from orchestrator.store.tables import attempts, epochs, members
from orchestrator.store.writes import insert_missing, of_member

_TOLD = (
    select(
        epochs.c.epoch,
        epochs.c.val_accuracy,
        # An epoch of 0 s was not measured; the mean is NULL where none was.
        func.avg(func.nullif(epochs.c.seconds, 0)).over().label("epoch_seconds"),
    )
    .where(
        (epochs.c.job_id == bindparam("job_id"))
        & (epochs.c.idx == bindparam("idx"))
        & (epochs.c.attempt == bindparam("attempt"))
    )
    .order_by(epochs.c.epoch.desc())
    .limit(1)
)


def put_epochs(connection: Connection, reports: Sequence[EpochOfAttempt]) -> None:
    """Writes epochs.

    Those of an attempt that is not the member's open one came too late and are dropped.
    """
    by_attempt: dict[tuple[MemberKey, int], list[EpochOfAttempt]] = defaultdict(list)
    for report in reports:
        by_attempt[report[:2]].append(report)
    for (key, number), its in by_attempt.items():
        query = select(members.c.phase, members.c.attempt).where(of_member(members, key))
        if tuple(connection.execute(query).one()) == (Phase.RUNNING, number):
            told = add_epochs(connection, its)
            mine = of_member(attempts, key) & (attempts.c.number == number)
            connection.execute(update(members).where(of_member(members, key)).values(**told))
            connection.execute(update(attempts).where(mine).values(epoch=told["epoch"]))


def add_epochs(connection: Connection, reports: Sequence[EpochOfAttempt]) -> dict[str, Any]:
    """Writes epochs of one open attempt; returns what its member's fields are afterwards."""
    key, number, *_ = reports[0]
    attempt = {"job_id": key.job_id, "idx": key.index, "attempt": number}
    rows = [{**attempt, "at": at, **report.model_dump()} for _, _, report, at in reports]
    insert_missing(connection, epochs, rows)
    return dict(connection.execute(_TOLD, attempt).mappings().one())
