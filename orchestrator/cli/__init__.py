"""The console command `gamectl`: which commands there are, and what becomes of an error.

In: the words after `gamectl`; out: an exit code. 0 is done, 1 is a problem that was explained on
stderr (or, by `validate`, on stdout), 2 is wrong usage. A command lives in a module of its own
that is imported only when it is called, so that `gamectl --help` and `gamectl validate` never wait
for torch, ray or mlflow. A command parses, calls one function and prints through `console`.
"""

import importlib
import io
import sys
from collections.abc import Mapping
from typing import cast

import click

from jobs.errors import JobsError
from orchestrator import console
from orchestrator.errors import GameError

# name -> where the click command is (module:attribute), and its line in `gamectl --help`
COMMANDS: Mapping[str, tuple[str, str]] = {
    "shop": ("orchestrator.cli.shop:command", "Show what can be bought, and for how much."),
    "schema": ("orchestrator.cli.schema:command", "Print the JSON Schema of a file format."),
    "validate": ("orchestrator.cli.validate:command", "Check files and report every problem."),
    "preview": ("orchestrator.cli.preview:command", "Draw images as a loadout's members see them."),
    "data": ("orchestrator.cli.data:command", "Find duplicates and broken files among images."),
    "plan": ("orchestrator.cli.plan:command", "Forecast how long a cohort takes, and its memory."),
    "submit": ("orchestrator.cli.submit:command", "Submit a cohort of loadouts, and run it."),
    "get": ("orchestrator.cli.get:command", "List jobs, cohorts or events."),
    "describe": ("orchestrator.cli.describe:command", "Show one job and what happened to it."),
    "logs": ("orchestrator.cli.logs:command", "Show what a team's members wrote."),
    "cancel": ("orchestrator.cli.control:cancel", "End jobs before they are through."),
    "suspend": ("orchestrator.cli.control:suspend", "Hold jobs back."),
    "resume": ("orchestrator.cli.control:resume", "Let jobs, or a whole cohort, go on."),
    "retry": ("orchestrator.cli.control:retry", "Queue jobs again that failed or were cancelled."),
    "priority": ("orchestrator.cli.control:priority", "Change a job's weight in the queue."),
    "controller": ("orchestrator.cli.controller:command", "Run a cohort's controller."),
    "score": ("orchestrator.cli.score:command", "Evaluate a cohort's networks on the test set."),
    "leaderboard": ("orchestrator.cli.leaderboard:command", "Rank a cohort's scored teams."),
    "balance": ("orchestrator.cli.balance:command", "Measure what loadouts are worth."),
    "ablate": ("orchestrator.cli.ablate:command", "Measure what a loadout's items are worth."),
    "tune": ("orchestrator.cli.tune:command", "Search for a loadout's best settings."),
    "teacher": ("orchestrator.cli.teacher:command", "Train and show teachers to distil from."),
    "ui": ("orchestrator.cli.ui:command", "Open the MLflow UI on what was tracked."),
    "deploy": ("orchestrator.cli.deploy:command", "Print Kubernetes manifests for a cohort."),
    "demo": ("orchestrator.cli.demo:command", "Play a whole game with the embedded data set."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Name the commands in the order of a day's work rather than of the alphabet."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import and return one command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module_name), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first word; for a mistyped one, suggest the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(
                error.command_name, possibilities=COMMANDS, ctx=ctx
            ) from None

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a domain error becomes one message and exit code 1."""
        try:
            return cast(object, super().invoke(ctx))
        except (GameError, JobsError) as error:
            console.print_error(str(error))
            ctx.exit(1)
        except BrokenPipeError:
            raise  # whoever reads our output has seen enough (`| head`): click ends quietly
        except OSError as error:
            # A full disk, a folder that may not be written: the place says what to do.
            where = f": {error.filename}" if error.filename else ""
            console.print_error(f"{error.strerror or error}{where}")
            ctx.exit(1)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="classification-game")
def main() -> None:
    """Run the Classification Game: loadouts in, leaderboard out.

    \b
    Example:
      gamectl validate loadouts/demo
      gamectl submit loadouts/demo
    """
    # A file name or a value may hold what the terminal's encoding lacks: escape it, never crash.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
