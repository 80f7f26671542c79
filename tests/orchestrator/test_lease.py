"""Holding a cohort's lease, and telling whether its holder still lives."""

import os
import socket

import pytest

from orchestrator.errors import CohortBusy
from orchestrator.lease import hold_lease, holder_name, is_gone
from orchestrator.store import Store


def test_a_holder_is_gone_when_its_process_is() -> None:
    assert not is_gone(holder_name())
    assert not is_gone("elsewhere:1")
    assert not is_gone("no number")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert is_gone(f"{socket.gethostname()}:{child}")


def test_a_lease_is_held_for_a_block_and_free_after_it(store: Store) -> None:
    with hold_lease(store, "small", lambda: 100.0):
        assert store.lease_holder("small", 100.0) == holder_name()
        with pytest.raises(CohortBusy), hold_lease(store, "small", lambda: 101.0):
            pass
    assert store.lease_holder("small", 100.0) is None
    with hold_lease(store, "small", lambda: 102.0):
        pass
