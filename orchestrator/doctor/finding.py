"""One thing that was looked at, and how it is.

In: a check, which finds something or fails. Out: `Finding`s in any case. Next on the path: the
checks in `software`, `machine` and `services`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How good something is."""

    OK = "ok"
    WARNING = "warning"
    """A game can be played, but not everything will work or be fast."""
    PROBLEM = "problem"
    """Something will fail until it is put right."""


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it where it is not ok."""

    level: Level
    about: str
    found: str
    advice: str = ""


Check = Callable[[], Iterable[Finding]]

REINSTALL = "install them again: `make install` in the checkout"


def examined(about: str, check: Check) -> Iterator[Finding]:
    """What a check finds; that it failed, where it did."""
    try:
        yield from check()
    except ImportError as error:
        missing = getattr(error, "name", None) or str(error)
        yield Finding(
            Level.PROBLEM, about, f"cannot be checked: Python's {missing} is missing", REINSTALL
        )
    except Exception as error:
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        yield Finding(Level.PROBLEM, about, said or type(error).__name__)
