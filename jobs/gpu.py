"""A process on a GPU: whether it can compute there, and how much of the memory it may keep.

In: the share of a GPU that a process was given. Out: an error where the GPU does not work, and
limits that make each process answer for its own memory. Called by `orchestrator.cluster.slot` and
`jobs.custom.child`; what is computed does not depend on it.
"""

import gc

import torch

CONTEXT_BYTES = 600 << 20
"""What a process takes of a GPU beside its tensors, for kernels and handles; assumed, not measured:
it differs between kinds of GPUs and drivers."""


def try_gpu() -> None:
    """Send something to the first GPU and compute with it, as trainings do.

    Raises:
        RuntimeError, AssertionError: torch's own, where there is none that it can use.
    """
    torch.ones(1).pin_memory().to("cuda", non_blocking=True).add(1).item()


def keep_to_share(share: float) -> None:
    """Give this process no more of its GPU's memory than its share, so that it cannot take others'.

    Whoever needs more then fails for want of memory, and not a neighbour.

    Args:
        share: of one GPU, above 0; 1 and more is all of it.
    """
    if share < 1:
        total_bytes = torch.cuda.get_device_properties(0).total_memory
        share = max(share - CONTEXT_BYTES / total_bytes, share / 2)
    torch.cuda.set_per_process_memory_fraction(min(float(share), 1.0))


def give_back_memory() -> None:
    """Free what torch keeps for the next batch: a slot may wait for long, and others need it."""
    gc.collect()
    torch.cuda.empty_cache()
