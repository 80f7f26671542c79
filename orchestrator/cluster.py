"""Ray, started here or joined where it runs already.

In: what a member needs and how many members there are. Out: a running connection and the number of
slots that fit. Next on the path: `slots`.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.cohort import Resources
from orchestrator.errors import ClusterError

OBJECT_STORE_BYTES = 1 << 30
"""Room for decoded images on a local cluster: 1,400 images of 224 px take 200 MB."""


@contextmanager
def ray_cluster(address: str | None = None, num_cpus: int | None = None) -> Iterator[None]:
    """A connection to Ray for the length of the block.

    `address` joins a running cluster, otherwise one is started on this machine, with `num_cpus`
    CPUs (all by default), and stopped at the end. A connection that is there already is used and
    left as it was. Raises `ClusterError` where Ray does not come up.
    """
    # Ray reads these when it is imported. Sending usage figures home is not ours to decide.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    local = {} if address else {"num_cpus": num_cpus, "object_store_memory": OBJECT_STORE_BYTES}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            **local,
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = f"at {address}" if address else "on this machine"
        raise ClusterError(f"cannot reach or start Ray {where}: {error}") from error
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler ends the process with a stack trace, before anything is put in order.
        signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        ray.shutdown()


def num_slots_that_fit(resources: Resources) -> int:
    """How many members the cluster can train at the same time; raises `ClusterError` for none.

    Counted node by node, because a member does not stretch over two.
    """
    wanted = {"CPU": resources.cpus, "GPU": resources.gpus}
    fits = sum(_fits_on(node, wanted) for node in _nodes())
    if fits == 0:
        raise ClusterError(
            f"a member asks for {resources.cpus:g} CPUs and {resources.gpus:g} GPUs; "
            f"{_largest_node()}: lower resources.cpus or resources.gpus in the cohort file, or "
            "join a larger cluster"
        )
    return fits


def cpus_for_one(num_cpus: int | None, num_gpus: int) -> int:
    """The CPUs for something that has a node to itself: as many as asked for, or all of one.

    Raises `ClusterError` where no node has them, and the GPUs.
    """
    fitting = [node for node in _nodes() if _fits_on(node, {"CPU": num_cpus or 1, "GPU": num_gpus})]
    if not fitting:
        raise ClusterError(
            f"{num_cpus or 1} CPUs and {num_gpus} GPUs are asked for; {_largest_node()}"
        )
    return num_cpus or max(int(node["CPU"]) for node in fitting)


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _largest_node() -> str:
    most = {name: max((n.get(name, 0.0) for n in _nodes()), default=0.0) for name in ("CPU", "GPU")}
    return f"the largest node has {most['CPU']:g} CPUs and {most['GPU']:g} GPUs"


def _fits_on(node: dict[str, float], wanted: dict[str, float]) -> int:
    return min(int(node.get(name, 0.0) / amount) for name, amount in wanted.items() if amount)
