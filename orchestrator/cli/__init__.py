"""The console command `gamectl`: which commands there are, and what becomes of an error.

In: the words after `gamectl`; out: an exit code. 0 is done, 1 is a problem that was explained on
stderr (or, by `validate`, on stdout), 2 is wrong usage, 130 is Ctrl-C. A command lives in a module
of its own that is imported only when it is called, so that `gamectl --help` and `gamectl validate`
never wait for torch, ray or mlflow. A command parses, calls one function and prints through
`console`.
"""

import atexit
import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

from jobs.errors import JobsError
from orchestrator import console
from orchestrator.cli.advice import of_system, with_next_step
from orchestrator.cli.hints import no_such_command, with_option
from orchestrator.errors import INTERRUPTED, GameError
from orchestrator.loading import loading

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
    "withdraw": ("orchestrator.cli.control:withdraw", "Take teams out of a cohort."),
    "suspend": ("orchestrator.cli.control:suspend", "Hold jobs back."),
    "resume": ("orchestrator.cli.control:resume", "Let jobs, or a whole cohort, go on."),
    "retry": ("orchestrator.cli.control:retry", "Queue jobs again that failed or were cancelled."),
    "priority": ("orchestrator.cli.control:priority", "Change a job's weight in the queue."),
    "controller": ("orchestrator.cli.controller:command", "Run a cohort's controller."),
    "score": ("orchestrator.cli.score:command", "Evaluate a cohort's networks on the test set."),
    "leaderboard": ("orchestrator.cli.leaderboard:command", "Rank a cohort's scored teams."),
    "report": ("orchestrator.cli.report:command", "Write a cohort as one page to look at."),
    "results": ("orchestrator.cli.results:command", "Show a team how it did, to take home."),
    "classify": ("orchestrator.cli.classify:command", "Ask the best network about pictures."),
    "balance": ("orchestrator.cli.balance:command", "Measure what loadouts are worth."),
    "ablate": ("orchestrator.cli.ablate:command", "Measure what a loadout's items are worth."),
    "tune": ("orchestrator.cli.tune:command", "Search for a loadout's best settings."),
    "teacher": ("orchestrator.cli.teacher:command", "Train and show teachers to distil from."),
    "ui": ("orchestrator.cli.ui:command", "Open the MLflow UI on what was tracked."),
    "deploy": ("orchestrator.cli.deploy:command", "Print Kubernetes manifests for a cohort."),
    "demo": ("orchestrator.cli.demo:command", "Play a whole game with the embedded data set."),
    "init": ("orchestrator.cli.init:command", "Write a cohort and a first loadout to begin with."),
    "doctor": ("orchestrator.cli.doctor:command", "Check this machine and its settings."),
    "completion": ("orchestrator.cli.completion:command", "Print a shell's completion script."),
}

# How `gamectl --help` lists them: what they are for -> their names, in the order of a day's work.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Set up": ("init", "doctor", "demo", "completion"),
    "Files": ("shop", "validate", "preview", "tune", "ablate", "plan", "schema"),
    "Run": (
        "submit",
        "suspend",
        "resume",
        "cancel",
        "retry",
        "withdraw",
        "priority",
        "controller",
        "deploy",
    ),
    "Look": ("get", "describe", "logs", "results", "ui"),
    "Score and explain": (
        "score",
        "leaderboard",
        "report",
        "classify",
        "balance",
    ),
    "Data and teachers": ("data", "teacher"),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Name the commands in the order of a day's work rather than of the alphabet."""
        return [name for names in GROUPS.values() for name in names]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import and return one command; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        with loading():
            command: click.Command = getattr(importlib.import_module(module_name), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first word; for one that is not there, suggest another.

        `help` is none, and shows what `--help` shows.
        """
        if args[0] == "help" and not ctx.resilient_parsing:  # as it is when Tab is pressed
            words = [word for word in args[1:] if not word.startswith("-")]
            if not words:
                click.echo(ctx.get_help())
                ctx.exit()
            args = [*words, "--help"]
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise no_such_command(error.command_name, COMMANDS, ctx) from None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Offer the names of commands and options, without importing any command."""
        found = [
            CompletionItem(name, help=COMMANDS[name][1])
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the commands in their groups, in one column of names, without importing any."""
        width = max(len(name) for name in COMMANDS)
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", COMMANDS[name][1]) for name in names])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; asked for completions by a shell, never say anything else."""
        if not os.environ.get("_GAMECTL_COMPLETE", "").endswith("_complete"):
            return super().main(*args, **kwargs)
        with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
            return super().main(*args, **kwargs)
        return None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a domain error becomes one message and exit code 1."""
        try:
            return cast(object, super().invoke(ctx))
        except (GameError, JobsError) as error:
            console.print_error(with_next_step(str(error), error, ctx.invoked_subcommand))
            ctx.exit(1)
        except click.UsageError as error:
            raise with_option(error) from None
        except KeyboardInterrupt:
            console.print_note("\ninterrupted")
            ctx.exit(INTERRUPTED)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("orchestrator", "jobs"):
                raise  # a mistake of ours
            console.print_error(
                f"Python does not find the package {error.name}; `gamectl doctor` says what to do"
            )
            ctx.exit(1)
        except BrokenPipeError:
            raise  # whoever reads our output has seen enough (`| head`): click ends quietly
        except OSError as error:
            console.print_error(of_system(error))
            ctx.exit(1)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="classification-game")
def main() -> None:
    """Run the Classification Game: loadouts in, leaderboard out.

    Most commands mean the cohort that was submitted last, in .game/ of the current folder.

    \b
    Example:
      gamectl validate loadouts/demo
      gamectl submit loadouts/demo
    """
    # A file name or a value may hold what the terminal's encoding lacks: escape it, never crash.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run() -> None:
    """What `__main__` calls: runs the program and ends the process with its last line.

    Taking torch, Ray and MLflow apart, object by object, keeps the prompt away for seconds. Threads
    are waited for and exit handlers run as ever: ours, which is there first, is called last.
    """
    status = 1

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as it is where it was closed before we began
                with contextlib.suppress(OSError, ValueError):  # nobody reads any more
                    stream.flush()
        os._exit(status)

    atexit.register(leave)
    try:
        main(prog_name="gamectl")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        # All is said; what is left takes a moment, and is no traceback for being asked once more.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise
