"""Importing large packages without looking for garbage meanwhile.

In: a block that imports. Out: its modules, sooner. Ray, MLflow and torch make a million objects
that stay as long as the process does; by default Python goes through all of them again and again
while they grow, which takes an eighth to a quarter of the time. Used by `cli`, `run`, `serve`,
`cluster` and `slot`.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_blocks: list[int] = []
"""The threads whose blocks have begun and not ended."""


@contextmanager
def loading() -> Iterator[None]:
    """A block that imports; in several threads at once if need be.

    What is there at its end is never looked at again by the garbage collector (`gc.freeze`).
    """
    me = threading.get_ident()
    with _lock:
        _blocks.append(me)
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _blocks.remove(me)
            if not _blocks:
                gc.freeze()
                gc.enable()
