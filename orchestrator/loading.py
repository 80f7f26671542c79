"""Importing large packages without looking for garbage meanwhile.

In: a block that imports. Out: its modules, sooner. Ray, MLflow and torch make a million objects
that stay as long as the process does; by default Python goes through all of them again and again
while they grow, which takes an eighth to a quarter of the time. Used by `cli`, `run`, `serve`,
`connection`, `slot` and `tracking.client`.
"""

import atexit
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Loading:
    """The blocks of all threads as one: from the first one's beginning to the last one's end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_blocks = 0
        self._num_modules = 0
        self._was_enabled = True

    def begin(self) -> None:
        with self._lock:
            if self._num_blocks == 0:
                self._was_enabled = gc.isenabled()
                self._num_modules = len(sys.modules)
                gc.disable()
            self._num_blocks += 1

    def end(self) -> None:
        with self._lock:
            self._num_blocks -= 1
            if self._num_blocks > 0:
                return
            if len(sys.modules) > self._num_modules:
                gc.freeze()
            if self._was_enabled:
                gc.enable()


_loading = _Loading()
# Libraries that count their objects at the end would print a page about those that were left alone.
atexit.register(gc.unfreeze)


@contextmanager
def loading() -> Iterator[None]:
    """A block that imports, and does little else; in several threads at once if need be.

    Where modules have come, all that is alive in the process at its end, in whatever thread, is
    left alone by the garbage collector from then on. So it belongs where nothing large is alive
    that will have to go, a network in a cycle, say.
    """
    _loading.begin()
    try:
        yield
    finally:
        _loading.end()
