"""Waiting for what another process does."""

import time
from collections.abc import Callable
from typing import Any

POLL_S = 0.1


def until(look: Callable[[], Any], wait_s: float = 120.0) -> Any:
    """Waits until what is looked for is there, and returns it."""
    deadline = time.monotonic() + wait_s
    while not (seen := look()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(POLL_S)
    return seen
