"""Same plan, same bits: what a training fixes in its process, and the seeds that it derives.

In: a plan's threads, device and seed. Out: a context to train in, and a seed for each purpose.
Used by `jobs.train` and `jobs.teacher_training`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

CUBLAS_WORKSPACE = ":4096:8"


def seeds(seed: int) -> list[int]:
    """Derive four unrelated seeds. torch's CPU generator would keep only 32 bits of `seed`."""
    return [int(state) for state in np.random.SeedSequence(seed).generate_state(4, np.uint64)]


@contextmanager
def reproducible(threads: int, device: str, seed: int) -> Iterator[None]:
    """Fix everything outside the plan that can change a bit; put it back afterwards.

    What stays is the workspace of cuBLAS, and full precision where none had been chosen.

    The global random state decides initial weights and dropout; the other settings decide which
    kernels run, with what precision, and in which order they take floating-point sums.

    Args:
        threads: torch's intra-op threads.
        device: "cpu" or "cuda".
        seed: of torch's global random state, which is put back as well.
    """
    on_cuda = device == "cuda"
    if on_cuda:  # cuBLAS is deterministic only with a workspace of fixed size
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
    threads_before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    matmul = torch.get_float32_matmul_precision()
    deterministic = torch.get_deterministic_debug_mode()
    debugging: Any = torch.utils.deterministic  # its one attribute is unknown to type checkers
    fill = debugging.fill_uninitialized_memory
    cudnn = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with cudnn, torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_cuda else []):
        try:
            torch.set_num_threads(threads)
            torch.set_default_dtype(torch.float32)
            torch.set_float32_matmul_precision("highest")
            # As use_deterministic_algorithms(True), which loads a compiler that nobody here uses.
            torch.set_deterministic_debug_mode("error")
            # A debugging aid that costs a sixth of the time; nothing here reads unwritten memory.
            debugging.fill_uninitialized_memory = False
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would touch all devices
            if on_cuda:
                torch.cuda.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(threads_before)
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(matmul)
            torch.set_deterministic_debug_mode(deterministic)
            debugging.fill_uninitialized_memory = fill
