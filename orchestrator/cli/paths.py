"""Paths as options or arguments of commands.

In: a word of the command line. Out: a path; or wrong usage where the word is empty, as a variable
is that nobody has set: it would mean the current folder. Used by the commands.
"""

import os
from pathlib import Path
from typing import Any

import click

EMPTY = "it is empty; the current folder is ."


class LocalPath(click.Path):
    """A path of this machine, whether or not there is such a file."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """Read the path."""
        if value == "":
            self.fail(EMPTY, param, ctx)
        return super().convert(value, param, ctx)
