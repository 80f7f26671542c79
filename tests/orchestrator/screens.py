"""A terminal that remembers what was drawn on it."""

import io
import re

from rich.console import Console


def screen(width: int = 80, height: int = 24) -> Console:
    """A terminal that remembers what was drawn."""
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=True)


def drawn(console: Console) -> str:
    """What was drawn so far, without colours and moves."""
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


def lines_of(view_lines: str) -> list[str]:
    """Plain lines without their time of day."""
    return [line.split(" ", 1)[1] for line in view_lines.splitlines()]
