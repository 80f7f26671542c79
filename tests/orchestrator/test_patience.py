"""Waiting for a store that is away for a moment: `patience`."""

import pytest

from orchestrator.errors import LeaseLost, StoreError
from orchestrator.patience import patiently


def test_a_store_that_comes_back_answers_and_is_complained_of_once() -> None:
    answers = iter([StoreError("away"), StoreError("away"), StoreError("locked"), "here"])
    said: list[str] = []

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(ask, said.append, lambda _: None) == "here"
    assert said == ["away; trying again", "locked; trying again"]


def test_a_lost_lease_is_not_waited_for() -> None:
    def ask() -> None:
        raise LeaseLost("another one")

    with pytest.raises(LeaseLost):
        patiently(ask, print, lambda _: None)
