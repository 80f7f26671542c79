"""Waiting for a store that is away for a moment.

In: a question to the store. Out: its answer, however long it takes. Used by `run` and `controller`
where nothing can be done without the answer, and nothing is lost by waiting for it.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from orchestrator.errors import StoreUnavailable

Value = TypeVar("Value")

ASK_AGAIN_S = 1.0


def retry_while_away(
    ask: Callable[[], Value],
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> Value:
    """What the store answers; says once what is in the way.

    Raises what is no matter of waiting: `LeaseLost`, and `StoreError` of a store that refuses.
    """
    said = ""
    while True:
        try:
            return ask()
        except StoreUnavailable as error:
            if str(error) != said:
                said = str(error)
                say(f"{said}; trying again")
            pause(ASK_AGAIN_S)
