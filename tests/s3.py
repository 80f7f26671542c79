"""A real server that speaks S3, on loopback, behind a door that can be shut for a while.

moto keeps its objects in memory, so it is not stopped: what stands before it is a door of our own,
and a shut one refuses connections as a store that is away does.
"""

import importlib.util
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.orchestrator.ray_head import free_port

WAIT_S = 60.0
HOST = "127.0.0.1"


def reason_why_not() -> str | None:
    """Why no server can be started here, or None where one can."""
    missing = [name for name in ("moto", "s3fs", "flask") if not importlib.util.find_spec(name)]
    return f"not installed: {', '.join(missing)}" if missing else None


class S3:
    """A running server."""

    def __init__(self, port: int) -> None:
        self._door = _Door(port)
        self._number = 0
        self.environment = {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "something",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self._door.port}",
            # A shut door is known at once, without minutes of trying again.
            "AWS_MAX_ATTEMPTS": "1",
        }

    def bucket(self) -> str:
        """A new, empty bucket; its name."""
        self._number += 1
        name = f"bucket-{self._number}"
        self.files().mkdir(name)
        return name

    def files(self) -> Any:
        """What is in it, as fsspec shows it."""
        import s3fs

        return s3fs.S3FileSystem(use_listings_cache=False)

    @contextmanager
    def away(self) -> Iterator[None]:
        """A block in which nobody reaches the server."""
        self._door.shut()
        try:
            yield
        finally:
            self._door.open()

    def close(self) -> None:
        """Ends the door for good."""
        self._door.shut()


class _Door:
    """Passes connections on to a port of this machine, while it is open."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self.port = free_port()
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server((HOST, self.port), reuse_port=False)
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        for each in (self._listener, *self._pairs):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                outside, _ = listener.accept()
            except OSError:
                return  # shut
            inside = socket.create_connection((HOST, self._behind))
            self._pairs += [outside, inside]
            threading.Thread(target=_pass_on, args=(outside, inside), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with closing(one), closing(other), suppress(OSError, ValueError):
        while True:
            for ready in select.select([one, other], [], [])[0]:
                data = ready.recv(1 << 16)
                if not data:
                    return
                (other if ready is one else one).sendall(data)


@contextmanager
def s3_server() -> Iterator[S3]:
    """A server for a block, in a process of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("ab") as log:
        words = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
        with subprocess.Popen(words, stdout=log, stderr=log, env=_plain_environment()) as process:
            try:
                deadline = time.monotonic() + WAIT_S
                while not _answers(port):
                    assert process.poll() is None, (Path(folder) / "log").read_text()
                    assert time.monotonic() < deadline, "the server never answered"
                    time.sleep(0.1)
                server = S3(port)
                try:
                    yield server
                finally:
                    server.close()
            finally:
                process.kill()


def _plain_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=5):
        return True
    return False
