"""Every error that a user can cause, in one tree.

    GameError                 the message is for people; the exit code is 1
    ├── Refused               a manifest was not admitted: its problems were found before any work
    │   └── TeamsRefused      some of the teams cannot be admitted; the others can
    │       └── NoTeacher     students are wanted, and there is no teacher for them
    ├── NotFound              no cohort, team or file of that name; says which there are
    ├── Damaged               a file that this project wrote is gone or was changed
    ├── ArtifactsAway         the object store that keeps the artifacts cannot be used
    ├── InputsFailed          images or a teacher could not be had, for a reason nobody foresaw
    ├── StoreError            the store cannot be used as it is
    │   └── StoreUnavailable  it does not answer; asked again it may
    ├── CohortBusy            another controller holds the cohort's lease
    ├── LeaseLost             this controller's lease was taken over; it must stop writing
    ├── DeployError           manifests cannot be built: kubectl is missing, or refuses them
    ├── TrackingError         MLflow cannot be reached or refuses what is written
    └── ClusterError          Ray cannot be reached, or has no room for what was asked
        └── ClusterLost       Ray went away while a cohort ran; the controller starts it again

What is wrong with images is a `jobs.errors.DataError`, of the training side's own tree.

Raised where the bad value is known; caught once, in `orchestrator.cli`, which prints the message to
stderr. Each can be made of its message alone, so that it can be pickled between processes.
"""

INTERRUPTED = 130
"""The shell's exit code for Ctrl-C."""


class GameError(Exception):
    """A mistake or an obstacle that its message explains; never shown with a traceback."""


class Refused(GameError):
    """A loadout or a cohort that cannot be admitted as it is written."""


class TeamsRefused(Refused):
    """Some teams cannot be admitted to this data or this cohort; others may be."""

    def __init__(self, message: str, reasons: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})
        """By team."""


class NoTeacher(TeamsRefused):
    """A loadout distils, and no teacher fits the cohort's data."""


class NotFound(GameError):
    """Something was named that is not there."""


class Damaged(GameError):
    """A file that this project wrote cannot be read, or is not what was written."""


class ArtifactsAway(GameError):
    """The object store that keeps the artifacts does not answer, or refuses."""


class InputsFailed(GameError):
    """What members train on could not be had: no memory for it, or a library's own error."""


class StoreError(GameError):
    """The store cannot be opened, is damaged, or refuses what it is told."""


class StoreUnavailable(StoreError):
    """The store does not answer: its server, its disk or a lock is in the way for now."""


class CohortBusy(GameError):
    """Another controller is at work on the cohort."""


class LeaseLost(GameError):
    """Another controller has taken the cohort over."""


class DeployError(GameError):
    """Manifests for a cluster cannot be built."""


class TrackingError(GameError):
    """MLflow cannot be reached or does not take what is written."""


class TrackingAway(TrackingError):
    """MLflow has not answered."""


class ClusterError(GameError):
    """A Ray cluster that cannot be reached or cannot ever run what was asked."""


class ClusterLost(ClusterError):
    """Ray went away while a cohort ran on it; what was on slots goes on from its checkpoints."""


class ResourcesChanged(GameError):
    """A cohort asks for other slots than those that were made for it; it goes on with new ones."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, or else its class."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
