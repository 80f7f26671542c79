"""A cohort on a Ray cluster elsewhere: its controller as one Ray job, and what both sides share.

In: the address of the cluster and the settings of whoever submits. Out: a `Launcher` for `attend`,
and the command that the job runs. Next on the path: `ray_jobs`, and there `cli.controller`.

Passwords do not travel: a job's command, environment and metadata can be read by everybody who may
look at the cluster, and by what runs in its slots. The head has its own, in its own environment,
which wins in everything it says; what it does not say goes with the command, without secrets.
"""

import secrets
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic_core import PydanticCustomError

from orchestrator.admission.cohort import HERE, cluster_address
from orchestrator.cluster.ray_jobs import JobState, RayJobs
from orchestrator.control.launch import last_lines
from orchestrator.errors import Refused, StoreError
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.store import Store
from orchestrator.store.urls import is_server, without_secrets

Code = Literal["carried", "image"]
"""Where a cluster has our code from: from us, with the job, or installed there already."""

HOME_THERE = "~/.game"
"""For caches; where a job of Ray's has its own folder is Ray's affair."""
PACKAGES = ("orchestrator", "jobs")


class RemoteLauncher:
    """Starts controllers as jobs of a Ray cluster."""

    def __init__(self, address: str, settings: Settings, code: Code = "carried") -> None:
        self.address = address
        self._settings = settings
        self._code = code
        self._jobs = RayJobs(address)

    def check(self) -> None:
        """Raises `Refused` where store, MLflow or artifacts are out of its reach, and
        `ClusterError` where it is out of ours."""
        check_shared(self._settings)
        self._jobs.check()

    def launch(self, name: str, store: Store) -> "RemoteController":
        """Submits a job for the cohort; one that is on its way already is taken instead."""
        self.check()
        # Its oldest job tells a cohort from one of the same name in another store.
        mine = {"game-cohort": name, "game-first-job": store.jobs(name)[0].uid}
        job = self._jobs.running(mine)
        if job is not None:
            return RemoteController(self._jobs, job, joined=True)
        job = f"game-{name}-{secrets.token_hex(3)}"
        words = controller_command(name, store.jobs(name)[-1].uid, self._settings)
        self._jobs.submit(job, words, mine, _packages() if self._code == "carried" else [])
        return RemoteController(self._jobs, job)


class RemoteController:
    """A controller that is a job of a Ray cluster."""

    look_every_s = 0.5

    def __init__(self, jobs: RayJobs, job: str, joined: bool = False) -> None:
        self._jobs = jobs
        self._job = job
        self._joined = joined
        self._state: JobState | None = None

    def exit_code(self) -> int | None:
        """How the job ended; None while it runs or waits to."""
        self._state = self._jobs.state(self._job)
        ended = self._state.exit_code
        # One that was there before us may have been at its end already: no failure of ours.
        return 0 if self._joined and ended is not None else ended

    def said(self) -> str:
        """The error that ended it, or else the last lines of its log."""
        log = self._jobs.log(self._job)
        _, found, error = f"\n{log}".rpartition("\nerror: ")
        if found:
            return f"{last_lines(error)} (log: `{self._command}`)"
        state = self._state or self._jobs.state(self._job)
        return f"{state.status}: {state.message}\n{last_lines(log)}\n(log: `{self._command}`)"

    def place(self, holder: str) -> str:  # noqa: ARG002  # an interface
        """The job's name, and how to read its log."""
        return f"(Ray job {self._job} at {self._jobs.address}), log: `{self._command}`"

    @property
    def _command(self) -> str:
        return f"ray job logs --address {self._jobs.address} {self._job}"


def launcher_of(
    asked: str | None, of_cohort: str, settings: Settings, code: Code
) -> RemoteLauncher | None:
    """Where a cohort is to run: as `asked`, or else as the cohort says; None is here."""
    try:
        address = of_cohort if asked is None else cluster_address(asked or HERE)
    except PydanticCustomError as error:
        raise Refused(f"--{error.message()}") from error
    return None if address == HERE else RemoteLauncher(address, settings, code)


def check_shared(settings: Settings) -> None:
    """Raises `Refused` unless another machine reaches the store, MLflow and the artifacts."""
    uri = settings.mlflow_tracking_uri
    wrong = {
        "GAME_STORE, a PostgreSQL URL": settings.store is None or not is_server(settings.store),
        "MLFLOW_TRACKING_URI, a server's URL": uri is None or not (_is_http(uri) or is_server(uri)),
        "GAME_ARTIFACTS, a folder or URI": settings.artifacts_uri is None,
    }
    missing = [name for name, is_wrong in wrong.items() if is_wrong]
    if missing:
        raise Refused(
            "a cluster needs a store, MLflow and artifacts that it and this machine reach alike; "
            f"set {'; '.join(missing)}"
        )


def controller_command(name: str, uid: str, settings: Settings) -> str:
    """What the job runs: the cohort's controller, which must find the job `uid` in its store."""
    words = ["python", "-P", "-m", "orchestrator", "controller", "--cohort", name, "--job", uid]
    for variable, value in shared(settings).items():
        words += ["--default", f"{variable}={value}"]
    return shlex.join(words)


def shared(settings: Settings) -> dict[str, str]:
    """What a controller elsewhere is told of our settings, by variable and without secrets."""
    store, uri, artifacts = settings.store, settings.mlflow_tracking_uri, settings.artifacts
    assert store is not None, "check_shared was asked"
    assert uri is not None, "check_shared was asked"
    return {
        "GAME_STORE": without_secrets(store),
        "MLFLOW_TRACKING_URI": _without_user(uri) if _is_http(uri) else without_secrets(uri),
        "GAME_ARTIFACTS": _without_user(artifacts)
        if isinstance(artifacts, str)
        else str(artifacts),
        "GAME_HOME": HOME_THERE,
    }


def check_same_store(name: str, jobs: Sequence[Job], uid: str, settings: Settings) -> None:
    """Raises `StoreError` where a controller was sent for a job that its store does not have."""
    if all(job.uid != uid for job in jobs):
        raise StoreError(
            f"the store {without_secrets(settings.store_url)} that {socket.gethostname()} reaches, "
            f"where the controller runs, lacks what was submitted to cohort {name!r}: GAME_STORE "
            "there and where you submit must name the same database"
        )


def _packages() -> list[str]:
    """The folders of our code."""
    root = Path(__file__).parents[2]
    return [str(root / package) for package in PACKAGES]


def _is_http(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _without_user(uri: str) -> str:
    """A URI without what stands before its host."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
