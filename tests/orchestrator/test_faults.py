"""The table of faults: what is seen, and the reason, blame and message that follow."""

import errno
import os
import re

import numpy as np
import pytest
import torch
from numpy._core._exceptions import _ArrayMemoryError
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
)

from jobs.errors import (
    CheckpointError,
    DataError,
    Diverged,
    SandboxError,
    TeamCodeError,
    TeamCodeOverLimit,
    TeamCodeTooLarge,
    WorkerLost,
)
from orchestrator.cluster.faults import RULES, Scene, Seen, is_tainted, judge, seen
from orchestrator.phases import Blame, Reason

TEAM, CLUSTER = Blame.TEAM, Blame.CLUSTER


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/somewhere/file")


def of(error: BaseException) -> BaseException:
    """The error as raised, with a traceback."""
    try:
        raise error
    except type(error) as raised:
        return raised


TRAINING = [
    (Diverged(3, 17, 0.5), Reason.DIVERGED, TEAM, r"epoch 3, step 17 on; .* too large: try 0.01$"),
    (MemoryError(), Reason.OUT_OF_MEMORY, TEAM, r"\(MemoryError: MemoryError\); .* batch size"),
    (
        _ArrayMemoryError((1 << 40,), np.dtype("u1")),
        Reason.OUT_OF_MEMORY,
        TEAM,
        "Unable to allocate 1.00 TiB.*image size",
    ),
    (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        Reason.OUT_OF_MEMORY,
        TEAM,
        "Tried to allocate 2.00 GiB.*smaller batch size or image size",
    ),
    (RuntimeError("CUDA error: out of memory\nmore"), Reason.OUT_OF_MEMORY, TEAM, "batch size"),
    (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when"), Reason.OUT_OF_MEMORY, TEAM, "batch size"),
    (RuntimeError("std::bad_alloc"), Reason.OUT_OF_MEMORY, TEAM, "batch size"),
    (system(errno.ENOMEM), Reason.OUT_OF_MEMORY, TEAM, "batch size"),
    (TeamCodeError("net.py:3: KeyError: 'a'"), Reason.ERROR, TEAM, r"^net.py:3: KeyError: 'a'$"),
    (TeamCodeTooLarge("net.py: too large"), Reason.OUT_OF_MEMORY, TEAM, "^net.py: too large$"),
    (TeamCodeOverLimit("net.py: too long"), Reason.LIMIT_EXCEEDED, TEAM, "^net.py: too long$"),
    (SandboxError("bubblewrap is not installed"), Reason.SANDBOX, CLUSTER, "not installed$"),
    (
        CheckpointError("/m/0.ckpt", "No space left on device"),
        Reason.STORAGE,
        CLUSTER,
        "^the checkpoint /m/0.ckpt cannot be written: No space left on device; make room",
    ),
    (
        WorkerLost(0, 2, "Connection closed by peer"),
        Reason.TRAINER_FAILED,
        CLUSTER,
        "^worker 0 of the 2 .* lost touch with the others: Connection closed by peer$",
    ),
    (system(errno.ENOSPC), Reason.STORAGE, CLUSTER, "No space left on device: '/somewhere/file'"),
    (system(errno.EIO), Reason.STORAGE, CLUSTER, "Input/output error"),
    (system(errno.EROFS), Reason.STORAGE, CLUSTER, "Read-only file system"),
    (system(errno.EDQUOT), Reason.STORAGE, CLUSTER, "quota"),
    (system(errno.EACCES), Reason.STORAGE, CLUSTER, "Permission denied"),
    (system(errno.ENOENT), Reason.STORAGE, CLUSTER, "No such file"),
    (system(errno.ESTALE), Reason.STORAGE, CLUSTER, "Stale file handle"),
    (system(errno.EMFILE), Reason.TRAINER_FAILED, CLUSTER, "Too many open files"),
    (
        RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with"),
        Reason.TRAINER_FAILED,
        CLUSTER,
        "^the GPU or its driver failed: CUDA error: uncorrectable ECC error encountered$",
    ),
    *(
        (RuntimeError(words), Reason.TRAINER_FAILED, CLUSTER, "^the GPU or its driver failed: ")
        for words in (
            "No CUDA GPUs are available",
            "CUDA error: no kernel image is available for execution on the device",
            "CUDA error: an illegal memory access was encountered",
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
            "GET was unable to find an engine to execute this computation",
            "CUDA unknown error - this may be due to an incorrectly set up environment",
            "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before",
            "The NVIDIA driver on your system is too old (found version 11040).",
            "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        )
    ),
    (
        ValueError("images of another size"),
        Reason.ERROR,
        TEAM,
        r"^ValueError: images of another size \(test_faults.py:\d+\)$",
    ),
    (RuntimeError("shapes differ"), Reason.ERROR, TEAM, "^RuntimeError: shapes differ"),
    (
        DataError("they cannot be divided"),
        Reason.STORAGE,
        CLUSTER,
        "^the training images cannot be used: they cannot be divided$",
    ),
    (
        ModuleNotFoundError("No module named 'numpy'"),
        Reason.TRAINER_FAILED,
        CLUSTER,
        "^the slot's node lacks a package or a part of it: No module named 'numpy'$",
    ),
    (
        AssertionError("Torch not compiled with CUDA enabled"),
        Reason.TRAINER_FAILED,
        CLUSTER,
        "^the GPU or its driver failed: Torch not compiled with CUDA enabled$",
    ),
    (AssertionError("shapes differ"), Reason.ERROR, TEAM, "^AssertionError: shapes differ"),
    (KeyError("{braces}"), Reason.ERROR, TEAM, "KeyError: '{braces}'"),
]


@pytest.mark.parametrize(
    ("error", "reason", "blame", "message"), TRAINING, ids=lambda v: type(v).__name__
)
def test_what_the_training_function_raises(
    error: Exception, reason: Reason, blame: Blame, message: str
) -> None:
    fault = judge(seen("training", of(error)))
    assert (fault.reason, fault.blame) == (reason, blame)
    assert re.search(message, fault.message), fault.message


def test_memory_that_torch_cannot_get_is_recognized_by_torchs_own_words() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    fault = judge(seen("training", raised.value))
    assert (fault.reason, fault.blame) == (Reason.OUT_OF_MEMORY, TEAM)


NODE_DIED = (
    "The actor died because its node has died. Node Id: d9a3d9cb\n"
    "\tthe actor's node was terminated expectedly: received SIGTERM"
)
WORKER_DIED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
)
AWAY = "The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code: 14."
LOW_MEMORY = "1 worker(s) were killed due to the node running low on memory."


def actor_died(why: str) -> ActorDiedError:
    return ActorDiedError(ActorDiedErrorContext(error_message=why, actor_id=b"0" * 16))


@pytest.mark.parametrize(
    ("error", "node_gone", "reason"),
    [
        (actor_died(WORKER_DIED), False, Reason.SLOT_LOST),
        (actor_died(NODE_DIED), False, Reason.NODE_LOST),
        (actor_died(WORKER_DIED), True, Reason.NODE_LOST),
        (ActorUnavailableError(AWAY, None), False, Reason.SLOT_LOST),
        (ActorUnavailableError(AWAY, None), True, Reason.NODE_LOST),
        (NodeDiedError(NODE_DIED), False, Reason.NODE_LOST),
        (OutOfMemoryError(LOW_MEMORY), False, Reason.EVICTED),
        (ObjectLostError("ab", "", ""), False, Reason.SLOT_LOST),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_ray_tells_of_a_slot_is_the_clusters_fault(
    error: RayError, node_gone: bool, reason: Reason
) -> None:
    fault = judge(seen("ray", error, node_gone=node_gone))
    assert (fault.reason, fault.blame) == (reason, CLUSTER)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (actor_died(WORKER_DIED), Reason.TRAINER_FAILED),
        (ObjectLostError("ab", "", ""), Reason.TRAINER_FAILED),
        (RuntimeError("worker group failed\nlong story"), Reason.TRAINER_FAILED),
        # Ray Train writes files as well, beside what the training function does.
        (system(errno.ENOSPC), Reason.STORAGE),
    ],
    ids=lambda v: type(v).__name__,
)
def test_what_keeps_ray_train_from_running_is_the_clusters_fault(
    error: Exception, reason: Reason
) -> None:
    fault = judge(seen("trainer", error))
    assert (fault.reason, fault.blame) == (reason, CLUSTER)
    assert "long story" not in fault.message


@pytest.mark.parametrize("scene", ["training", "trainer", "ray"])
def test_nothing_is_left_without_a_fault(scene: Scene) -> None:
    fault = judge(Seen(scene, ("somewhere.Strange",), ""))
    assert fault.blame is (TEAM if scene == "training" else CLUSTER)


def test_team_code_leaves_a_slots_process_as_it_was() -> None:
    assert is_tainted(seen("training", MemoryError()))
    assert not is_tainted(seen("training", TeamCodeTooLarge("net.py: too large")))


def test_no_rule_stands_where_an_earlier_one_takes_everything() -> None:
    """Each rule is the first to fit something that the tests above show."""
    shown = [seen("training", of(error)) for error, *_ in TRAINING]
    shown += [seen("trainer", RuntimeError("no")), seen("trainer", system(errno.ENOSPC))]
    shown += [seen("ray", actor_died(text)) for text in (WORKER_DIED, NODE_DIED)]
    shown += [seen("ray", e) for e in (NodeDiedError(NODE_DIED), OutOfMemoryError(LOW_MEMORY))]
    shown += [seen("ray", ActorUnavailableError(AWAY, None), node_gone=True)]
    first = {next(index for index, rule in enumerate(RULES) if rule.fits(what)) for what in shown}
    assert first == set(range(len(RULES)))
