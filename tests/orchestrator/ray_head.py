"""A Ray cluster as an administrator starts it, `ray start --head` and more nodes; token and all.

Nothing is shared with other clusters of this machine: ports, folder and token are its own, and its
processes are ended by their own process groups.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

WAIT_S = 120.0
POLL_S = 0.1
BIN = Path(sys.executable).parent
NODE = ["--object-store-memory=100000000", "--node-ip-address=127.0.0.1", "--block"]
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
"""How soon Ray notices that a node is gone; it takes half a minute by default."""
NOT_THEIRS = (
    "PYTHONPATH", "GAME_STORE", "GAME_ARTIFACTS", "MLFLOW_TRACKING_URI", "RAY_ADDRESS",
    "RAY_AUTH_TOKEN",
)  # fmt: skip


class RayNode:
    """A node of a cluster: the processes of one `ray start --block`."""

    def __init__(
        self, words: list[str], env: dict[str, str], folder: Path, num_cpus: int = 1
    ) -> None:
        more = [f"--num-cpus={num_cpus}", f"--dashboard-agent-listen-port={free_port()}"]
        with (folder / "nodes.log").open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "ray", "start", *words, *NODE, *more],
                env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """Ends it without a word, as a machine that loses its power."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Ends it in order, where it has not ended."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    @property
    def running(self) -> bool:
        return self._process.poll() is None


class RayHead:
    """A head; `url` is its dashboard, and `address` where drivers of this machine join it.

    `env` is the environment of all of its nodes.
    """

    def __init__(self, folder: Path, env: dict[str, str], num_cpus: int = 1) -> None:
        self.token_file = folder / "token"
        self.token_file.write_text("0123456789abcdef" * 4)
        self._folder = folder
        clean = {name: value for name, value in os.environ.items() if name not in NOT_THEIRS}
        self._env = {
            **clean,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            **env,
        }
        gcs_port, port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.address = f"127.0.0.1:{gcs_port}"
        words = ["--head", f"--port={gcs_port}", f"--temp-dir={folder / 'ray'}"]
        words += [f"--dashboard-port={port}", "--dashboard-host=127.0.0.1"]
        words += [f"--ray-client-server-port={free_port()}", f"--system-config={json.dumps(QUICK)}"]
        self._nodes = [RayNode(words, self._env, folder, num_cpus)]
        self._wait_for(1)

    def add_node(self) -> RayNode:
        """Another node with one CPU; waits until it is there."""
        before = len(self.nodes())
        self._nodes.append(RayNode([f"--address={self.address}"], self._env, self._folder))
        self._wait_for(before + 1)
        return self._nodes[-1]

    def nodes(self) -> list[dict[str, Any]]:
        """The nodes that are alive, as the dashboard's API lists them."""
        try:
            found = self.get("/api/v0/nodes?limit=100&detail=1")["data"]["result"]["result"]
        except (OSError, ValueError, LookupError):  # it is not up yet
            return []
        return [node for node in found if node["state"] == "ALIVE"]

    def get(self, path: str) -> Any:
        """What the dashboard answers."""
        token = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        host = self.url.removeprefix("http://")
        with closing(HTTPConnection(host, timeout=10)) as connection:
            connection.request("GET", path, headers=token)
            return json.loads(connection.getresponse().read())

    def environments_of_slots(self) -> list[dict[str, str]]:
        """What the processes of this cluster's slots were started with; others may run here."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if b"ray::Slot" not in (folder / "cmdline").read_bytes():
                    continue
                lines = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # it has ended
                continue
            env = dict(line.decode().partition("=")[::2] for line in lines if b"=" in line)
            if env.get("RAY_AUTH_TOKEN_PATH") == str(self.token_file):
                found.append(env)
        return found

    def stop(self) -> None:
        """Ends all nodes, the head last."""
        for node in reversed(self._nodes):
            node.stop()

    def _wait_for(self, number: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while len(self.nodes()) != number:
            log = (self._folder / "nodes.log").read_text()
            assert self._nodes[-1].running, log
            assert time.monotonic() < deadline, log
            time.sleep(POLL_S)


@contextmanager
def ray_head(env: Callable[[Path], dict[str, str]], num_cpus: int = 1) -> Iterator[RayHead]:
    """A head for the length of a block, in a folder of its own, from which `env` is made."""
    # Not below pytest's: the paths of Ray's sockets have to be short.
    folder = Path(tempfile.mkdtemp(prefix="game-ray-"))
    try:
        head = RayHead(folder, env(folder), num_cpus)
        try:
            yield head
        finally:
            head.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_GIVEN: set[int] = set()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses, and that this process was not given before.

    It is taken seconds later. Of those that the system hands out by itself another process may have
    it by then, for a connection of its own, so it is one below them.
    """
    while True:
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port := 20_000 + secrets.randbelow(12_000)))
            if port not in _GIVEN:
                _GIVEN.add(port)
                return port
