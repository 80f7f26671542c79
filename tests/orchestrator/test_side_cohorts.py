"""A measurement runs what it asks for, whatever others left, and knows its own jobs."""

import time

import pytest

from orchestrator.errors import Refused
from orchestrator.measuring.side_cohorts import check_same, handed_in, set_others_aside
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, submit


def left(store: Store) -> set[str]:
    return {job.team for job in store.jobs("small") if job.is_left}


def test_what_an_interrupted_call_left_is_held_back_until_it_is_wanted(store: Store) -> None:
    submit(store, *(new_job(f"whole-s{k}") for k in range(4)))
    few, many = {"whole-s0", "whole-s1"}, {f"whole-s{k}" for k in range(4)}
    set_others_aside(store, "small", few, time.time())
    assert left(store) == few
    set_others_aside(store, "small", many, time.time())
    assert left(store) == many


def test_what_a_call_at_work_wants_is_left_to_it(store: Store) -> None:
    submit(store, *(new_job(f"whole-s{k}") for k in range(4)))
    now = time.time()
    ledger = store.acquire("small", "host:1", now, 60.0)
    set_others_aside(store, "small", {"whole-s0"}, now)
    assert len(left(store)) == 4
    ledger.release()
    set_others_aside(store, "small", {"whole-s0"}, now)
    assert left(store) == {"whole-s0"}


def test_another_loadout_under_the_same_names_is_noticed(store: Store) -> None:
    submit(store, new_job("whole-s0"), new_job("whole-s1"), new_job("other"))
    wanted = {"whole-s0", "whole-s1"}
    before = handed_in(store, "small", wanted)
    submit(store, new_job("other", epochs=3))
    check_same(before, handed_in(store, "small", wanted))
    submit(store, new_job("whole-s1", epochs=3))
    with pytest.raises(Refused, match="something else meanwhile, as whole-s1; let it end"):
        check_same(before, handed_in(store, "small", wanted))
