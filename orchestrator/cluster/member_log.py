"""A member's log: what one attempt has to say, in a file that can be followed while it grows.

In: a path or URI, and a training that runs within the block. Out: the file: a line at the beginning
and at the end, one an epoch, and all that is printed meanwhile by whatever code, with the traceback
of what it raised. Opened by `slot` in the process that trains; `gamectl logs` shows it.

The process's own outputs (file descriptors 1 and 2) lead into the file during the block, so that C
code is heard too. A thread looks after the size, and copies the file to where a URI wants it. A
log that can't be written harms nothing: it is the shorter for it.
"""

import io
import os
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from jobs.errors import JobsError, Stopped
from jobs.places import where
from jobs.plan import EpochReport
from orchestrator.cluster.log_copy import LogCopy

LIMIT_BYTES = 4 << 20
LOOK_EVERY_S = 0.25


class MemberLog:
    """An open log, or a closed door: without a file every method does nothing."""

    def __init__(self, descriptor: int | None, limit_bytes: int) -> None:
        self._descriptor = descriptor
        self._limit_bytes = limit_bytes
        self._full = False
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Adds a line, also where the limit is reached: these are few."""
        self.keep_limit()
        if self._descriptor is not None:
            _write(self._descriptor, f"{line}\n".encode(errors="replace"))

    def epoch(self, report: EpochReport, epochs: int, self_reported: bool = False) -> None:
        """Adds an epoch's line; `epochs` is the number that the plan has.

        Of a team's own code, loss and accuracy are what it says of itself.
        """
        said = " (self-reported)" if self_reported else ""
        self.say(
            f"epoch {report.epoch}/{epochs}  loss {report.train_loss:#.4g}  "
            f"accuracy {report.train_accuracy:.1%}{said}  validation {report.val_accuracy:.1%}  "
            f"{report.seconds:.1f} s".replace("%", " %")
        )

    def output(self, data: bytes) -> None:
        """Adds what a process of a team's own printed, from any thread."""
        if self._descriptor is not None and not self._full:
            _write(self._descriptor, data)

    def keep_limit(self) -> None:
        """Cuts the file where it has outgrown the limit, and sends the rest nowhere."""
        with self._lock, suppress(OSError):
            if self._descriptor is None or self._full:
                return
            if os.fstat(self._descriptor).st_size <= self._limit_bytes:
                return
            self._full = True
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            os.ftruncate(self._descriptor, self._limit_bytes)
            left_out = f"\n[{self._limit_bytes} bytes; the rest of what is printed is left out]\n"
            _write(self._descriptor, left_out.encode())


@contextmanager
def member_log(
    path: str | None, heading: str, limit_bytes: int = LIMIT_BYTES
) -> Iterator[MemberLog]:
    """The log of a training that runs in the block; nothing is written without a path.

    What the block raises is written down and goes on. One block at a time in a process.
    """
    with _file_of(path) as (file, copy), _redirected(file) as descriptor, _shown_again():
        log = MemberLog(descriptor, limit_bytes)
        started_s = time.monotonic()
        log.say(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}  {heading}")
        _WATCHER.watch(log, copy)
        end, why = "completed", ""
        try:
            yield log
        except Stopped:
            end = "stopped"
            raise
        except BaseException as error:
            end, why = "failed", f": {type(error).__name__}: {error}"
            if not isinstance(error, JobsError):  # its words say all there is to know
                log.say(traceback.format_exc().rstrip())
            raise
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            _WATCHER.forget()
            log.say(f"{end} after {time.monotonic() - started_s:.1f} s{why}")
            if copy is not None:
                copy.finish()


class _Watcher:
    """Looks after the process's open log, from a thread that is kept for the next one's.

    Starting one for each member took 0.2 ms, which tiny members notice.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()
        self._lock = threading.Lock()  # held while it looks
        self._watched: tuple[MemberLog, LogCopy | None] | None = None

    def watch(self, log: MemberLog, copy: LogCopy | None) -> None:
        """Begins to look."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="member log", daemon=True)
            self._thread.start()
        self._watched = log, copy
        self._wanted.set()

    def forget(self) -> None:
        """Looks no more, from this moment on."""
        self._wanted.clear()
        with self._lock:
            self._watched = None

    def _look(self) -> None:
        while self._wanted.wait():
            time.sleep(LOOK_EVERY_S)
            with self._lock:
                if self._watched is not None:
                    log, copy = self._watched
                    log.keep_limit()
                    if copy is not None:
                        copy.refresh()


_WATCHER = _Watcher()


@contextmanager
def _file_of(path: str | None) -> Iterator[tuple[str | None, LogCopy | None]]:
    """The local file to write to, and who copies it to where it is kept, if that is elsewhere."""
    if path is None or isinstance(place := where(path), Path):
        yield path, None
        return
    with tempfile.TemporaryDirectory(prefix="gamectl-log-") as folder:
        file = Path(folder) / place.rpartition("/")[2]
        yield str(file), LogCopy(file, place)


@contextmanager
def _shown_again() -> Iterator[None]:
    """Makes Python show warnings that it has shown to an earlier member of the process."""
    with warnings.catch_warnings():
        yield


@contextmanager
def _redirected(path: str | None) -> Iterator[int | None]:
    """Leads both outputs of the process into the file; gives its descriptor, None for no file."""
    if path is None:
        yield None
        return
    try:
        log = _opened(path)
    except OSError:
        yield None
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    before = os.dup(1), os.dup(2)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        # Python's own streams would raise where the disk is full, in the midst of training.
        with redirect_stdout(_stream(1)), redirect_stderr(_stream(2)):
            yield log
    finally:
        for descriptor, output in zip(before, (1, 2), strict=True):
            os.dup2(descriptor, output)
            os.close(descriptor)
        os.close(log)


def _opened(path: str) -> int:
    # Appended, so that outputs and our own lines never overwrite each other.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o644)


class _Output(io.RawIOBase):
    """A descriptor to write to that never raises."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: "io.ReadableBuffer") -> int:  # type: ignore[name-defined]
        _write(self._descriptor, bytes(data))
        return len(data)


def _stream(descriptor: int) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(_Output(descriptor))
    return io.TextIOWrapper(buffer, "utf-8", errors="backslashreplace", line_buffering=True)


def _write(descriptor: int, data: bytes) -> None:
    with suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]
