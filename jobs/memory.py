"""Freed memory is kept for the next batch instead of being given back to the system.

In: nothing. Out: a changed allocator, for the whole process. Called once by whoever trains or
evaluates: a slot when it starts, scoring, `python -m jobs.train`.

A batch's feature maps are some megabytes, freed and asked for again thousands of times. By default
glibc returns such blocks to the system, which clears and maps each page anew the next time; on
small networks that costs up to half of the time. Bits do not change with it.
"""

import ctypes
import sys

# glibc's malloc.h; see mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEEP_BYTES = 1 << 30
LARGEST_MMAP_THRESHOLD = 32 << 20


def keep_freed_memory() -> None:
    """Tells glibc to keep up to 1 GiB of freed memory; does nothing where the libc is another."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    # A thread's own arena gives empty heaps back whatever the threshold: use the main one.
    mallopt(M_ARENA_MAX, 1)
