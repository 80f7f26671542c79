"""Files that are written whole or not at all.

In: a path and what to write. Out: the file; a reader sees the old content or the new, even after a
power cut. Used wherever something is kept.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

RANDOM_NAME = re.compile("[a-z0-9_]{8}")
"""What mkstemp puts behind the prefix."""


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file that takes `path`'s place at the end of the block, unless the block raises.

    Missing folders are made. The file is readable by its owner only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        _sync_folder(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Removes what writers of `path` that were killed half-way have left, as far as it can be.

    A writer still at work then fails with FileNotFoundError; the file itself stays as it is.
    """
    prefix = f".{path.name}."
    with suppress(OSError):
        for entry in list(os.scandir(path.parent)):
            # Names of other files may begin alike, and are longer.
            if entry.name.startswith(prefix) and RANDOM_NAME.fullmatch(entry.name, len(prefix)):
                Path(entry).unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Removes the file, if there is one, and what a writer killed half-way left beside it."""
    path.unlink(missing_ok=True)
    remove_leftovers(path)


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Waits until no other process is in such a block; one that is killed leaves it."""
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    """Makes a rename last: it is the folder that changed, not the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
