"""Why an attempt failed, and whose fault it is: one table of rules, the first that fits decides.

In: what was seen, an exception put into words where it was raised. Out: a `Fault`. Made by `slots`
of what a slot or Ray told it; next on the path: `lifecycle` decides by the blame what follows.

Teams choose plans; the training code is ours, but for what runs in a sandbox. So what a plan or a
team's own code brings about is the team's fault (it diverges, it is too large), and what any plan
would have met is the cluster's.
"""

import errno
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.errors import WorkerLost
from orchestrator.phases import Blame, Reason
from orchestrator.state import Fault

Scene = Literal["training", "trainer", "ray"]
"""Where it was seen: raised by the training function; by Ray Train, which should have run it; or
told by Ray of a slot that cannot be asked any more."""


@dataclass(frozen=True)
class Seen:
    """A failure in words: exceptions of other processes can't always be pickled."""

    scene: Scene
    kinds: tuple[str, ...]
    """The exception's class and its bases, with their modules: `builtins.MemoryError`."""
    message: str
    errno: int | None = None
    """The system's error number, of an `OSError`."""
    line: str = ""
    """File and line of the innermost frame, where they are known."""
    node_gone: bool = False
    """The slot's node can't be reached either."""

    @property
    def kind(self) -> str:
        """The class's own name: `MemoryError`."""
        return self.kinds[0].rpartition(".")[2]


def seen(scene: Scene, error: BaseException, node_gone: bool = False) -> Seen:
    """Puts an exception into words."""
    frames = traceback.extract_tb(error.__traceback__)
    return Seen(
        scene=scene,
        kinds=tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__[:-2]),
        message=str(error),
        errno=error.errno if isinstance(error, OSError) else None,
        line=f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "",
        node_gone=node_gone,
    )


class MemberFailed(Exception):
    """Ends a group of several workers, as it would wait for the one that failed; says why."""

    def __init__(self, what: Seen) -> None:
        super().__init__(what)
        self.what = what


def cause(failures: Mapping[int, Exception]) -> Seen:
    """What went wrong in a group, before others lost touch with the worker that it happened to."""
    told = [error.what for error in failures.values() if isinstance(error, MemberFailed)]
    of_workers = [error for error in failures.values() if not isinstance(error, MemberFailed)]
    causes = [what for what in told if what.kind != WorkerLost.__name__]
    causes += [seen("trainer", error) for error in of_workers]
    return [*causes, *told][0]


@dataclass(frozen=True)
class Rule:
    """What is concluded from what is seen; conditions that are left out always hold."""

    reason: Reason
    blame: Blame
    message: str
    """For people. {message} is the exception's, {first} its first line, {kind} its class, {line}
    where it was raised."""
    scene: Scene | None = None
    kinds: tuple[str, ...] = ()
    """The exception is one of these."""
    says: str = ""
    """A regular expression that its message has somewhere."""
    errnos: tuple[int, ...] = ()
    """The system's error number is one of these."""
    node_gone: bool = False
    """The slot's node is gone as well."""

    def fits(self, what: Seen) -> bool:
        """Whether all conditions hold."""
        return (
            (self.scene is None or self.scene == what.scene)
            and (not self.kinds or not set(self.kinds).isdisjoint(what.kinds))
            and (not self.errnos or what.errno in self.errnos)
            and (not self.node_gone or what.node_gone)
            and re.search(self.says, what.message) is not None
        )


TEAM_CODE = "jobs.errors.TeamCodeError"
NODE_WENT = "the slot was lost: its node went away"
TOO_LARGE = (
    "the member needs more memory than there is ({kind}: {first}); it needs less with a smaller "
    "batch size or image size"
)
NO_ROOM = (
    "can't allocate memory"  # torch, on the CPU
    "|std::bad_alloc"
    "|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
)
# No network of ours brings these about, but for the want of memory above; team code runs elsewhere.
GPU_FAILED = (
    "CUDA error|CUDA unknown error|cudaGetDeviceCount|cuDNN error|CUBLAS_STATUS|CUDNN_STATUS"
    "|CUDA-capable device|No CUDA GPUs are available|CUDA driver|NVIDIA driver"
    "|not compiled with CUDA|unable to find an engine"
)
NO_STORAGE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # full
    *(errno.EROFS, errno.EACCES, errno.EPERM),  # closed
    *(errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO, errno.ENOTCONN),  # gone
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT),  # broken
)

RULES: tuple[Rule, ...] = (
    # The training function ran, and raised.
    Rule(
        Reason.DIVERGED,
        Blame.TEAM,
        "{message}",
        scene="training",
        kinds=("jobs.errors.Diverged",),
    ),
    Rule(
        Reason.OUT_OF_MEMORY,
        Blame.TEAM,
        TOO_LARGE,
        scene="training",
        kinds=("builtins.MemoryError", "torch.OutOfMemoryError"),
    ),
    Rule(
        Reason.OUT_OF_MEMORY,
        Blame.TEAM,
        TOO_LARGE,
        scene="training",
        kinds=("builtins.RuntimeError",),
        says=NO_ROOM,
    ),
    Rule(
        Reason.OUT_OF_MEMORY,
        Blame.TEAM,
        TOO_LARGE,
        scene="training",
        errnos=(errno.ENOMEM,),
    ),
    Rule(
        Reason.STORAGE,
        Blame.CLUSTER,
        "{message}",
        kinds=("jobs.errors.CheckpointError",),
    ),
    Rule(
        Reason.TRAINER_FAILED,
        Blame.CLUSTER,
        "{message}",
        kinds=("jobs.errors.WorkerLost",),
    ),
    # A team's own code ran in a sandbox, and failed there; the message has its file and line.
    Rule(
        Reason.OUT_OF_MEMORY,
        Blame.TEAM,
        "{message}",
        kinds=("jobs.errors.TeamCodeTooLarge",),
    ),
    Rule(
        Reason.LIMIT_EXCEEDED,
        Blame.TEAM,
        "{message}",
        kinds=("jobs.errors.TeamCodeOverLimit",),
    ),
    Rule(
        Reason.ERROR,
        Blame.TEAM,
        "{message}",
        kinds=(TEAM_CODE,),
    ),
    Rule(
        Reason.SANDBOX,
        Blame.CLUSTER,
        "{message}",
        kinds=("jobs.errors.SandboxError",),
    ),
    Rule(
        Reason.STORAGE,
        Blame.CLUSTER,
        "a file or folder of the slot's node cannot be used: {first}",
        errnos=NO_STORAGE,
    ),
    Rule(
        Reason.TRAINER_FAILED,
        Blame.CLUSTER,
        "the system of the slot's node failed: {first}",
        scene="training",
        kinds=("builtins.OSError",),
    ),
    Rule(
        Reason.TRAINER_FAILED,
        Blame.CLUSTER,
        "the GPU or its driver failed: {first}",
        scene="training",
        kinds=("builtins.RuntimeError", "builtins.AssertionError"),
        says=GPU_FAILED,
    ),
    Rule(
        Reason.STORAGE,
        Blame.CLUSTER,
        "the training images cannot be used: {message}",
        scene="training",
        kinds=("jobs.errors.DataError",),
    ),
    Rule(
        Reason.TRAINER_FAILED,
        Blame.CLUSTER,
        "the slot's node lacks a package or a part of it: {first}",
        scene="training",
        kinds=("builtins.ImportError",),
    ),
    Rule(
        Reason.ERROR,
        Blame.TEAM,
        "{kind}: {message} ({line})",
        scene="training",
    ),
    # The slot lives, but Ray Train did not run the member in it, or not to the end.
    Rule(
        Reason.TRAINER_FAILED,
        Blame.CLUSTER,
        "Ray Train could not run the member: {kind}: {first}",
        scene="trainer",
    ),
    # The slot can't be asked any more.
    Rule(
        Reason.EVICTED,
        Blame.CLUSTER,
        "its node ran out of memory, and Ray ended the slot to save the others; more "
        "resources.cpus for a member put fewer of them on a node",
        scene="ray",
        kinds=("ray.exceptions.OutOfMemoryError",),
    ),
    Rule(
        Reason.NODE_LOST,
        Blame.CLUSTER,
        NODE_WENT,
        scene="ray",
        kinds=("ray.exceptions.NodeDiedError",),
    ),
    Rule(Reason.NODE_LOST, Blame.CLUSTER, NODE_WENT, scene="ray", says="its node has died"),
    Rule(Reason.NODE_LOST, Blame.CLUSTER, NODE_WENT, scene="ray", node_gone=True),
    Rule(
        Reason.SLOT_LOST,
        Blame.CLUSTER,
        "the slot was lost: its process ended",
        scene="ray",
    ),
)
"""Read from the top. Every scene ends with a rule that fits whatever else is seen."""

TAINTED = frozenset({Reason.OUT_OF_MEMORY, Reason.TRAINER_FAILED})
"""After these a slot's process can't be trusted to be as it was before; it is replaced.

Team code is another process, whatever happens to it: see `is_tainted`."""

RAY_LOST = Fault(Reason.SLOT_LOST, "Ray was lost, and every slot with it", Blame.CLUSTER)


def is_tainted(what: Seen) -> bool:
    """Whether the slot's process is to be replaced, because it may not be as it was before."""
    return TEAM_CODE not in what.kinds and judge(what).reason in TAINTED


def judge(what: Seen) -> Fault:
    """The fault by the first rule that fits."""
    rule = next(rule for rule in RULES if rule.fits(what))
    first = next((line for line in what.message.splitlines() if line.strip()), what.kind)
    message = rule.message.format(
        message=what.message, first=first, kind=what.kind, line=what.line or "nowhere"
    )
    return Fault(rule.reason, message, rule.blame)
