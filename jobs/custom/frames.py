"""What crosses between the two sides of a sandbox: frames over a socket, arrays in shared memory.

A frame is one line of JSON (`kind`, the `sizes` of what follows, fields of its kind) and then as
many raw blobs. Both sides use the same `Channel`, and neither believes the other: sizes are checked
before anything is read, and reading executes nothing. Arrays only go in: as sealed memory files,
which whoever holds them can map but not change. Used by `jobs.custom.parent` and
`jobs.custom.child`; what a frame of each kind holds stands in `jobs.custom.answers`.
"""

import fcntl
import io
import json
import math
import mmap
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

CHANNEL_FD = 3  # the child's end of the socket
# A plan with a source of 64 KiB fits, however many of its characters JSON has to escape.
MAX_LINE_BYTES = 512 * 1024
MAX_SAID_CHARS = 100
MAX_BLOBS = 4
CHUNK_BYTES = 1 << 20
LOOK_EVERY_S = 0.1
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class FrameError(ValueError):
    """What came is not a frame, or is larger than allowed; the channel is of no further use."""


@dataclass(frozen=True)
class Frame:
    """One message. Its fields are as the other side wrote them: plain JSON values, unchecked."""

    kind: str
    fields: dict[str, Any]
    blobs: tuple[bytes, ...]
    line_bytes: int = field(default=0, compare=False)  # that its line had, blanks included


class Channel:
    """Frames over one connected stream socket; for one thread at a time."""

    def __init__(
        self, sock: socket.socket, largest_blob: int, look: Callable[[], None] | None = None
    ) -> None:
        """Take over the socket.

        Args:
            sock: connected; it is made non-blocking.
            largest_blob: bytes; a frame that announces more than that, in all its blobs
                together, is refused unread.
            look: called every LOOK_EVERY_S at least while it waits; what it raises ends the wait.
        """
        sock.setblocking(False)
        self._sock = sock
        self._largest_blob = largest_blob
        self._look = look
        self._ahead = bytearray()  # read already, of the next line or blob

    def send(
        self, kind: str, fields: dict[str, Any] | None = None, blobs: Sequence[bytes] = ()
    ) -> None:
        """Send one frame, whole.

        Raises:
            BrokenPipeError, ConnectionResetError: the other side is gone.
            ValueError: the fields are no plain JSON values, are not finite, or are too many.
        """
        sizes = [len(blob) for blob in blobs]
        head = {**(fields or {}), "kind": kind, "sizes": sizes}
        line = json.dumps(head, allow_nan=False).encode() + b"\n"
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a frame's line of {len(line)} bytes; {MAX_LINE_BYTES} are allowed")
        for part in (line, *blobs):
            rest = memoryview(part)
            while rest:
                try:
                    rest = rest[self._sock.send(rest[:CHUNK_BYTES]) :]
                except BlockingIOError:
                    self._wait(select.POLLOUT, None)

    def receive(self, deadline_s: float | None = None) -> Frame:
        """Return the next frame.

        Args:
            deadline_s: of `time.monotonic()`; the channel is of no use once it has passed.

        Raises:
            EOFError: the other side has closed its end, or died.
            FrameError: it sent something else than a frame, or too large a one.
            TimeoutError: the deadline has passed.
        """
        line = self._line(deadline_s)
        head = _head(line)
        kind, sizes = head.pop("kind", None), head.pop("sizes", None)
        if not isinstance(kind, str):
            raise FrameError("a frame without a kind")
        if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
            raise FrameError(f"a frame {kind[:20]!r} without the sizes of its blobs")
        if len(sizes) > MAX_BLOBS:
            raise FrameError(f"a frame with {len(sizes)} blobs; {MAX_BLOBS} are allowed")
        if min(sizes, default=0) < 0 or sum(sizes) > self._largest_blob:
            said = str(sizes)[:MAX_SAID_CHARS]  # a number may have thousands of digits
            raise FrameError(
                f"blobs of {said} bytes; {self._largest_blob} together are the most allowed, and "
                "a network's weights and momentum are such blobs"
            )
        blobs = tuple(self._blob(size, deadline_s) for size in sizes)
        return Frame(kind, head, blobs, len(line))

    def close(self) -> None:
        """Close this end; the other side then meets the end of the file."""
        self._sock.close()

    def _line(self, deadline_s: float | None) -> bytes:
        searched = 0
        while (end := self._ahead.find(b"\n", searched, MAX_LINE_BYTES)) < 0:
            if len(self._ahead) >= MAX_LINE_BYTES:
                raise FrameError(f"a line of more than {MAX_LINE_BYTES} bytes")
            searched = len(self._ahead)
            self._ahead += self._some(64 * 1024, deadline_s)
        line = bytes(self._ahead[:end])
        del self._ahead[: end + 1]
        return line

    def _blob(self, size: int, deadline_s: float | None) -> bytes:
        # Memory is taken as bytes arrive, not as they are announced, and never twice.
        content = io.BytesIO()
        content.write(self._ahead[:size])
        del self._ahead[:size]
        while (missing := size - content.tell()) > 0:
            content.write(self._some(min(missing, CHUNK_BYTES), deadline_s))
        return content.getvalue()

    def _some(self, most: int, deadline_s: float | None) -> bytes:
        while True:
            try:
                received = self._sock.recv(most)
            except BlockingIOError:
                self._wait(select.POLLIN, deadline_s)
                continue
            except ConnectionResetError:
                received = b""
            if not received:
                raise EOFError("the other side has closed the channel")
            if self._look is not None:
                self._look()
            return received

    def _wait(self, event: int, deadline_s: float | None) -> None:
        if self._look is not None:
            self._look()
        timeout_s = LOOK_EVERY_S
        if deadline_s is not None:
            timeout_s = min(timeout_s, deadline_s - time.monotonic())
            if timeout_s <= 0:
                raise TimeoutError("no frame before the deadline")
        poll = select.poll()
        poll.register(self._sock, event)
        poll.poll(timeout_s * 1000)


def _head(line: bytes) -> dict[str, Any]:
    """Read a frame's line; Python's own reader would let NaN and Infinity pass."""
    try:
        head = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a line that is no JSON: {line[:40]!r}") from error
    if not isinstance(head, dict):
        raise FrameError(f"a line that is no JSON object: {line[:40]!r}")
    return head


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@dataclass(frozen=True)
class SharedArray:
    """An array in a sealed memory file, as the side that made it holds it."""

    fd: int
    dtype: str  # as numpy writes it, such as "|u1" or "<f4"
    shape: tuple[int, ...]

    def described(self) -> list[Any]:
        """Return what `open_shared` takes, as plain JSON values."""
        return [self.fd, self.dtype, list(self.shape)]

    def close(self) -> None:
        """Give the memory up; maps of it that exist stay good."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def share(array: np.ndarray) -> SharedArray:
    """Copy an array into a sealed memory file: nobody can change it or its size any more.

    Raises:
        OSError: there is no memory or no descriptor left for it.
    """
    array = np.asarray(array, order="C")
    low = os.memfd_create("array", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:  # the child has it under the same number, which must not be the channel's
        fd = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, CHANNEL_FD + 1)
    finally:
        os.close(low)
    try:
        rest = array.reshape(-1).view(np.uint8).data
        while rest:
            rest = rest[os.write(fd, rest) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return SharedArray(fd, array.dtype.str, array.shape)


def open_shared(fd: int, dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Map a shared array, read-only; the descriptor may be closed afterwards.

    Raises:
        OSError, ValueError: there is no such array behind the descriptor.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size == 0:
        return np.empty(shape, kind)
    mapped = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
    return np.frombuffer(mapped, kind).reshape(shape)
