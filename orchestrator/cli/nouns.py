"""Groups whose commands are nouns, as kubectl's: `get jobs`, `describe job`.

In: the words after `get` or `describe`. Out: the command that they name, in the singular or in the
plural. Used by `get` and `describe`.
"""

from __future__ import annotations

import difflib

import click

LISTED = {"cohort": "cohorts", "cohorts": "cohorts", "event": "events", "events": "events"}
"""What `gamectl get` lists and `gamectl describe` does not show -> its command there."""


class NounGroup(click.Group):
    """A group that takes a noun in either number, and lists it in one."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find the command of a noun; None where there is none."""
        other = cmd_name[:-1] if cmd_name.endswith("s") else f"{cmd_name}s"
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, other)


class DescribeGroup(NounGroup):
    """A group that is often called with a team alone."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first word; a name that stands there alone is a team's."""
        word, *others = args
        if word in LISTED and not ctx.resilient_parsing:
            raise click.UsageError(
                f"{word!r} is not described: `gamectl get {LISTED[word]}` lists what there is, "
                "and `gamectl describe job TEAM` shows a job",
                ctx,
            )
        alone = not others or others[0].startswith("-")
        if ctx.resilient_parsing or not alone or difflib.get_close_matches(word, self.commands):
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"did you mean `gamectl describe job {word}`?", ctx)
