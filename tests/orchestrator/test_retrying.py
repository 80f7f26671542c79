"""Waiting for a store that is away for a moment: `retrying`."""

import pytest

from orchestrator.errors import LeaseLost, StoreError, StoreUnavailable
from orchestrator.retrying import retry_while_away


def test_a_store_that_comes_back_answers_and_is_complained_of_once() -> None:
    away, locked = StoreUnavailable("away"), StoreUnavailable("locked")
    answers = iter([away, away, locked, "here"])
    said: list[str] = []

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retry_while_away(ask, said.append, lambda _: None) == "here"
    assert said == ["away; trying again", "locked; trying again"]


@pytest.mark.parametrize("error", [LeaseLost("another one"), StoreError("no such column")])
def test_what_waiting_does_not_mend_is_not_waited_for(error: Exception) -> None:
    def ask() -> None:
        raise error

    with pytest.raises(type(error)):
        retry_while_away(ask, print, lambda _: None)
