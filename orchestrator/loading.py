"""Importing large packages without looking for garbage meanwhile.

In: a block that imports. Out: its modules, sooner. Ray, MLflow and torch make a million objects
that stay as long as the process does; by default Python goes through all of them again and again
while they grow, which takes an eighth to a quarter of the time. Used by `cli`, `run`, `serve`,
`cluster`, `networks` and `slot`.
"""

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Loading:
    """How many blocks are at work, in all threads, and how many modules there were before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_blocks = 0
        self._num_modules = 0

    def begin(self) -> None:
        with self._lock:
            if self._num_blocks == 0:
                gc.disable()
                self._num_modules = len(sys.modules)
            self._num_blocks += 1

    def end(self) -> None:
        with self._lock:
            self._num_blocks -= 1
            if self._num_blocks > 0:
                return
            # Whatever is alive now is never freed if it is part of a cycle: a price for modules
            # only, and not for the networks of a caller who has had them for long.
            if len(sys.modules) > self._num_modules:
                gc.freeze()
            gc.enable()


_loading = _Loading()


@contextmanager
def loading() -> Iterator[None]:
    """A block that imports; in several threads at once if need be.

    Where it was the first to import them, the garbage collector never looks at its modules again.
    """
    _loading.begin()
    try:
        yield
    finally:
        _loading.end()
