"""Loses a node under a member that trains there, then the head; on a cluster of several nodes.

Run by `test_nodes` in a process of its own, with a folder; ends with 0 where all is well.
"""

import sys
from pathlib import Path

import pytest
from ray._private.node import Node
from ray.cluster_utils import Cluster

from jobs.train import train_member
from jobs.values import Place
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.connection import num_slots_that_fit, ray_cluster
from orchestrator.cluster.faults import RAY_LOST
from orchestrator.cluster.liveness import node_is_gone
from orchestrator.cluster.updates import Failed, Trained
from orchestrator.errors import ClusterError, ClusterLost
from orchestrator.phases import Blame, Reason
from tests.orchestrator.pools import ENDLESS, KEY, PLAN, Inputs, ended, noise, ready, until

LONG = PLAN.model_copy(update={"epochs": 600})
"""So many that a fast processor, too, has some left when the node is lost."""
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
"""How soon Ray notices that a node is gone; it takes half a minute by default."""


def main(folder: Path) -> None:
    head = {**NODE, "num_cpus": 0, "include_dashboard": False, "_system_config": QUICK}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    address = cluster.address
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    try:
        with ray_cluster(address):
            survive(cluster, nodes, folder)
        with (
            pytest.raises(ClusterError, match="nothing answers there"),
            ray_cluster(address),
        ):
            pass
    finally:
        cluster.shutdown()


def survive(cluster: Cluster, nodes: list[Node], folder: Path) -> None:
    from orchestrator.cluster.room import Room
    from orchestrator.cluster.slots import RaySlots

    inputs = Inputs(noise())
    assert num_slots_that_fit(Resources()) == 2
    pool = RaySlots(Room.fixed(2), Resources(), inputs.images, inputs.teaching)
    pool.want(2)
    first, second = ready(pool, 2)
    assert pool.node(first) != pool.node(second)
    assert not node_is_gone(pool.node(first))

    # 1. A node goes away without a word.
    place = Place(str(folder / "checkpoint"), str(folder / "a1.log"))
    pool.start(first, KEY, 1, LONG, place)
    until(pool, lambda updates: len(updates) > 0)
    lost_node = pool.node(first)
    lost = next(node for node in nodes if node.node_id.startswith(lost_node))
    cluster.remove_node(lost, allow_graceful=False)
    failed = until(pool, ended(1))[-1]
    assert isinstance(failed, Failed), failed
    assert (failed.fault.reason, failed.fault.blame) == (Reason.NODE_LOST, Blame.CLUSTER)
    assert node_is_gone(lost_node)

    # 2. The member goes on upon the other node. The slot that was made anew waits for room.
    assert [state.name for state in pool.states()] == [second]
    place = Place(place.checkpoint, str(folder / "a2.log"))
    pool.start(second, KEY, 2, LONG, place)
    trained = until(pool, ended(1))[-1]
    assert isinstance(trained, Trained), trained
    assert trained.weights == train_member(LONG, noise(), lambda _: None).weights
    assert "resumed after epoch" in Path(place.log).read_text()
    assert lost_node not in Path(place.log).read_text()

    # 3. A node joins, and is used.
    cluster.add_node(**NODE)
    third = next(name for name in ready(pool, 2) if name != second)
    assert pool.node(third) not in (lost_node, pool.node(second))

    # 4. The head goes away.
    pool.start(third, KEY, 3, ENDLESS, Place(str(folder / "other"), str(folder / "a3.log")))
    until(pool, lambda updates: len(updates) > 0)
    cluster.head_node.kill_gcs_server()
    with pytest.raises(ClusterLost, match="Ray was lost"):
        until(pool, ended(1))
    assert pool.abandon() == [Failed(KEY, 3, RAY_LOST)]
    pool.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
