"""Ray, started here or joined where it runs already, and what its nodes have room for.

In: what a member needs and how many members there are. Out: a running connection, and the number of
slots that fit. Next on the path: `slots`; `liveness` tells whether Ray is still there.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from orchestrator.admission.cohort import Resources
from orchestrator.cluster.liveness import door_of, is_dashboard, is_open
from orchestrator.errors import ClusterError, first_line
from orchestrator.forecasting.capacity import Machine, num_that_fit
from orchestrator.loading import loading

OBJECT_STORE_BYTES = 1 << 30
"""Room for decoded images on a local cluster: 1,400 images of 224 px take 200 MB."""
SETTINGS = {
    # Sending usage figures home is not ours to decide.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment variables that Ray reads when it is imported; a user's own values stay."""
LOCAL_SETTINGS = {
    # Nobody sees the metrics and events of a Ray without a dashboard, and where Ray was lost,
    # disconnecting waits up to 20 s for the last of them to be delivered.
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
}
EAGER_SETTINGS = {
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
}
"""Both or neither. Ray's raylet is always a moment too early at its object store, and would wait a
second before it tries again: 10 s in all, as by default, in smaller steps."""
SECRETS = (
    "GAME_STORE", "PGPASSWORD", "PGPASSFILE", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
)  # fmt: skip
"""Variables that lead to the store and to MLflow, which slots have no business with."""
LOOPBACK = "127.0.0.1"
NOT_TO_JOIN = "that is the dashboard: unset RAY_ADDRESS and pass `--cluster {address}`"
"""What to do with an address of a dashboard."""


@contextmanager
def ray_cluster(
    address: str | None = None,
    num_cpus: int | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Iterator[None]:
    """A connection to Ray for the length of the block.

    `address` joins a running cluster, otherwise one is started on this machine, with `num_cpus`
    CPUs (all by default), and stopped at the end. A connection that is there already is used and
    left as it was. Raises `ClusterError` where Ray does not come up. `meanwhile` is called in a
    thread while Ray starts, and may take longer.

    Where Ray was lost meanwhile, leaving the block takes 1 to 7 s; then it can be entered again in
    the same process.
    """
    if address and is_dashboard(address):
        raise ClusterError(f"cannot join Ray at {address}; {NOT_TO_JOIN.format(address=address)}")
    for name, value in (SETTINGS if address else SETTINGS | LOCAL_SETTINGS).items():
        os.environ.setdefault(name, value)
    if not address and not EAGER_SETTINGS.keys() & os.environ.keys():
        os.environ.update(EAGER_SETTINGS)
    with loading():
        import ray

    if ray.is_initialized():
        yield
        return
    where = f"at {address}" if address else "on this machine"
    door = door_of(address)
    if door is not None and not is_open(door):
        # Ray would try for a minute.
        raise ClusterError(
            f"cannot reach Ray {where}: nothing answers there; start it, or correct RAY_ADDRESS"
        )
    if meanwhile is not None:  # not earlier: importing Ray would wait for it
        threading.Thread(target=meanwhile, name="meanwhile", daemon=True).start()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with _options(address, num_cpus) as options:
            ray.init(
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env=_environment(joined=bool(address)),
                **options,
            )
            if not address:
                _tell_agents()
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        ray.shutdown()  # of what was started before it failed
        raise ClusterError(
            f"cannot reach or start Ray {where}: {first_line(error)}; `gamectl doctor` looks for "
            "the reason"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler ends the process with a stack trace, before anything is put in order.
        signal.signal(signal.SIGTERM, on_sigterm)
    try:
        # A thread of Ray's prints what happened to its processes; results are all there is on
        # our stdout.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()


def num_slots_that_fit(resources: Resources) -> int:
    """How many members the cluster can train at the same time; raises `ClusterError` for none.

    Counted node by node, because a member does not stretch over two; its workers may be on several.
    """
    room = sum(num_that_fit(node, resources.cpus, resources.gpus) for node in _nodes())
    several = resources.workers_per_member
    if room < several:
        asks = f"a member asks for {resources.cpus:g} CPUs and {resources.gpus:g} GPUs"
        has, lower = _largest_in_words(), "resources.cpus or resources.gpus"
        if several > 1:
            asks += f" for each of its {several} workers"
            has = f"the cluster has room for {room} of them, and {has}"
            lower += " or resources.workersPerMember"
        raise ClusterError(
            f"{asks}; {has}: lower {lower} in the cohort file, or join a larger cluster"
        )
    return room // several


def cpus_for_one(num_cpus: int | None, num_gpus: int) -> int:
    """The CPUs for something that has a node to itself: as many as asked for, or all of one.

    Raises `ClusterError` where no node has them, and the GPUs.
    """
    fitting = [node for node in _nodes() if num_that_fit(node, num_cpus or 1, num_gpus)]
    if not fitting:
        raise ClusterError(
            f"{num_cpus or 1} CPUs and {num_gpus} GPUs are asked for; {_largest_in_words()}: lower "
            "--cpus, leave out --gpu, or join a larger cluster"
        )
    return num_cpus or max(int(node.cpus) for node in fitting)


def largest_node() -> Machine:
    """The most that any node has of each, busy or free; memory with the object store's part."""
    nodes = _nodes()
    return Machine(
        cpus=max((node.cpus for node in nodes), default=0.0),
        gpus=max((node.gpus for node in nodes), default=0.0),
        memory_bytes=max((node.memory_bytes for node in nodes), default=0),
    )


@contextmanager
def _options(address: str | None, num_cpus: int | None) -> Iterator[dict[str, Any]]:
    """Which Ray is joined, or how one of our own is started while the block lasts.

    Without a dashboard and without usage figures Ray's API server has nothing to do. `ray.init`
    starts it all the same and waits up to 2 s for it, unless its address is taken, which it says
    as an error and goes on.
    """
    if address:
        yield {"address": address}
        return
    log = logging.getLogger("ray._private.services")
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        log.disabled = True
        try:
            yield {
                "address": "local",
                "num_cpus": num_cpus,
                "object_store_memory": OBJECT_STORE_BYTES,
                "include_dashboard": False,
                "dashboard_host": LOOPBACK,
                "dashboard_port": taken.getsockname()[1],
            }
        finally:
            log.disabled = False


def _tell_agents() -> None:
    """Puts an address at which nothing listens where Ray's agents look for that of its API server.

    They would look once a second, and log that it is missing.
    """
    from ray.exceptions import RayError
    from ray.experimental.internal_kv import _internal_kv_put

    with contextlib.suppress(RayError):  # a log is all that suffers
        _internal_kv_put("dashboard", f"{LOOPBACK}:1", namespace="dashboard")


def _environment(joined: bool) -> dict[str, Any] | None:
    """What the processes of slots find other than their node does: no secrets.

    A node elsewhere may hold some that we do not see. Where there are none nothing is asked for:
    Ray keeps processes ready for those who take them as they are.
    """
    hidden = [name for name in SECRETS if joined or os.environ.get(name)]
    return {"env_vars": dict.fromkeys(hidden, "")} if hidden else None


def _nodes() -> list[Machine]:
    import ray

    return [_has(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _has(resources: dict[str, float]) -> Machine:
    memory = resources.get("memory", 0.0) + resources.get("object_store_memory", 0.0)
    return Machine(resources.get("CPU", 0.0), resources.get("GPU", 0.0), int(memory))


def _largest_in_words() -> str:
    machine = largest_node()
    return f"the largest node has {machine.cpus:g} CPUs and {machine.gpus:g} GPUs"
