"""One slot as the pool sees it: its actor, and what is on its way from there.

In: references of Ray's. Out: what a slot is used for, and what has come from it. Next on the path:
`slots`, which keeps one of these for every slot.
"""

from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError

from orchestrator.cluster.room import Held, Use
from orchestrator.errors import ClusterLost
from orchestrator.state import MemberKey

GET_S = 30.0
"""What is ready is there within seconds, unless Ray is gone. After a minute of that Ray ends the
process, so it must be noticed before."""


@dataclass
class Handle:
    """The pool's side of a slot. The references are Ray's; None where nothing is on its way."""

    name: str
    actor: Any
    starting: Any
    since: float
    """When it was made or fell idle, by the monotonic clock."""
    node: str = ""
    death: Any = None
    """Ready once the actor is dead; asked while it is idle."""
    key: MemberKey | None = None
    attempt: int = 0
    stop_by: float | None = None
    """Until when the member has to stop, by the monotonic clock, where it was asked to."""
    training: Any = None
    waits: bool = False
    """Whether what is on it waits for the workers of a group."""
    group: str = ""
    """The placement group of its workers, once they are up."""
    asking: Any = None
    """What tells whether it has begun by now."""
    draining: Any = None
    drain_at: float = 0.0
    """When to ask for epochs again, by the monotonic clock."""

    @property
    def run(self) -> str:
        """Names what it trains."""
        assert self.key is not None
        job, index = self.key.job_id, self.key.index
        return f"job {job}, member {index}, attempt {self.attempt}, {self.name}"

    def ask_whether_begun(self) -> None:
        """Brings `waits` up to date, without waiting; raises `RayError` for a slot that is dead."""
        if not self.waits:
            return
        if self.asking is None:
            self.asking = self.actor.group_of.remote(self.run)
        elif is_ready(self.asking):
            self.group, self.asking = str(get(self.asking)), None
            self.waits = not self.group

    @property
    def waits_for(self) -> Any:
        """What tells that something has happened to it."""
        return self.starting or self.training or self.death

    @property
    def held(self) -> Held:
        """What it is used for, and since when."""
        use: Use = "busy" if self.key else "waiting" if self.starting else "idle"
        return Held(self.name, use, self.since)


def is_ready(ref: Any) -> bool:
    """Whether it has come."""
    return bool(ray.wait([ref], timeout=0, fetch_local=False)[0])


def get(ref: Any) -> Any:
    """What is ready; raises `ClusterLost` where it does not come."""
    try:
        return ray.get(ref, timeout=GET_S)
    except GetTimeoutError as error:
        raise ClusterLost(f"Ray has not answered for {GET_S:g} s") from error
