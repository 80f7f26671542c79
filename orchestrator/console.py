"""Everything that a command says: results on stdout, everything else on stderr.

In: strings and rows; out: text for people, or JSON for programs. Commands print through these
functions only, so that `-o json` never shares stdout with a remark. Rich is imported by the
functions that draw with it: a command that prints plain lines starts without it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal, TextIO

import click

from orchestrator.widths import GAP, column_widths, fits

if TYPE_CHECKING:
    from rich.segment import Segment

SHOWN_CHARS = 60
COMMANDS = re.compile(r"`[^`]*`|gamectl [^`;,]*")
"""Commands in remarks, to be copied."""
JOINT = "\N{NO-BREAK SPACE}"
ENDLESS = 1_000_000
"""Columns of a pipe or a file: nothing has to fit there."""


def printable(text: str) -> str:
    """`text` with every character escaped that a terminal would act on or cannot show."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def encodable(text: str) -> bool:
    """Whether a name is text that can be kept; one that is not UTF-8 comes in without being so."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def shortened(text: str, max_chars: int = SHOWN_CHARS) -> str:
    """`text` on one line, printable and at most `max_chars` long, to stand in a message."""
    cut = text[: max_chars + 1]
    shown = printable(cut)
    return shown if len(cut) <= max_chars else shown[: max_chars - 3] + "..."


def cut_inside(text: str, max_chars: int) -> str:
    """`text` without its middle where it is longer: names often differ at their ends."""
    if len(text) <= max_chars:
        return text
    kept = max(0, max_chars - 1)
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether that is one; a stream that whoever started us has closed is None, and is none."""
    return stream is not None and stream.isatty()


def room() -> int:
    """How many columns there are for what stands on lines of its own, as rows of a table do.

    In a terminal its width, and COLUMNS anywhere where it is set. A pipe and a file have no end: a
    line that was folded is not found by grep. Only stdout counts, wherever stdin comes from.
    """
    told = os.environ.get("COLUMNS", "")
    if is_terminal(sys.stdout) or (told.isdecimal() and int(told) > 0):
        return shutil.get_terminal_size().columns
    return ENDLESS


def print_json(value: object) -> None:
    """Write one JSON document to stdout. The encoding of the terminal does not matter to it."""
    click.echo(json.dumps(value, indent=2))


def print_line(text: str, *, indent: int = 2, colour: str | None = None) -> None:
    """Write one line to stdout: wrapped in a terminal, whole (for grep) anywhere else.

    Its first word is in the `colour`, where stdout takes one.
    """
    if is_terminal(sys.stdout):
        width = max(40, shutil.get_terminal_size().columns)
        text = textwrap.fill(
            text, width, subsequent_indent=" " * indent, break_long_words=False,
            break_on_hyphens=False, drop_whitespace=True,
        )  # fmt: skip
    if colour is not None:
        word, blank, rest = text.partition(" ")
        text = f"{coloured(word, colour)}{blank}{rest}"
    click.echo(text, color=in_colour() or None)


def in_colour() -> bool:
    """Whether stdout takes colours: a terminal does, unless NO_COLOR or TERM=dumb says otherwise.

    FORCE_COLOR asks for them anywhere; NO_COLOR wins. Rich's tables go by the same rules.
    """
    if os.environ.get("NO_COLOR"):
        return False
    forced = os.environ.get("FORCE_COLOR")
    if forced is not None:
        return forced != ""
    return is_terminal(sys.stdout) and os.environ.get("TERM") not in ("dumb", "unknown")


def coloured(text: str, colour: str) -> str:
    """`text` in a colour where stdout takes one."""
    return click.style(text, fg=colour) if in_colour() else text


def print_status(text: str) -> None:
    """Show what is done just now on the terminal's last line; nothing without a terminal."""
    if _draws_on_stderr():
        click.echo(f"\r{text}\x1b[K", err=True, nl=False)


def clear_status() -> None:
    """Take the status off the terminal again."""
    if _draws_on_stderr():
        click.echo("\r\x1b[K", err=True, nl=False)


def _draws_on_stderr() -> bool:
    return is_terminal(sys.stderr) and os.environ.get("TERM") not in ("dumb", "unknown")


def filled(text: str) -> str:
    """A paragraph in lines that fit the terminal (80 columns where there is none)."""
    width = min(100, max(40, shutil.get_terminal_size().columns))
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def print_text(text: str) -> None:
    """Write text to stdout as it is."""
    click.echo(text, color=in_colour() or None)


def print_note(text: str) -> None:
    """Write a remark (progress, a summary, what to do next) to stderr, line by line printable.

    Lines are wrapped in a terminal, and whole (for grep) anywhere else. Where nobody reads it any
    more, or its disk is full, it is left unsaid: what a command does goes on, and what it has found
    out is on stdout.
    """
    with contextlib.suppress(OSError):
        click.echo("\n".join(_fitting(printable(line)) for line in text.split("\n")), err=True)


def _fitting(line: str) -> str:
    """A line of stderr in as many as the terminal wants, where it is one."""
    if not is_terminal(sys.stderr):
        return line
    width = max(40, _columns_of(sys.stderr.fileno()))
    if len(line) <= width:
        return line
    # A command that is copied must be whole: the terminal itself folds it without a line's end.
    line = COMMANDS.sub(lambda found: found[0].replace(" ", JOINT), line)
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ).replace(JOINT, " ")


def _columns_of(terminal: int) -> int:
    """How wide a terminal is; COLUMNS goes before, as for stdout."""
    with contextlib.suppress(OSError, ValueError):
        return int(os.environ.get("COLUMNS") or os.get_terminal_size(terminal).columns)
    return shutil.get_terminal_size().columns


def print_error(text: str) -> None:
    """Write why a command failed to stderr, line by line printable."""
    print_note(f"error: {text}")


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Collection[str] = (),
    whole: Collection[str] = (),
    spare: Sequence[str] = (),
) -> Sequence[str]:
    """Write a table to stdout that fits the `room`; returns the columns that it shows.

    `right` names the columns that are aligned to the right: numbers. Where there is little room,
    text is folded before numbers, before the columns that are to stay `whole`, and before the first
    one, which names the row. Before a word is cut, columns are left out that are `spare`, the first
    of them first. Cells are plain text; rich's markup has no effect in them.
    """
    from rich.console import Console
    from rich.segment import Segments
    from rich.table import Table
    from rich.text import Text

    lines = [list(columns), *([printable(str(cell)) for cell in row] for row in rows)]
    width = room()
    for column in spare:
        if fits(lines, [name in right or name in whole for name in lines[0]], width):
            break
        at = lines[0].index(column)
        lines = [[*line[:at], *line[at + 1 :]] for line in lines]
    columns, *cells = lines
    # Without a height rich takes a dumb terminal to have 80 columns, whatever the width.
    console = Console(width=width, height=25)
    firm = [column in right or column in whole for column in columns]
    widths = column_widths(lines, firm, width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        side: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, justify=side, overflow="fold", width=width)
    for row in cells:
        table.add_row(*map(Text, row))
    drawn = console.render_lines(table, pad=False)
    console.print(Segments([part for line in drawn for part in _without_end(line)]), end="")
    return columns


def _without_end(line: Sequence[Segment]) -> list[Segment]:
    """A line without the blanks at its end: they are as many as the longest row has characters."""
    from rich.segment import Segment

    kept = list(line)
    while kept and not kept[-1].text.strip():
        kept.pop()
    if kept:
        text, style, control = kept[-1]
        kept[-1] = Segment(text.rstrip(), style, control)
    return [*kept, Segment.line()]
