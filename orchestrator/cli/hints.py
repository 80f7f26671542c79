"""What somebody meant who typed a command that is not there, or a name without its option.

In: wrong usage as click tells it. Out: the same with what would have been right. Used by the group
of all commands.
"""

import difflib
import re
from collections.abc import Iterable, Mapping

import click

from orchestrator.cli.numbers import WholeNumber

ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "apply": ("submit",),
    "create": ("submit",),
    "delete": ("withdraw",),
    "diff": ("plan",),
    "kill": ("cancel",),
    "list": ("get jobs",),
    "ls": ("get jobs",),
    "pause": ("suspend",),
    "ps": ("get jobs",),
    "rm": ("withdraw",),
    "run": ("submit",),
    "start": ("submit", "resume"),
    "status": ("get jobs",),
    "stop": ("suspend", "cancel"),
}
"""What other programs call something, kubectl and docker above all -> what does it here. By their
letters these words are near to commands that do something else."""
LISTED_JOBS = ("get", "jobs")


def no_such_command(
    name: str, names: Iterable[str], ctx: click.Context
) -> click.exceptions.NoSuchCommand:
    """The error for a word that is none of the commands' `names`, with the one that was meant."""
    if name in ELSEWHERE:
        meant = " or ".join(f"`gamectl {each}`" for each in ELSEWHERE[name])
        said = f"No such command {name!r}. Did you mean {meant}?"
        return click.exceptions.NoSuchCommand(name, said, ctx=ctx)
    near = difflib.get_close_matches(name, names, n=1)
    return click.exceptions.NoSuchCommand(name, possibilities=near, ctx=ctx)


def with_option(error: click.UsageError) -> click.UsageError:
    """Wrong usage; where a name stands by itself, with the option or the command that takes it.

    A number below zero looks like an option: there it is said which number is wanted.
    """
    params = () if error.ctx is None else error.ctx.command.params
    types = [param.type for param in params if isinstance(param, click.Argument)]
    wanted = [each.in_words for each in types if isinstance(each, WholeNumber)]
    if isinstance(error, click.NoSuchOption) and error.option_name[1:].isdigit() and wanted:
        return click.UsageError(f"{wanted[0]} is wanted, not below zero", error.ctx)
    extra = re.match(r"Got unexpected extra arguments? \((\S+)", error.message)
    if extra is None or error.ctx is None:
        return error
    takes = {option for param in params for option in param.opts}
    name = extra[1].rstrip(")")
    meant = [f"{option} {name}" for option in ("--cohort", "--team") if option in takes]
    group = error.ctx.parent
    if group is not None and (group.command.name, error.ctx.command.name) == LISTED_JOBS:
        meant.append(f"`gamectl describe job {name}`")  # as `kubectl get job NAME` shows one
    if not meant:
        return error
    hint = f"{error.message.rstrip('.')}. Did you mean {' or '.join(meant)}?"
    return click.UsageError(hint, error.ctx)
