"""Ray's Jobs API: a cluster's head asked over HTTP, without joining the cluster.

In: the address of a dashboard, http://HOST:8265. Out: jobs that run a command there, how they do
and what they say. Used by `remote`; the job's command is `gamectl controller`.

A head is tried before anything is asked of it: Ray's own client waits for minutes where nothing
answers. What it is tried with needs no Ray, which takes seconds to import.
"""

import contextlib
import http.client
import importlib.metadata
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orchestrator.cluster.liveness import is_open
from orchestrator.errors import ClusterError, first_line

ANSWER_S = 10.0
DASHBOARD_PORT = 8265
WANTED = f"name the head's dashboard, http://HOST:{DASHBOARD_PORT}"
STOP_S = "60"
"""Time for a job that is stopped to queue again what runs; by default Ray kills it after 3 s."""
NO_CODE = ("__pycache__", "*.pyc", ".mypy_cache", ".ruff_cache")
"""What lies in packages and is not carried to a cluster."""
WINS = "RAY_API_SERVER_ADDRESS"
"""Ray's client of its Jobs API takes this variable's address, then RAY_ADDRESS's, then ours."""
WHERE_TOKENS_ARE = (
    "Ray's tokens come from RAY_AUTH_TOKEN, the file in RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token; "
    "`ray get-auth-token` on the head shows the one it wants"
)


@dataclass(frozen=True)
class JobState:
    """How a job does."""

    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str
    exit_code: int | None
    """None while it has not ended."""


class RayJobs:
    """The jobs of a cluster. Every method raises `ClusterError` where its head does not answer."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._connected: Any = None

    def check(self) -> None:
        """Raises `ClusterError` where the head is away, refuses our token or is another version."""
        theirs = self._ask("/api/version").get("ray_version")
        ours = importlib.metadata.version("ray")
        if theirs != ours:
            raise ClusterError(
                f"{self.address} runs Ray {theirs}, and this is Ray {ours}: install ray=={theirs} "
                f"here, or run Ray {ours} there"
            )
        python = self._python()
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if python is not None and python.split(".")[:2] != here.split("."):
            raise ClusterError(
                f"{self.address} runs Python {python}, and this is Python {here}: the same code "
                "must run on both; use the same minor version here and there"
            )

    def submit(self, job: str, command: str, metadata: Mapping[str, str], code: list[str]) -> None:
        """Submits a job of that name; `code` are folders of packages that it carries with it."""
        runtime_env: dict[str, Any] = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": STOP_S}}
        if code:
            runtime_env |= {"py_modules": code, "excludes": list(NO_CODE)}
        with self._asking() as client:
            client.submit_job(
                entrypoint=command,
                submission_id=job,
                metadata=dict(metadata),
                runtime_env=runtime_env,
            )

    def running(self, metadata: Mapping[str, str]) -> str | None:
        """A job with that metadata which has not ended."""
        with self._asking() as client:
            jobs = client.list_jobs()
        for job in jobs:
            mine = (job.metadata or {}).items() >= metadata.items()
            if mine and job.submission_id and not job.status.is_terminal():
                return str(job.submission_id)
        return None

    def state(self, job: str) -> JobState:
        """How the job of that name does."""
        with self._asking() as client:
            info = client.get_job_info(job)
        ended = 0 if info.status == "SUCCEEDED" else (info.driver_exit_code or 1)
        exit_code = ended if info.status.is_terminal() else None
        return JobState(str(info.status.value), info.message or "", exit_code)

    def log(self, job: str) -> str:
        """What the job has written on both of its outputs."""
        with self._asking() as client:
            return str(client.get_job_logs(job))

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Any]:
        """Ray's own client; what goes wrong in the block is a `ClusterError`."""
        if self._connected is None:
            self._ask("/api/version")
        # Ray says what it uploads, line by line.
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
            logging.getLogger(name).setLevel(logging.WARNING)
        from ray.exceptions import AuthenticationError

        try:
            if self._connected is None:
                self._connected = self._client()
            yield self._connected
        except AuthenticationError as error:
            raise ClusterError(_no_entry(self.address)) from error
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(f"Ray at {self.address}: {first_line(error)}") from error

    def _client(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        before = os.environ.get(WINS)
        os.environ[WINS] = self.address
        try:
            return JobSubmissionClient(self.address, headers=_headers())
        finally:
            if before is None:
                del os.environ[WINS]
            else:
                os.environ[WINS] = before

    def _python(self) -> str | None:
        """The head's version of Python; None where it does not tell."""
        with contextlib.suppress(ClusterError):
            told = self._ask("/api/v0/cluster_metadata").get("data", {})
            return told.get("pythonVersion") if isinstance(told, dict) else None
        return None

    def _ask(self, path: str) -> dict[str, Any]:
        url = urlsplit(self.address)
        secure = url.scheme == "https"
        port = url.port or (443 if secure else 80)
        if not is_open((url.hostname or "", port)):
            raise ClusterError(
                f"cannot reach Ray at {self.address}: nothing answers there. It is the address of "
                f"the head's dashboard, port {DASHBOARD_PORT} by default"
            )
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(url.hostname or "", port, timeout=ANSWER_S)
        try:
            with contextlib.closing(connection):
                connection.request("GET", path, headers=_headers())
                answer = connection.getresponse()
                body = answer.read()
            if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise ClusterError(_no_entry(self.address))
            value = json.loads(body) if answer.status == HTTPStatus.OK else None
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise ClusterError(
                f"{self.address} does not answer as Ray's dashboard does: {first_line(error)}; "
                f"{WANTED}"
            ) from error
        if not isinstance(value, dict):
            raise ClusterError(
                f"{self.address} does not answer as Ray's dashboard does: status "
                f"{answer.status}; {WANTED}"
            )
        return value


def token() -> str | None:
    """The token that Ray's own clients would show; None where there is none."""
    said = os.environ.get("RAY_AUTH_TOKEN")
    if said:
        return said.strip()
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    with contextlib.suppress(OSError, RuntimeError):
        file = Path(path) if path else Path.home() / ".ray" / "auth_token"
        return file.expanduser().read_text().strip() or None
    return None


def _headers() -> dict[str, str]:
    mine = token()
    return {} if mine is None else {"Authorization": f"Bearer {mine}"}


def _no_entry(address: str) -> str:
    what = "wants a token, and there is none here" if token() is None else "refuses our token"
    return f"Ray at {address} {what}: {WHERE_TOKENS_ARE}"
