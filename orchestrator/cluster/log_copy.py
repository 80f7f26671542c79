"""A log kept in an object store, which nobody can append to: the whole of it is put again.

In: a local file that grows, and the URI of an object. Out: the object, as long as the file was a
moment ago. Used by `member_log`, whose watching thread asks for it: training waits for the last
copy only. A store that is away harms nothing: the log is the shorter for it.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from jobs.places import whole_file

SECONDS_BETWEEN = 1.0


class LogCopy:
    """Keeps an object like a file, asked often and by one thread at a time."""

    def __init__(self, file: Path, uri: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._uri = uri
        self._clock = clock
        self._size: int | None = None
        self._next_at = clock()

    def refresh(self) -> None:
        """Puts the file where it has changed, unless it was put a moment ago."""
        if self._clock() >= self._next_at:
            self.finish()
            self._next_at = self._clock() + SECONDS_BETWEEN

    def finish(self) -> None:
        """Puts the file where it has changed since it was put."""
        with suppress(OSError):
            content = self._file.read_bytes()
            if len(content) != self._size:
                with whole_file(self._uri) as object_:
                    object_.write(content)
                self._size = len(content)
