"""live control plane: wishes of the organizer, accounts of time, what the newest attempt says."""

from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ADDED: dict[str, list[sa.Column[Any]]] = {
    "jobs": [
        sa.Column("min_members", sa.Integer(), server_default="1", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="100", nullable=False),
        sa.Column("suspended", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("queued_at", sa.Double(), server_default="0", nullable=False),
        sa.Column("active_since", sa.Double(), nullable=True),
        sa.Column("active_seconds", sa.Double(), server_default="0", nullable=False),
        sa.Column("slot_seconds", sa.Double(), server_default="0", nullable=False),
    ],
    "members": [
        sa.Column("kind", sa.Text(), server_default="", nullable=False),
        sa.Column("team_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cluster_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("safe_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.Double(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("slot", sa.String(length=128), nullable=True),
        sa.Column("node", sa.String(length=128), nullable=True),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("val_accuracy", sa.Double(), nullable=True),
        sa.Column("epoch_seconds", sa.Double(), nullable=True),
    ],
    "attempts": [
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
    ],
    "epochs": [sa.Column("seconds", sa.Double(), server_default="0", nullable=False)],
    "events": [
        sa.Column("cohort", sa.String(length=63), server_default="", nullable=False),
        sa.Column("job_phase", sa.String(length=16), nullable=True),
        sa.Column("job_reason", sa.String(length=32), nullable=True),
    ],
    "leases": [sa.Column("renewed_at", sa.Double(), server_default="0", nullable=False)],
}

IN_SQL = [
    "UPDATE events SET cohort = (SELECT cohort FROM jobs WHERE jobs.id = events.job_id)",
    "UPDATE jobs SET queued_at = submitted_at, min_members = "
    "(SELECT count(*) FROM members WHERE members.job_id = jobs.id)",
    # Leases lasted for 30 s from when they were renewed; 0 stands for one that was given up.
    "UPDATE leases SET renewed_at = expires_at - 30 WHERE expires_at > 30",
    # An epoch lasted from the one before it, or from the attempt's start, to its report.
    """UPDATE epochs SET seconds = at - coalesce(
        (SELECT b.at FROM epochs AS b
            WHERE b.job_id = epochs.job_id AND b.idx = epochs.idx
            AND b.attempt = epochs.attempt AND b.epoch = epochs.epoch - 1),
        (SELECT started_at FROM attempts
            WHERE attempts.job_id = epochs.job_id AND attempts.idx = epochs.idx
            AND attempts.number = epochs.attempt))""",
    "UPDATE epochs SET seconds = 0 WHERE seconds < 0",
    """UPDATE attempts SET epoch = coalesce(
        (SELECT max(epochs.epoch) FROM epochs
            WHERE epochs.job_id = attempts.job_id AND epochs.idx = attempts.idx
            AND epochs.attempt = attempts.number), 0)""",
    """UPDATE members SET
        attempt = (SELECT max(number) FROM attempts AS a
            WHERE a.job_id = members.job_id AND a.idx = members.idx),
        team_failures = (SELECT count(*) FROM attempts AS a
            WHERE a.job_id = members.job_id AND a.idx = members.idx
            AND a.blame = 'team' AND a.reason <> 'Interrupted'),
        cluster_failures = (SELECT count(*) FROM attempts AS a
            WHERE a.job_id = members.job_id AND a.idx = members.idx
            AND a.blame = 'cluster' AND a.reason <> 'Interrupted'),
        safe_epoch = (SELECT coalesce(max(a.epoch), 0) FROM attempts AS a
            WHERE a.job_id = members.job_id AND a.idx = members.idx AND a.blame = 'cluster')
    WHERE EXISTS (SELECT 1 FROM attempts AS a
        WHERE a.job_id = members.job_id AND a.idx = members.idx)""",
    *(
        f"UPDATE members SET {column} = (SELECT a.{column} FROM attempts AS a "  # noqa: S608
        "WHERE a.job_id = members.job_id AND a.idx = members.idx AND a.number = members.attempt) "
        "WHERE attempt > 0"
        for column in ("slot", "node", "started_at", "ended_at", "epoch")
    ),
    """UPDATE members SET
        val_accuracy = (SELECT e.val_accuracy FROM epochs AS e
            WHERE e.job_id = members.job_id AND e.idx = members.idx
            AND e.attempt = members.attempt AND e.epoch = members.epoch),
        epoch_seconds = (SELECT avg(e.seconds) FROM epochs AS e
            WHERE e.job_id = members.job_id AND e.idx = members.idx
            AND e.attempt = members.attempt)
    WHERE attempt > 0""",
]


def upgrade() -> None:
    """Applies this revision."""
    # Every column may be empty or has a default: SQLite adds them in place, without copying.
    for table, columns in ADDED.items():
        for column in columns:
            op.add_column(table, column)
    for statement in IN_SQL:
        op.execute(statement)
    _account_for_time()
    op.create_index(op.f("ix_events_cohort"), "events", ["cohort", "id"], unique=False)
    op.create_index(op.f("ix_members_ended_at"), "members", ["ended_at"], unique=False)


def _account_for_time() -> None:
    """Adds up each job's attempts: time on slots, and time with at least one of them running."""
    connection = op.get_bind()
    spans: dict[int, list[tuple[float, float | None]]] = defaultdict(list)
    for row in connection.execute(
        sa.text("SELECT job_id, started_at, ended_at FROM attempts ORDER BY started_at")
    ):
        spans[row.job_id].append((row.started_at, row.ended_at))
    update = sa.text(
        "UPDATE jobs SET slot_seconds = :slot_seconds, active_seconds = :active_seconds, "
        "active_since = :active_since WHERE id = :id"
    )
    accounts = [{"id": job_id, **_account(in_order)} for job_id, in_order in spans.items()]
    if accounts:
        connection.execute(update, accounts)


def _account(spans: list[tuple[float, float | None]]) -> dict[str, Any]:
    """The account of spans that are in the order of their starts; an open span ends with None."""
    slot_seconds = sum(max(0.0, end - start) for start, end in spans if end is not None)
    active_seconds, since, until = 0.0, spans[0][0], spans[0][0]
    for start, end in spans:
        if start > until:
            active_seconds += until - since
            since = until = start
        until = float("inf") if end is None else max(until, end)
    if until == float("inf"):
        return {
            "slot_seconds": slot_seconds, "active_seconds": active_seconds, "active_since": since,
        }  # fmt: skip
    active_seconds += until - since
    return {"slot_seconds": slot_seconds, "active_seconds": active_seconds, "active_since": None}
