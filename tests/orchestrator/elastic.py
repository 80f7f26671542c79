"""A whole cohort on a cluster whose nodes come and go, with its figures for Prometheus.

Run by `test_nodes` in a process of its own, with a folder; ends with 0 where all is well. The
controller is a process of its own, as `gamectl submit --detach` starts it.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path

import ray
from ray._private.node import Node
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.cluster_utils import Cluster

from jobs.train import train_member
from orchestrator.cluster.connection import ray_cluster
from orchestrator.control.inputs import Inputs
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.store import Store
from orchestrator.terminal.lookup import lease_of
from tests.conftest import write_photos
from tests.orchestrator import waiting
from tests.orchestrator.ray_head import free_port

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}
SYSTEM = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "metrics_report_interval_ms": 1000,
}
PATIENCE_S = 150
until = partial(waiting.until, wait_s=PATIENCE_S)
EPOCHS = {"a-long": 250, "b-short": 30, "c-short": 30, "z-endless": 10_000}
"""With a batch of one an epoch takes a tenth of a second."""


def write_cohort(folder: Path) -> None:
    folder.mkdir()
    (folder / "cohort.yaml").write_text(
        "apiVersion: game/v1\nkind: Cohort\nmetadata: {name: small}\n"
        "spec: {limits: {epochs: 10000}, data: {source: ../data}}\n"
    )
    for seed, (team, epochs) in enumerate(EPOCHS.items()):
        (folder / f"{team}.yaml").write_text(
            f"apiVersion: game/v1\nkind: Loadout\nmetadata: {{team: {team}}}\n"
            f"spec: {{epochs: {epochs}, batchSize: 1, seed: {seed}}}\n"
        )


class Game:
    """The cohort as the store has it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.store_url)

    def job(self, team: str) -> Job:
        return next(job for job in self.store.jobs("small") if job.team == team)

    def running_on(self, node: str) -> Job | None:
        """The job that trains on a node."""
        for job in self.store.jobs("small"):
            (member,) = job.members
            on = member.phase is Phase.RUNNING and node.startswith(member.node or "-")
            if on and member.epoch > 0:
                return job
        return None

    def num_slots(self) -> int | None:
        lease = lease_of(self.store, "small")
        return lease.slots if lease is not None else None

    def end(self) -> None:
        """Ends the controller, where something went wrong and it is still there."""
        lease = lease_of(self.store, "small")
        if lease is not None:
            os.kill(int(lease.holder.rpartition(":")[2]), signal.SIGTERM)
        self.store.close()

    def gamectl(self, *words: object) -> None:
        command = [sys.executable, "-m", "orchestrator", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def demand(address: str) -> list[tuple[float, int]]:
    """What waits for room, as an autoscaler sees it: CPUs, and how often."""
    waits = get_cluster_status(address).resource_demands.ray_task_actor_demand
    return [
        (bundle.bundle["CPU"], bundle.count) for each in waits for bundle in each.bundles_by_count
    ]


def figures() -> dict[str, float]:
    """Our figures, from the endpoints of all nodes: name{tag=value} without Ray's own tags."""
    found: dict[str, float] = {}
    for node in ray.nodes():
        if not node["Alive"] or not node["MetricsExportPort"]:
            continue
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            continue
        for name, tags, value in re.findall(r"^ray_gamectl_(\w+)\{(.*)\} (\S+)$", text, re.M):
            named = dict(re.findall(r'(\w+)="([^"]*)"', tags))
            assert named["cohort"] == "small"
            key = " ".join([name, *(named[tag] for tag in ("phase", "blame") if tag in named)])
            found[key] = float(value)
    return found


def main(folder: Path) -> None:
    write_photos(folder / "data")
    write_cohort(folder / "cohort")
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 << 20}
    head |= {"_system_config": SYSTEM, "metrics_export_port": free_port()}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    os.environ |= {"GAME_HOME": str(folder / "home"), "RAY_ADDRESS": cluster.address}
    game = Game(Settings())
    try:
        with ray_cluster(cluster.address):
            try:
                play(game, cluster, folder)
            except BaseException:
                ports = [(node["MetricsExportPort"], node["Alive"]) for node in ray.nodes()]
                sys.stdout.write(f"slots {game.num_slots()}, {figures()} from {ports}\n")
                raise
    finally:
        game.end()
        cluster.shutdown()


def play(game: Game, cluster: Cluster, folder: Path) -> None:
    # 1. No node has room: members wait, and an autoscaler sees for what.
    game.gamectl("submit", folder / "cohort", "--detach")
    until(lambda: demand(cluster.address) == [(1.0, 4)])
    assert {job.phase for job in game.store.jobs("small")} == {Phase.PENDING}
    assert game.num_slots() == 0

    # 2. A node joins and is used, then another one.
    first = join(game, cluster)
    until(lambda: game.num_slots() == 1)
    until(lambda: demand(cluster.address) == [(1.0, 3)])
    join(game, cluster)
    until(lambda: game.num_slots() == 2)
    assert game.running_on(first.node_id).team == "a-long"
    until(lambda: figures().get("slots") == 2)
    seen = until(lambda: figures() if figures()["slots_busy"] == 2 else {})
    assert seen["queue_length"] + sum(v for k, v in seen.items() if "finished" in k) == 2

    # 3. The first one leaves without a word, and another one joins.
    cluster.remove_node(first, allow_graceful=False)
    until(lambda: game.job("a-long").members[0].phase is Phase.PENDING)
    join(game, cluster)
    until(lambda: game.job("a-long").members[0].phase is Phase.SUCCEEDED)
    (lost, again) = game.store.attempts(game.job("a-long").id)
    assert lost.reason in (Reason.NODE_LOST, Reason.SLOT_LOST), lost
    log = next((folder / "home").rglob("*a2.log")).read_text()
    resumed = int(re.search(r"resumed after epoch (\d+)", log)[1])
    told = game.store.epochs(lost.key.job_id, lost.key.index, lost.number)[-1][1].epoch
    sys.stdout.write(f"the node left after epoch {told}; the member went on after {resumed}\n")
    assert resumed >= told > 0, "what was told is not trained again"
    assert again.epoch == EPOCHS["a-long"]

    # 4. One member is left: the other slot is given back, and somebody else has the CPU.
    others = [team for team in EPOCHS if team != "z-endless"]
    until(lambda: all(game.job(team).phase is Phase.SUCCEEDED for team in others))
    where = ray.get(ray.remote(num_cpus=1)(_node).remote(), timeout=PATIENCE_S)
    (endless,) = game.job("z-endless").members
    assert endless.phase is Phase.RUNNING
    assert not where.startswith(endless.node)
    last = until(lambda: figures() if figures()["members_finished Succeeded"] == 3 else {})
    assert (last["queue_length"], last["slots_busy"], last["slots"]) == (0, 1, 2)
    assert last["retries_total cluster"] == game.store.retries("small")[Blame.CLUSTER] == 1

    # 5. Who was disturbed has the weights that plain training gives.
    game.gamectl("cancel", "z-endless")
    until(lambda: game.num_slots() is None)
    images = Inputs("small", game.store, game.settings)
    for team in others:
        job = game.job(team)
        (plan,) = game.store.plans(job.id)
        plain = train_member(plan, images.images(plan.data), lambda _: None)
        digest = hashlib.sha256(plain.weights).hexdigest()
        assert game.store.weights(job.id)[0].weights_sha256 == digest, team


def join(game: Game, cluster: Cluster) -> Node:
    """Adds a node, waits until a member trains on it, and says how long that took."""
    node = cluster.add_node(**NODE)
    joined_at = time.time()
    job = until(partial(game.running_on, node.node_id))
    took_s = job.members[0].started_at - joined_at
    sys.stdout.write(f"{job.team} started {took_s:.1f} s after the node had joined\n")
    return node


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
