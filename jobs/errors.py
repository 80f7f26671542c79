"""The training side's errors, one tree.

    JobsError
    ├── DataError        the data folder cannot be used; lists every problem at once
    ├── Stopped          somebody asked a running member to stop; not a failure of the member
    ├── Diverged         the training loss is no longer a finite number
    ├── CheckpointError  a checkpoint could not be kept; not a failure of the member either
    ├── WorkerLost       one of the processes that train a member together lost the others; nor this
    ├── TeamCodeError    a team's own code failed, or what came out of it is not what was asked for
    │   ├── TeamCodeTooLarge   it used more memory than it may
    │   └── TeamCodeOverLimit  it used more of something else: time, processes, output
    └── SandboxError     a sandbox could not be made; not a failure of what should have run in it

Members train in other processes, so each error keeps its constructor's arguments in `args`, which
is what pickle hands to the constructor on the other side.
"""

from collections.abc import Sequence
from typing import Literal

MAX_LISTED = 20


class JobsError(Exception):
    """Base of every error that this package raises on purpose."""


class DataError(JobsError):
    """The data cannot be used: a summary, and every problem that was found."""

    def __init__(self, summary: str, problems: Sequence[str] = ()) -> None:
        super().__init__(summary, tuple(problems))
        self.summary = summary
        self.problems = tuple(problems)

    def __str__(self) -> str:
        if not self.problems:
            return self.summary
        lines = [f"  {problem}" for problem in self.problems[:MAX_LISTED]]
        if len(self.problems) > MAX_LISTED:
            lines.append(f"  and {len(self.problems) - MAX_LISTED} more")
        return "\n".join([f"{self.summary}:", *lines])


USUAL_LEARNING_RATE = 0.01
"""With which plain gradient descent is usually begun."""


class Stopped(JobsError):
    """Raised inside a running member (by its `report`, or between batches) to end it."""


class Diverged(JobsError):
    """The training loss became infinite or not-a-number. Epochs and steps count from 1."""

    def __init__(self, epoch: int, step: int, learning_rate: float) -> None:
        super().__init__(epoch, step, learning_rate)
        self.epoch = epoch
        self.step = step
        self.learning_rate = learning_rate

    def __str__(self) -> str:
        says = (
            f"the training loss is not a finite number from epoch {self.epoch}, step {self.step} "
            f"on; the learning rate of {self.learning_rate:g} is probably too large: try "
            f"{min(USUAL_LEARNING_RATE, self.learning_rate / 10):g}"
        )
        if (self.epoch, self.step) == (1, 1):  # perhaps before any rate was used
            says += (
                "; if that does not help, a weight, a temperature or code of your own makes it so"
            )
        return says


class CheckpointError(JobsError):
    """A checkpoint could not be written, or read: its path or URI, and the system's reason."""

    def __init__(self, path: str, reason: str, wanted: Literal["written", "read"] = "written"):
        super().__init__(path, reason, wanted)
        self.path = path
        self.reason = reason
        self.wanted = wanted

    def __str__(self) -> str:
        if self.wanted == "read":
            return (
                f"the checkpoint {self.path} cannot be read: {self.reason}; training goes on from "
                "it once its store answers"
            )
        return (
            f"the checkpoint {self.path} cannot be written: {self.reason}; make room for it, or "
            "allow writing there: training then goes on from the last good checkpoint"
        )


class WorkerLost(JobsError):
    """One of a member's workers cannot reach the others: who, of how many, and the reason."""

    def __init__(self, rank: int, num_workers: int, reason: str) -> None:
        super().__init__(rank, num_workers, reason)
        self.rank = rank
        self.num_workers = num_workers
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"worker {self.rank} of the {self.num_workers} that train the member together lost "
            f"touch with the others: {self.reason}"
        )


class TeamCodeError(JobsError):
    """A team's own code failed. The message names file and line where they are known."""


class TeamCodeTooLarge(TeamCodeError):
    """It used more memory than the cohort allows."""


class TeamCodeOverLimit(TeamCodeError):
    """It used more time, processes or output than the cohort allows."""


class SandboxError(JobsError):
    """A sandbox could not be made on this node; the message says what to do."""
