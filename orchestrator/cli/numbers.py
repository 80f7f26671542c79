"""Numbers as options or arguments of commands.

In: a word of the command line. Out: the number, or what is wanted instead. Used by the commands,
and by `cli` for numbers below zero, which look like options.
"""

import math
from typing import Any

import click


class WholeNumber(click.IntRange):
    """A whole number within bounds, which are told in words to whoever gives something else."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is not {self.in_words}", param, ctx)

    @property
    def in_words(self) -> str:
        """What is wanted: a whole number from 1 to 10000."""
        if self.max is None:
            return f"a whole number of at least {self.min}"
        return f"a whole number from {self.min} to {self.max}"


class PositiveNumber(click.FloatRange):
    """A number above zero; `nan`, which is below no bound, is refused all the same."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the number."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number
