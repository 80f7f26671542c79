"""The store's tables. What is not in them did not happen.

In: nothing. Out: SQLAlchemy Core tables. A change here needs a migration in `migrations/versions`;
a test compares the two. Next on the path: `reads` and `writes`.

Times are seconds since 1970 as doubles; documents are JSON text. Columns with a default were added
to tables that had rows; whoever inserts names them all. `members` repeats what its newest attempt
and that attempt's epochs say, so that a cohort is read with two queries.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

PHASES = "phase IN ('Pending','Running','Succeeded','Failed','Cancelled','Superseded')"

cohorts = Table(
    "cohorts",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("submitted_at", Double, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", String(32), nullable=False, unique=True),
    Column("cohort", String(63), ForeignKey("cohorts.name"), nullable=False),
    Column("team", String(63), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("data_fingerprint", String(64), nullable=False),
    Column("loadout", Text, nullable=False),
    Column("receipt", Text, nullable=False),
    Column("spent_bnn", Double, nullable=False),
    Column("combine", String(16), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("message", Text, nullable=False, server_default=""),
    Column("blame", String(8)),
    Column("submitted_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("val_accuracy", Double),
    Column("val_accuracy_refit", Double),
    Column("stacker", Text),
    Column("stacker_sha256", String(64)),
    Column("min_members", Integer, nullable=False, server_default="1"),
    Column("priority", Integer, nullable=False, server_default="100"),
    Column("suspended", Boolean, nullable=False, server_default=false()),
    Column("queued_at", Double, nullable=False, server_default="0"),
    Column("active_since", Double),
    Column("active_seconds", Double, nullable=False, server_default="0"),
    Column("slot_seconds", Double, nullable=False, server_default="0"),
    UniqueConstraint("cohort", "team", "revision"),
    CheckConstraint(PHASES, name="phase"),
)

members = Table(
    "members",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("idx", Integer, primary_key=True),
    Column("plan", Text, nullable=False),
    Column("work", Double, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("message", Text, nullable=False, server_default=""),
    Column("blame", String(8)),
    Column("kind", Text, nullable=False, server_default=""),
    Column("team_failures", Integer, nullable=False, server_default="0"),
    Column("cluster_failures", Integer, nullable=False, server_default="0"),
    Column("safe_epoch", Integer, nullable=False, server_default="0"),
    Column("not_before", Double),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("slot", String(128)),
    Column("node", String(128)),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("val_accuracy", Double),
    Column("epoch_seconds", Double),
    CheckConstraint(PHASES, name="phase"),
    Index(None, "ended_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", Integer, primary_key=True),
    Column("idx", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("slot", String(128), nullable=False),
    Column("node", String(128), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("reason", String(32), nullable=False),
    Column("message", Text, nullable=False, server_default=""),
    Column("blame", String(8)),
    Column("weights", Text),
    Column("weights_sha256", String(64)),
    Column("val_probs", Text),
    Column("epoch", Integer, nullable=False, server_default="0"),
    ForeignKeyConstraint(["job_id", "idx"], ["members.job_id", "members.idx"]),
)

epochs = Table(
    "epochs",
    metadata,
    Column("job_id", Integer, primary_key=True),
    Column("idx", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("train_loss", Double, nullable=False),
    Column("train_accuracy", Double, nullable=False),
    Column("val_loss", Double, nullable=False),
    Column("val_accuracy", Double, nullable=False),
    Column("learning_rate", Double, nullable=False),
    Column("images_per_second", Double, nullable=False),
    Column("seconds", Double, nullable=False, server_default="0"),
    ForeignKeyConstraint(
        ["job_id", "idx", "attempt"], ["attempts.job_id", "attempts.idx", "attempts.number"]
    ),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("job_id", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("member", Integer),
    Column("kind", String(8), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("message", Text, nullable=False),
    # Where the job stood afterwards; empty in events of releases that did not keep it.
    Column("job_phase", String(16)),
    Column("job_reason", String(32)),
    Column("cohort", String(63), nullable=False, server_default=""),
    Index(None, "job_id"),
    Index(None, "cohort", "id"),
)

leases = Table(
    "leases",
    metadata,
    # No foreign key: a controller may wait for a cohort's first submission.
    Column("cohort", String(63), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("token", Integer, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("renewed_at", Double, nullable=False, server_default="0"),
    Column("slots", Integer),
)
