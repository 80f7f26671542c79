"""Whether the connected Ray, or a node of it, is still there.

In: hosts and ports of Ray's processes. Out: an answer in time, or `ClusterLost`. Used by `slots`,
before it asks Ray.

Ray's calls block where Ray is gone, and a minute later Ray ends the whole process. So its doors are
tried before it is asked: a closed one tells at once, and disconnecting in time keeps the process.
"""

import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.errors import ClusterLost

PROBE_EVERY_S = 1.0
CONNECT_S = 5.0
HEARD_BYTES = 4096

Door = tuple[str, int]
"""Host and port of a process of Ray's."""


class LivenessProbe:
    """Whether the connected Ray is there, found out without asking it.

    Tried are the doors of its control store (the GCS) and of this node's raylet: without either one
    nothing works. The connections are kept until the next time, because one that is hung up tells
    of a process that has died at once, and for nothing.
    """

    def __init__(self, doors: Sequence[Door], clock: Callable[[], float] = time.monotonic) -> None:
        self._doors = tuple(doors)
        self._clock = clock
        self._next_at = clock()
        self._kept: list[socket.socket] = []

    @classmethod
    def of_connection(cls) -> "LivenessProbe":
        """A probe of the Ray that this process is connected to."""
        import ray
        from ray.util.client import ray as client

        if client.is_connected():
            # The doors are those of another network; the client's own connection raises in time.
            return cls(())
        context = ray.get_runtime_context()
        here = [node for node in ray.nodes() if node["NodeID"] == context.get_node_id()]
        gcs = door_of(context.gcs_address)
        return cls([*([gcs] if gcs else []), *(_raylet(node) for node in here)])

    def check(self, now: bool = False) -> None:
        """Tries the doors once a second, and where it has to be `now` and somebody has hung up.

        Raises `ClusterLost` where one is closed.
        """
        if self._clock() < self._next_at and not (now and any(map(_hung_up, self._kept))):
            return
        self.close()
        for host, port in self._doors:
            try:
                self._kept.append(socket.create_connection((host, port), timeout=CONNECT_S))
            except OSError as error:
                self.close()
                lost = f"Ray was lost: nothing answers at {host}:{port} any more"
                raise ClusterLost(lost) from error
        self._next_at = self._clock() + PROBE_EVERY_S

    def close(self) -> None:
        """Lets go of the connections; the next `check` makes new ones."""
        while self._kept:
            self._kept.pop().close()
        self._next_at = self._clock()


def _hung_up(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection, whatever it said before."""
    connection.setblocking(False)
    try:
        while connection.recv(HEARD_BYTES):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def node_is_gone(node_id: str) -> bool:
    """Whether a node, named by the beginning of its id, is no longer there.

    Ray itself takes half a minute to notice a node that ended without a word.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["NodeID"].startswith(node_id)]
    return not any(node["Alive"] and is_open(_raylet(node)) for node in nodes)


def is_open(door: Door) -> bool:
    """Whether something listens there; nothing does at a host that no name can be."""
    try:
        with socket.create_connection(door, timeout=CONNECT_S):
            return True
    except (OSError, UnicodeError):
        return False


def is_dashboard(address: str | None) -> bool:
    """Whether an address is that of Ray's dashboard, which takes jobs and cannot be joined."""
    return (address or "").startswith(("http://", "https://"))


def door_of(address: str | None) -> Door | None:
    """The host and port in an address; None for one without, such as `auto`."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None


def _raylet(node: dict[str, Any]) -> Door:
    return node["NodeManagerAddress"], int(node["NodeManagerPort"])
