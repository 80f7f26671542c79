"""What happened, oldest first: a table where there is room, and anywhere else some lines each.

In: events. Out: text for people. Used by `get` and `describe`.
"""

import textwrap
from collections.abc import Sequence

from orchestrator import console
from orchestrator.state import Event
from orchestrator.terminal import display

NARROW = 60
"""A narrower terminal has no room for a message beside three other columns."""


def print_events(events: Sequence[Event], now: float, *, of_job: bool = False) -> None:
    """Prints when it was, what it was about, the reason and the message.

    Events are about jobs and their members; where they are all `of_job`, about members alone.
    """
    if console.room() >= NARROW:
        console.print_table(
            ["time", "member" if of_job else "about", "reason", "message"],
            [[display.clock_time(e.at, now), _about(e, of_job), e.reason, e.message]
             for e in events],
            whole=["time", "reason"],
        )  # fmt: skip
        return
    for event in events:
        about = _about(event, of_job)
        named = f"member {about}" if of_job and about else about
        parts = [display.clock_time(event.at, now), named, event.reason, event.message]
        text = console.printable("  ".join(part for part in parts if part))
        console.print_text(
            textwrap.fill(text, console.room(), subsequent_indent="  ", break_on_hyphens=False)
        )


def _about(event: Event, of_job: bool) -> str:
    if not of_job:
        return display.object_of(event)
    return "" if event.member is None else str(event.member)
