"""The state machine of jobs and members: phases, transitions, reasons and blame, each said once.

In: nothing. Out: the enums and `TRANSITIONS`, which the store checks before it writes a phase, so
that no other module can move a job where it must not go. Next on the path: `lifecycle`, which says
what each happening does to a job.

                +--------- lost, suspended ---------+
                v                                   |
    --> Pending ---------------> Running -----------+--> Succeeded
        ^    |                      |
        |    +----------+-----------+
        |               v
        +--- retry --- Failed, Cancelled            (or Superseded, which nothing brings back,
                                                     and where whatever is over may be withdrawn)
"""

from enum import StrEnum


class Phase(StrEnum):
    """Where a job or a member stands."""

    PENDING = "Pending"
    """Admitted and waiting: for a slot, the end of a back-off, or the organizer's resume."""
    RUNNING = "Running"
    """A member: a slot trains it. A job: it has begun; its members have slots or get them next."""
    SUCCEEDED = "Succeeded"
    """A member: its last epoch is stored. A job: all its members, or enough, are combined."""
    FAILED = "Failed"
    """Over without a result; `reason`, `message` and `blame` say why and whose fault it is."""
    CANCELLED = "Cancelled"
    """Stopped before its end: by the organizer, or (a member) because its job is over."""
    SUPERSEDED = "Superseded"
    """The team handed in a newer revision before this one ended, or the organizer withdrew it."""

    @property
    def terminal(self) -> bool:
        """Whether nothing happens to it any more, unless the organizer retries or withdraws it."""
        return self in TERMINAL


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED})

TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.PENDING: frozenset(
        # Succeeded: a retried job whose members had all been trained and only are combined again.
        {Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED},
    ),
    Phase.RUNNING: frozenset(
        {Phase.PENDING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.SUPERSEDED},
    ),
    Phase.SUCCEEDED: frozenset({Phase.SUPERSEDED}),
    # Running: it is retried before all its members have stopped.
    Phase.FAILED: frozenset({Phase.PENDING, Phase.RUNNING, Phase.SUPERSEDED}),
    Phase.CANCELLED: frozenset({Phase.PENDING, Phase.RUNNING, Phase.SUPERSEDED}),
    Phase.SUPERSEDED: frozenset(),
}
"""Where each phase may lead. What is over is left by `gamectl retry` and `withdraw` only."""

MEMBER_TRANSITIONS: dict[Phase, frozenset[Phase]] = TRANSITIONS | {
    # Its results were lost before the job was over: it is trained again, to the same bits; where
    # they were lost too often, by `gamectl retry` only.
    Phase.SUCCEEDED: frozenset({Phase.PENDING, Phase.FAILED}),
}
"""The same for members, which are more than their job only in this."""


class Reason(StrEnum):
    """Why something is in its phase, in one word for machines; the message is for people."""

    # Pending
    QUEUED = "Queued"
    """Waiting for a free slot."""
    SCHEDULING_GATED = "SchedulingGated"
    """What it trains on is being fetched; then it is queued, as Kubernetes' gated Pods are."""
    SUSPENDED = "Suspended"
    """The organizer holds it back until `gamectl resume`; what it has learnt is kept."""
    BACK_OFF = "BackOff"
    """Its last attempt failed; it waits a moment, longer each time, before it is queued again."""
    INTERRUPTED = "Interrupted"
    """Its controller ended; the next one goes on from the last whole epoch."""
    # Running
    TRAINING = "Training"
    """On a slot, or with members on slots."""
    # Succeeded
    COMPLETED = "Completed"
    """Trained to the last epoch; a job: and all members combined."""
    DEGRADED = "Degraded"
    """A job that lost members and succeeded with the others: at least `minMembers` were left."""
    # Failed by the team's fault
    DIVERGED = "Diverged"
    """The training or validation loss stopped being a finite number."""
    OUT_OF_MEMORY = "OutOfMemory"
    """The member alone needs more memory than there is: a smaller batch or image would fit."""
    ERROR = "Error"
    """The training function raised an exception, or a team's own code failed otherwise."""
    LIMIT_EXCEEDED = "LimitExceeded"
    """A team's own code used more time, processes or output than the cohort's `customLimits`."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The job has run for longer than `activeDeadlineSeconds`; waiting does not count."""
    # Failed by the cluster's fault
    UNSCHEDULABLE = "Unschedulable"
    """No node could ever hold the member; the message names the resource."""
    SLOT_LOST = "SlotLost"
    """The slot's process ended."""
    NODE_LOST = "NodeLost"
    """The slot's node went away."""
    EVICTED = "Evicted"
    """The node ran out of memory, and Ray ended the slot to save the others."""
    TRAINER_FAILED = "TrainerFailed"
    """Ray Train could not run the member: its worker group was lost, or its images."""
    SANDBOX = "Sandbox"
    """No sandbox for a team's own code could be made on the slot's node."""
    STORAGE = "Storage"
    """A checkpoint or a result could not be written or read: a full disk, a missing file."""
    # Failed by a member's fault, whoever is to blame for that
    MEMBER_FAILED = "MemberFailed"
    """The job failed because too many of its members did."""
    # Cancelled, Superseded
    CANCELLED_BY_ORGANIZER = "CancelledByOrganizer"
    """`gamectl cancel`."""
    JOB_ENDED = "JobEnded"
    """A member that was stopped, or never started, because its job is over."""
    WITHDRAWN = "Withdrawn"
    """The organizer took the team out of the cohort."""
    NEW_REVISION = "NewRevision"
    """The team handed in another loadout."""
    # Of events that change no phase
    RESUMED = "Resumed"
    """The organizer lifted a suspension."""
    RETRIED = "Retried"
    """The organizer put a job that was over back into the queue."""
    PRIORITY_CHANGED = "PriorityChanged"
    """The organizer gave the job another weight in the queue."""


class Blame(StrEnum):
    """Whose fault a failure is; decides which retry limit counts."""

    TEAM = "team"
    CLUSTER = "cluster"
