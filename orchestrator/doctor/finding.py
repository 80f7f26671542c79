"""One thing that was looked at, and how it is.

In: a check, which finds something or fails. Out: `Finding`s in any case. Next on the path: the
checks in `software`, `machine` and `services`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.errors import first_line


class Level(StrEnum):
    """How serious a finding is."""

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


def examined(
    checks: Mapping[str, Check], begin: Callable[[str], None] = lambda _about: None
) -> Iterator[Finding]:
    """What each check finds, or that it failed; `begin` is told which is next.

    Those that need a package that is not there are named together, at the end.
    """
    unchecked: list[str] = []
    missing: list[str] = []
    for about, check in checks.items():
        begin(about)
        try:
            yield from check()
        except ImportError as error:
            unchecked.append(about)
            missing.append(error.name or str(error))
        except OSError as error:
            # Where it names no file its words are ours, and its number tells nobody anything.
            said = None if error.filename else error.strerror
            yield Finding(Level.PROBLEM, about, said or first_line(error))
        except Exception as error:
            yield Finding(Level.PROBLEM, about, first_line(error))
    if unchecked:
        packages = ", ".join(dict.fromkeys(missing))
        found = f"{', '.join(unchecked)}: Python does not find {packages}"
        yield Finding(Level.PROBLEM, "not checked", found, REINSTALL)
