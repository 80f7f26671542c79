"""The overlay `local` with a cohort, played by processes or containers of this machine.

In: a cohort's folder. Out: a `Cluster` with PostgreSQL set up by the manifests' own script, MLflow
started by its container's words, and Ray nodes started as KubeRay would. Everything that was
started is ended with the block.
"""

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from orchestrator.admission.files import read_paths
from orchestrator.deployment import RenderOptions
from orchestrator.kustomize import render
from tests.deploy.containers import Machine, config_maps
from tests.deploy.images import IMAGE_ENV, ImageMachine
from tests.deploy.manifests import Manifest, Pod, one, pods
from tests.orchestrator.postgres import Server, postgres_server
from tests.orchestrator.ray_head import free_port

WAIT_S = 120.0
EVERY_S = 0.1
NO_PORT = -1


@dataclass
class Cluster:
    """The manifests, and the machine that they run on."""

    documents: tuple[Manifest, ...]
    machine: Machine
    database: Server
    ports: Mapping[str, int]
    folder: Path
    token: str

    def pod(self, part: str) -> Pod:
        """The pod of a part."""
        (pod,) = (each for each in pods(self.documents) if each.part == part)
        return pod

    @property
    def job(self) -> Manifest:
        """The RayJob."""
        return one(self.documents, "RayJob")

    @contextmanager
    def running(self, part: str, words: list[str] | None = None) -> Iterator[Any]:
        """A pod's main container for a block; `words` are what an operator makes it run."""
        pod = self.pod(part)
        (container,) = pod.spec["containers"]
        env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token} if words else {}
        with (self.folder / f"{part}.log").open("w") as log:
            process = self.machine.start_words(
                pod,
                container,
                words or self.machine.words(pod, container),
                env=env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
                    try:
                        process.wait(20)
                    except subprocess.TimeoutExpired:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()

    def log(self, part: str) -> str:
        """What a part has said so far."""
        return (self.folder / f"{part}.log").read_text()[-4000:]

    def wait_for_probe(self, part: str, probe: str, process: Any, agent: str = "") -> None:
        """Waits until a probe of a running part is content."""
        (container,) = self.pod(part).spec["containers"]
        get = container[probe]["httpGet"]
        port = self.ports[agent or get["port"]]
        deadline = time.monotonic() + WAIT_S
        while fetch(port, get["path"]) != 200:
            assert process.poll() is None, self.log(part)
            assert time.monotonic() < deadline, self.log(part)
            time.sleep(EVERY_S)

    def ray_words(self, group: Manifest, where: Mapping[str, str | int]) -> list[str]:
        """`ray start` as KubeRay puts it together, on this machine's ports."""
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        given = {"num-cpus": limits["cpu"]} | group["rayStartParams"] | where
        # Two nodes of one machine must not give their workers the same ports.
        given |= {"min-worker-port": 0, "max-worker-port": 0, "node-ip-address": "127.0.0.1"}
        head = [] if "address" in where else ["--head"]
        return ["ray", "start", *head, "--block", *(f"--{k}={v}" for k, v in given.items())]


def fetch(port: int, path: str, headers: Mapping[str, str] | None = None) -> int:
    """The status of an answer; `NO_PORT` where nobody listens."""
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", path, headers=dict(headers or {}))
            return connection.getresponse().status
    except (HTTPException, OSError):
        return NO_PORT


@contextmanager
def cluster(loadouts: Path) -> Iterator[Cluster]:
    """A cluster with its databases made; the rest is started by whoever needs it."""
    from orchestrator.cli.deploy import cohort_files

    files, cohort = cohort_files(read_paths([loadouts]))
    documents = (
        *render(RenderOptions("local", cohort=cohort), files).manifests,
        *render(RenderOptions("score", cohort=cohort), files).manifests,
    )
    with ExitStack() as stack:
        # Ray's sockets allow no long paths.
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="k8s-", ignore_cleanup_errors=True)
            )
        )
        names = ("postgres", "http", "gcs", "dashboard", "agent", "worker-agent", "metrics")
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        database = stack.enter_context(postgres_server(False, "postgres", ports["postgres"]))
        needed = sorted({secret for pod in pods(documents) for secret in pod.secrets})
        addresses = {
            "postgres:5432": f"127.0.0.1:{ports['postgres']}",
            "--port=5432": f"--port={ports['postgres']}",
            "mlflow:5000": f"127.0.0.1:{ports['http']}",
            "--port=5000": f"--port={ports['http']}",
            "--host=0.0.0.0": "--host=127.0.0.1",
        }
        passwords = {secret: secrets.token_urlsafe(18) for secret in needed}
        kind = ImageMachine if IMAGE_ENV in os.environ else Machine
        machine = kind(folder, config_maps(documents), passwords, addresses)
        made = Cluster(documents, machine, database, ports, folder, secrets.token_hex(32))
        _make_databases(made)
        yield made


def _make_databases(cluster: Cluster) -> None:
    """Runs what PostgreSQL's image runs when its data folder is empty, and as it does."""
    pod = cluster.pod("database")
    (container,) = pod.spec["containers"]
    (mount,) = (m for m in container["volumeMounts"] if m["name"] == "init")
    assert mount["mountPath"] == "/docker-entrypoint-initdb.d"
    socket_env = {
        "PGHOST": str(cluster.database.socket_folder), "PGPORT": str(cluster.ports["postgres"])
    }  # fmt: skip
    for script in sorted(cluster.machine.folder(pod, "init").glob("*.sh")):
        script.resolve().chmod(0o555)  # the volume's defaultMode
        process = cluster.machine.start_words(
            pod, container, [str(script)], env=socket_env, stderr=subprocess.PIPE
        )
        _, said = process.communicate()
        assert process.returncode == 0, said


def _free_ports(number: int) -> list[int]:
    found: set[int] = set()
    while len(found) < number:
        found.add(free_port())
    return list(found)
