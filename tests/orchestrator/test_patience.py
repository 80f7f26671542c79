"""Waiting for a store that is away for a moment: `patience`."""

import pytest

from orchestrator.errors import LeaseLost, StoreError, StoreUnavailable
from orchestrator.patience import patiently


def test_a_store_that_comes_back_answers_and_is_complained_of_once() -> None:
    away, locked = StoreUnavailable("away"), StoreUnavailable("locked")
    answers = iter([away, away, locked, "here"])
    said: list[str] = []

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently(ask, said.append, lambda _: None) == "here"
    assert said == ["away; trying again", "locked; trying again"]


@pytest.mark.parametrize("error", [LeaseLost("another one"), StoreError("no such column")])
def test_what_waiting_does_not_mend_is_not_waited_for(error: Exception) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(type(error)):
        patiently(ask, print, lambda _: None)
