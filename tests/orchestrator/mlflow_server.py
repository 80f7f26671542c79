"""A real MLflow tracking server in a process of its own, to be killed and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.orchestrator.ray_head import free_port

WAIT_S = 120.0


class MlflowServer:
    """A server whose data outlives it; `url` is where it answers.

    By default it has no passwords, and a SQLite file. `words` start another one, on `port`, with
    more variables in its environment.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        words: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._port = port or free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._words = words or [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
            "--port", str(self._port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder / 'server.db'}",
            "--artifacts-destination", str(folder / "served"),
        ]  # fmt: skip
        # What runs GenAI evaluations takes as long to start as all the rest.
        quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._env = {**os.environ, **quick, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._words,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._folder,
                env=self._env,
            )
        deadline = time.monotonic() + WAIT_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server never answered"
            time.sleep(0.1)

    def kill(self) -> None:
        """Ends it and its workers at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def status_of(self, path: str) -> int | None:
        """How it answers somebody without a password; None where it does not."""
        try:
            with closing(HTTPConnection("127.0.0.1", self._port, timeout=5)) as connection:
                connection.request("GET", path)
                return connection.getresponse().status
        except (HTTPException, OSError):
            return None

    def _answers(self) -> bool:
        return self.status_of("/health") == HTTPStatus.OK


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """A server that has been started, and is ended with the block."""
    server = MlflowServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
