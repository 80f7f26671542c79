"""A terminal that remembers what was drawn on it."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress

from rich.console import Console


def screen(width: int = 80, height: int = 24) -> Console:
    """A terminal that remembers what was drawn."""
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=True)


def drawn(console: Console) -> str:
    """What was drawn so far, without colours and moves."""
    assert isinstance(console.file, io.StringIO)
    return _plain(console.file.getvalue())


def in_terminal(
    words: Sequence[str], width: int = 80, height: int = 24, env: Mapping[str, str] | None = None
) -> str:
    """What a command writes in a terminal of its own, without colours and moves."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    unset = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    environ = kept | {"TERM": "xterm"} | dict(env or {})
    written = b""
    with subprocess.Popen(words, stdin=its, stdout=its, stderr=its, env=environ):
        os.close(its)
        with suppress(OSError):  # how a terminal says that nobody has it open any more
            while part := os.read(ours, 4096):
                written += part
    os.close(ours)
    return _plain(written.decode()).replace("\r\n", "\n")


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def lines_of(view_lines: str) -> list[str]:
    """Plain lines without their time of day."""
    return [line.split(" ", 1)[1] for line in view_lines.splitlines()]
