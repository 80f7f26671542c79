"""The state machine of jobs and members: phases, reasons and blame, each explained once.

In: nothing. Out: the enums and `TRANSITIONS`, which the store checks before it writes a phase, so
that no other module can move a job where it must not go. Next on the path: `store`, then
`controller`, which is the only one that moves anything.

              +--> Cancelled, Superseded
    Pending --+--> Running --+--> Succeeded
       ^             |       +--> Failed, Cancelled, Superseded
       +--- lost ----+
"""

from enum import StrEnum


class Phase(StrEnum):
    """Where a job or a member stands. The last four are terminal."""

    PENDING = "Pending"
    """Admitted and waiting for a slot, or waiting again after its slot was lost."""
    RUNNING = "Running"
    """A job: at least one member has started. A member: a slot is training it."""
    SUCCEEDED = "Succeeded"
    """A job: all members succeeded and are combined. A member: its last epoch is stored."""
    FAILED = "Failed"
    """Over without a result; `reason`, `message` and `blame` say why and whose fault it is."""
    CANCELLED = "Cancelled"
    """Stopped before its end: by the organizer, or (a member) because its job failed."""
    SUPERSEDED = "Superseded"
    """The team handed in a newer revision before this one ended."""

    @property
    def terminal(self) -> bool:
        """Whether nothing happens to it any more."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.PENDING: frozenset(
        {Phase.RUNNING, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED},
    ),
    Phase.RUNNING: frozenset(
        {Phase.PENDING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED},
    ),
    Phase.SUCCEEDED: frozenset(),
    Phase.FAILED: frozenset(),
    Phase.CANCELLED: frozenset(),
    Phase.SUPERSEDED: frozenset(),
}


class Reason(StrEnum):
    """Why something is in its phase, in one word for machines; the message is for people."""

    QUEUED = "Queued"
    """Waiting for a free slot."""
    TRAINING = "Training"
    """On a slot, or with members on slots."""
    COMPLETED = "Completed"
    """Trained to the last epoch; a job: and combined."""
    DIVERGED = "Diverged"
    """The training loss stopped being a finite number."""
    ERROR = "Error"
    """The training function raised an exception."""
    SLOT_LOST = "SlotLost"
    """The slot's process or node went away."""
    TRAINER_FAILED = "TrainerFailed"
    """Ray Train could not run the member: its worker group was lost, or its images."""
    STORAGE = "Storage"
    """The member's results could not be written or read: a full disk, a missing file."""
    INTERRUPTED = "Interrupted"
    """The controller ended while the member was on a slot."""
    JOB_ENDED = "JobEnded"
    """Stopped because its job is over: another member failed, or a newer revision took over."""
    MEMBER_FAILED = "MemberFailed"
    """The job failed because this member did."""
    NEW_REVISION = "NewRevision"
    """The team handed in another loadout."""


class Blame(StrEnum):
    """Whose fault a failure is; decides which retry limit counts."""

    TEAM = "team"
    CLUSTER = "cluster"
