"""What the Tab key offers beside commands and options: teams, cohorts, items, overlays.

In: what was typed so far. Out: words that begin like it. Nothing here fails or says anything: a
shell in the middle of a line is no place for it. Used by the commands' arguments and options.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]


def offering(words: Callable[[click.Context], Iterable[str]]) -> Completer:
    """A completer that offers these words, but for those that the line has already."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        with suppress(Exception):
            given = ctx.params.get(param.name or "")
            typed = given if isinstance(given, tuple) else ()
            return [
                CompletionItem(word)
                for word in words(ctx)
                if word.startswith(incomplete) and word not in typed
            ]
        return []

    return complete


def _cohorts(_ctx: click.Context) -> list[str]:
    from orchestrator.settings import Settings
    from orchestrator.terminal.names import cohort_names

    return cohort_names(Settings().store_url)


def _teams(ctx: click.Context) -> list[str]:
    from orchestrator.settings import Settings
    from orchestrator.terminal.names import team_names

    return team_names(Settings().store_url, ctx.params.get("cohort"))


def _items(_ctx: click.Context) -> list[str]:
    from orchestrator.admission.shop import CATALOG

    return list(CATALOG)


def _overlays(_ctx: click.Context) -> list[str]:
    from orchestrator.kustomize import overlays

    return list(overlays())


cohorts = offering(_cohorts)
teams = offering(_teams)
items = offering(_items)
overlays = offering(_overlays)
