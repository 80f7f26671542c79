"""Loses a local Ray while a member trains on it, and goes on in the same process; then once more.

Run by `test_nodes` in a process of its own, with a folder; ends with 0 where all is well. What is
killed: first all of Ray, then its raylet alone, then its control store (the GCS) alone.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from jobs.train import train_member
from jobs.values import Place
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.connection import ray_cluster
from orchestrator.cluster.faults import RAY_LOST
from orchestrator.cluster.updates import Failed, Progress, Trained, Update
from orchestrator.errors import ClusterLost
from tests.orchestrator.pools import KEY, PLAN, Inputs, ended, epochs_of, noise, ready, until

LOSSES = ("", "raylet", "gcs_server")
LONG = PLAN.model_copy(update={"epochs": 1200})
"""So many that a fast processor, too, has some left when Ray is lost for the last time."""


def kill_ray(name: str) -> None:
    """Kills all descendants of this process, or those of a name."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            name_there, _, rest = (folder / "stat").read_text().rpartition(")")
            parents[int(folder.name)] = int(rest.split()[1]), name_there.partition("(")[2]
    ours = {os.getpid()}
    while more := {pid for pid, (parent, _) in parents.items() if parent in ours} - ours:
        ours |= more
    for pid in ours - {os.getpid()}:
        if name in parents[pid][1]:
            os.kill(pid, signal.SIGKILL)


def further_than(epoch: int) -> Callable[[list[Update]], bool]:
    return lambda updates: max(epochs_of(updates), default=0) > epoch


def main(folder: Path) -> None:
    from orchestrator.cluster.room import Room
    from orchestrator.cluster.slots import RaySlots

    inputs = Inputs(noise())
    done = 0
    for attempt, name in enumerate((*LOSSES, None), start=1):
        place = Place(str(folder / "checkpoint"), str(folder / f"a{attempt}.log"))
        with ray_cluster(num_cpus=1):
            pool = RaySlots(Room.fixed(1), Resources(), inputs.images, inputs.teaching)
            pool.want(1)
            (slot,) = ready(pool)
            pool.start(slot, KEY, attempt, LONG, place)
            if name is None:
                updates = until(pool, ended(1))
                pool.close()
                break
            # Epochs that were not trained before show that it goes on.
            done = max(epochs_of(until(pool, further_than(done))))
            kill_ray(name)
            with pytest.raises(ClusterLost, match="Ray was lost"):
                until(pool, ended(1))
            assert pool.abandon() == [Failed(KEY, attempt, RAY_LOST)]
            pool.close()
    assert epochs_of(updates) == list(range(1, LONG.epochs + 1))
    assert all(isinstance(each, Progress) for each in updates[:-1])
    trained = updates[-1]
    assert isinstance(trained, Trained)
    assert trained.weights == train_member(LONG, noise(), lambda _: None).weights
    resumed = re.search(r"resumed after epoch (\d+) from", Path(place.log).read_text())
    assert resumed is not None
    assert int(resumed[1]) >= done


if __name__ == "__main__":
    main(Path(sys.argv[1]))
