"""Ray lost and found again, nodes that come and go: each in a process of its own, as the session's
Ray stays.

The scripts `lose_ray`, `lose_node`, `elastic` and `autoscaled` hold the steps and their assertions.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cluster.connection import EAGER_SETTINGS, LOCAL_SETTINGS, ray_cluster
from orchestrator.cluster.liveness import LivenessProbe
from orchestrator.errors import ClusterError, ClusterLost

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 560


def run(script: str, folder: Path) -> None:
    """Runs a script; what it prints is shown where it fails."""
    command = [sys.executable, "-W", "error", "-m", f"tests.orchestrator.{script}", str(folder)]
    # What other tests' own Ray is told, without metrics, is not for the script's clusters.
    ours = LOCAL_SETTINGS | EAGER_SETTINGS
    env = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    sys.stdout.write(done.stdout)  # what was measured; pytest shows it with -rP


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_lost_ray_is_started_again_and_the_member_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    run("lose_ray", tmp_path)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_member_of_a_lost_node_goes_on_upon_another_and_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    run("lose_node", tmp_path)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_slots_follow_nodes_that_come_and_go_and_demand_that_ends(tmp_path: Path) -> None:
    run("elastic", tmp_path)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_the_autoscaler_answers_demand_with_nodes_and_takes_them_back(tmp_path: Path) -> None:
    run("autoscaled", tmp_path)


def test_a_closed_door_is_noticed_within_a_second_or_at_once_where_it_matters() -> None:
    now = 100.0
    with socket.create_server(("127.0.0.1", 0)) as one:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            probe = LivenessProbe([one.getsockname(), other.getsockname()], lambda: now)
            probe.check()
        probe.check()  # not tried again so soon
        with pytest.raises(ClusterLost, match=f"nothing answers at 127.0.0.1:{port}"):
            probe.check(now=True)
        now += 1
        with pytest.raises(ClusterLost):
            probe.check()


def test_a_dashboard_cannot_be_joined() -> None:
    with socket.create_server(("127.0.0.1", 0)) as answers:
        address = f"http://127.0.0.1:{answers.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=f"unset RAY_ADDRESS and pass `--cluster {address}`"),
            ray_cluster(address),
        ):
            pass


def test_without_doors_there_is_nothing_to_lose() -> None:
    LivenessProbe([]).check(now=True)
