"""Who is at work on a cohort, asked by those who will not watch it afterwards.

In: a cohort's lease, as it changes. Out: the name of a controller that can be relied on, or None.
Used by `attend`, which starts one where there is none, and by commands that only say who it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.lease import RENEW_EVERY_S, TTL_S
from orchestrator.terminal.lookup import lease_of

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store

CONTROLLER_S = 8.0
"""About how long a controller takes from its start until it is at work."""
SILENT_S = 2 * RENEW_EVERY_S
"""A controller that lives has renewed its lease by then."""
LOOK_EVERY_S = 0.5
FINDS_WITHIN_S = 60.0
"""One that has found no cluster by then is taken at its word: it may be writing to MLflow."""


def settled_controller(
    name: str, store: Store, pause: Callable[[float], None] = time.sleep
) -> str | None:
    """Who is at work on the cohort and has found its cluster, or None, for callers that will not
    watch it afterwards.

    One that still looks for it may end without a slot, and nobody would run what was handed in.
    """
    from orchestrator.terminal.progress_bars import waiting

    holder = _living(name, store, pause)
    lease = lease_of(store, name)
    if holder is None or lease is None or lease.slots is not None:
        return holder
    with waiting(f"controller {holder} looks for its cluster", CONTROLLER_S):
        for _ in range(round(FINDS_WITHIN_S / LOOK_EVERY_S)):
            if lease is None or lease.slots is not None:
                break
            pause(LOOK_EVERY_S)
            lease = lease_of(store, name)
    return None if lease is None else lease.holder


def _living(name: str, store: Store, pause: Callable[[float], None]) -> str | None:
    """Who holds the lease and lives, or None.

    A lease outlives a controller that died on another machine by half a minute. One that was not
    renewed when it should have been is waited for, until it is, or has run out.
    """
    from orchestrator.terminal.progress_bars import waiting

    lease = lease_of(store, name)
    if lease is None or store.now() - lease.renewed_at < SILENT_S:
        return None if lease is None else lease.holder
    was = lease.renewed_at
    with waiting(f"controller {lease.holder} is silent; waiting for its lease", TTL_S):
        for _ in range(round(TTL_S / LOOK_EVERY_S)):
            pause(LOOK_EVERY_S)
            lease = lease_of(store, name)
            if lease is None or lease.renewed_at != was:
                break
    return None if lease is None else lease.holder


def at_work_note(name: str, holder: str, cpus: int | None) -> str:
    """Says who runs the cohort; CPUs that are asked for now come too late."""
    unused = "" if cpus is None else ", with the CPUs it was started with"
    return f"cohort {name}: controller {holder} is at work{unused}"
