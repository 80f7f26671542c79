"""Slots where there is no room: Ray's own autoscaler adds nodes, and takes them away again.

Run by `test_nodes` in a process of its own, with a folder; ends with 0 where all is well. The nodes
are processes on this machine, started by Ray's provider for such tests; the autoscaler is the real
one, as it runs beside a cluster's head on Kubernetes.
"""

import json
import os
import sys
import time
from functools import partial
from pathlib import Path

HEAD = "f" * 51 + "00000"
"""The id that the provider expects of the head."""
os.environ |= {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD,
    "RAY_FAKE_CLUSTER": "1",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
    "RAY_enable_autoscaler_v2": "1",
}

import ray  # noqa: E402 (it reads these when it is imported)
from ray.cluster_utils import Cluster  # noqa: E402

from jobs.values import Place  # noqa: E402
from orchestrator.admission.cohort import Resources  # noqa: E402
from orchestrator.cluster import slot  # noqa: E402
from orchestrator.cluster.connection import (  # noqa: E402
    largest_node,
    num_slots_that_fit,
    ray_cluster,
)
from orchestrator.cluster.room import Room  # noqa: E402
from orchestrator.cluster.updates import Trained  # noqa: E402
from tests.bench import processes  # noqa: E402
from tests.orchestrator.pools import PLAN, Inputs, noise, ready, train  # noqa: E402
from tests.orchestrator.ray_head import free_port  # noqa: E402
from tests.orchestrator.waiting import until  # noqa: E402

IDLE_MINUTES = 0.1
ASKED = Resources(cpus=1, gpus=0.25)
"""Four members a GPU. The node only says that it has one."""


def config(gcs_address: str) -> dict[str, object]:
    """A cluster of a head without room and at most two nodes with a pretended GPU each."""
    worker = {"CPU": 4, "GPU": 1, "object_store_memory": 100 << 20}
    return {
        "cluster_name": "fake",
        "max_workers": 2,
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",  # by its own name it would look for a file that is not installed
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": HEAD,
            "gcs_address": gcs_address,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "gpu": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        "head_node_type": "ray.head.default",
        "auth": {},
        "head_node": {},
        "worker_nodes": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


def num_nodes() -> int:
    return sum(node["Alive"] and node["Resources"].get("GPU", 0) > 0 for node in ray.nodes())


def main(folder: Path) -> None:
    port = free_port()
    host = ray.util.get_node_ip_address()
    file = folder / "autoscaling.json"
    file.write_text(json.dumps(config(f"{host}:{port}")))
    head = {
        "num_cpus": 0,
        "object_store_memory": 100 << 20,
        "include_dashboard": False,
        "gcs_server_port": port,
        "autoscaling_config": str(file),
    }
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        with ray_cluster(cluster.address):
            grow_and_shrink(folder)
    finally:
        ours = processes.descendants(os.getpid())  # also of nodes that the autoscaler started
        cluster.shutdown()
        processes.kill(ours)


class Untried(slot.Slot):
    """A slot that takes its node's word for the GPU."""

    def ready(self) -> str:
        ray.get_gpu_ids = list
        return super().ready()


def grow_and_shrink(folder: Path) -> None:
    from orchestrator.cluster import slots
    from orchestrator.cluster.slots import RaySlots

    slots.Slot = Untried  # type: ignore[misc]
    inputs = Inputs(noise())
    room = Room(partial(num_slots_that_fit, ASKED), largest_node, grows=True)
    assert room.fits == 0
    assert room.nodes_may_come
    pool = RaySlots(room, ASKED, inputs.images, inputs.teaching, keep_idle_s=0)

    # 1. Three members want a slot where there is no room: a node comes, and holds all of them.
    began = time.monotonic()
    pool.want(3)
    ready(pool, 3)
    sys.stdout.write(f"three slots {time.monotonic() - began:.1f} s after they were asked for\n")
    assert num_nodes() == 1, "a quarter of a GPU each"

    # 2. Six do not fit there: another one comes.
    pool.want(6)
    slots = ready(pool, 6)
    assert num_nodes() == 2
    until(lambda: pool.want(6) or room.fits == 8)
    assert room.machine.gpus == 1
    place = Place(str(folder / "checkpoint"), str(folder / "a1.log"))
    assert isinstance(train(pool, slots[-1], place, PLAN)[-1], Trained)

    # 3. Nobody wants any: they are given back, and so the nodes are taken away.
    pool.want(0)
    assert pool.states() == []
    began = time.monotonic()
    until(lambda: num_nodes() == 0)
    took_s = time.monotonic() - began
    sys.stdout.write(f"no node {took_s:.1f} s after the slots were given back\n")
    until(lambda: pool.want(0) or room.fits == 0)
    pool.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
