"""Everything that a command says: results on stdout, everything else on stderr.

In: strings and rows; out: text for people, or JSON for programs. Commands print through these
functions only, so that `-o json` never shares stdout with a remark. Rich is imported by the
functions that draw with it: a command that prints plain lines starts without it.
"""

import json
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import Literal

import click

SHOWN_CHARS = 60
WHOLE_CHARS = 24
"""Names up to this length stay on one line of a table."""


def printable(text: str) -> str:
    """`text` with every character escaped that a terminal would act on or cannot show."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def shortened(text: str, max_chars: int = SHOWN_CHARS) -> str:
    """`text` on one line, printable and at most `max_chars` long, to stand in a message."""
    cut = text[: max_chars + 1]
    shown = printable(cut)
    return shown if len(cut) <= max_chars else shown[: max_chars - 3] + "..."


def print_json(value: object) -> None:
    """Write one JSON document to stdout. The encoding of the terminal does not matter to it."""
    click.echo(json.dumps(value, indent=2))


def print_line(text: str, *, indent: int = 2) -> None:
    """Write one line to stdout: wrapped in a terminal, whole (for grep) anywhere else."""
    if sys.stdout.isatty():
        width = max(40, shutil.get_terminal_size().columns)
        text = textwrap.fill(
            text, width, subsequent_indent=" " * indent, break_long_words=False,
            break_on_hyphens=False, drop_whitespace=True,
        )  # fmt: skip
    click.echo(text)


def filled(text: str) -> str:
    """A paragraph in lines that fit the terminal (80 columns where there is none)."""
    width = min(100, max(40, shutil.get_terminal_size().columns))
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def print_text(text: str) -> None:
    """Write text to stdout as it is."""
    click.echo(text)


def print_note(text: str) -> None:
    """Write a remark (progress, a summary, what to do next) to stderr."""
    click.echo(text, err=True)


def print_error(text: str) -> None:
    """Write why a command failed to stderr."""
    click.echo(f"error: {text}", err=True)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Collection[str] = ()
) -> None:
    """Write a table to stdout that fits the terminal (80 columns where there is none).

    `right` names the columns that are aligned to the right: numbers. The first column, which names
    the row, is not folded as long as its names are short. Cells are plain text; rich's
    markup has no effect in them.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        side: Literal["left", "right"] = "right" if column in right else "left"
        # A name in two pieces can be neither read nor searched for.
        whole = number == 0 and all(len(str(row[0])) <= WHOLE_CHARS for row in rows)
        table.add_column(column, justify=side, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    Console(soft_wrap=False).print(table)
