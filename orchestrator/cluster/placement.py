"""Placement groups that worker groups leave behind.

In: which groups are in use. Out: the others of this Ray job are gone, with the CPUs and GPUs that
they held. Ray keeps a group until both the actor that made it and the whole job have ended, and Ray
Train, which makes one for each worker group, removes none whose slot was killed. Used by `slots`.
"""

from collections.abc import Container

import ray
from ray.util import get_current_placement_group, placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

GONE, WANTED = "REMOVED", "PENDING"
"""States of a group as Ray calls them."""


def current_group() -> str:
    """The id of the placement group that this process is in; `-` for none."""
    group = get_current_placement_group()
    return "-" if group is None else group.id.hex()


def remove_groups(in_use: Container[str], only_pending: bool) -> None:
    """Removes this job's placement groups but those in use, or of them those that wait for room."""
    job = ray.get_runtime_context().get_job_id()  # a group's id ends with that of its job
    for group, row in placement_group_table().items():
        removable = row["state"] == WANTED if only_pending else row["state"] != GONE
        if group.endswith(job) and group not in in_use and removable:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
