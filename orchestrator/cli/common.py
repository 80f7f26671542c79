"""What several commands share: their options, and the store and cohort that these name.

In: option values and the environment. Out: settings, an open store, a cohort. Used by the commands
that look at a cohort or change one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from stat import S_IMODE
from tempfile import TemporaryFile
from typing import ParamSpec, TypeVar

import click
from click.shell_completion import CompletionItem

from jobs.atomic import atomic_file
from jobs.places import Where, is_uri
from orchestrator import console
from orchestrator.admission.files import LoadoutFile, Reading, read_paths
from orchestrator.cli import completing
from orchestrator.cli.numbers import WholeNumber
from orchestrator.cli.paths import EMPTY, LocalPath
from orchestrator.errors import Refused
from orchestrator.phases import Phase
from orchestrator.state import Job

_P = ParamSpec("_P")
_T = TypeVar("_T")
READABLE = 0o644


class DataPlace(click.ParamType[Where]):
    """A data folder, as a path, or its URI, as text: a path would lose one of its slashes."""

    name = "folder"

    def convert(
        self,
        value: Where,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Where:
        """Tell a URI from a path."""
        if value == "":
            self.fail(EMPTY, param, ctx)
        return value if isinstance(value, Path) or is_uri(value) else Path(value)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        param: click.Parameter,  # noqa: ARG002  # click's signature
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """Leave it to the shell to offer folders."""
        return [CompletionItem(incomplete, type="dir")]


def teams_argument(*, required: bool = False) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """The teams of a command; one that takes an option instead does not require them."""
    return click.argument(
        "teams",
        metavar="TEAM..." if required else "[TEAM]...",
        nargs=-1,
        required=required,
        shell_complete=completing.teams,
    )


data_option = click.option(
    "--data",
    type=DataPlace(),
    help="Folder of training/CLASS/* and validation/CLASS/*, or its URI, instead of the cohort's.",
)
cohort_file_option = click.option(
    "--cohort-file",
    metavar="PATH",
    type=LocalPath(dir_okay=False),
    help="The cohort whose rules and data hold; by default cohort.yaml beside the loadout.",
)
cohort_option = click.option(
    "--cohort",
    "cohort",
    metavar="NAME",
    shell_complete=completing.cohorts,
    help="Which cohort; the one submitted last by default.",
)
exclude_leaked_option = click.option(
    "--exclude-leaked/--no-exclude-leaked",
    default=None,
    help="Leave out test images that are among the training images, too; by default, as the "
    "cohort's `scoring.excludeLeaked` says.",
)
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or for programs.",
)
form_option = click.option(  # where -o names a file
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or for programs.",
)
cpus_option = click.option(
    "--cpus", type=WholeNumber(min=1), help="CPUs a local Ray may use; all by default."
)
detach_option = click.option(
    "--detach", is_flag=True, help="Leave it to a controller that outlives this shell, and return."
)
cluster_option = click.option(
    "--cluster",
    metavar="URL",
    help="Run it as a job of the Ray cluster with this dashboard, http://HOST:8265; `local` for "
    "here. By default as the cohort says.",
)
code_option = click.option(
    "--code",
    type=click.Choice(["carried", "image"]),
    default="carried",
    help="Where a cluster has gamectl from: carried along, or what is installed there.",
)


def ending_in(
    *suffixes: str, hint: str = ""
) -> Callable[[click.Context, click.Parameter, Path | None], Path | None]:
    """The callback of an option for a file whose name ends in one of these; `hint` follows."""

    def check(_: click.Context, __: click.Parameter, file: Path | None) -> Path | None:
        if file is not None and file.suffix.lower() not in suffixes:
            raise click.BadParameter(f"'{file}' does not end in {suffixes[0]}{hint}")
        return file

    return check


def picture_option(default: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """The option --picture; `default` says where the picture is written without it."""
    return click.option(
        "--picture",
        metavar="FILE.png",
        type=LocalPath(dir_okay=False),
        callback=ending_in(".png"),
        help=f"Where to write the picture; {default} in this folder by default.",
    )


def check_places(*files: Path | None) -> None:
    """Raises `Refused` where a file can't be written: before hours of training, not after."""
    for file in filter(None, files):
        try:
            folder = file.resolve().parent  # where a link leads
            if not folder.is_dir():
                where = folder if file.is_symlink() else file.parent
                raise Refused(f"{file} cannot be written: there is no folder {where}")
            with TemporaryFile(dir=folder):
                pass
        except RuntimeError as error:
            raise Refused(f"{file} cannot be written: it is a link to itself") from error
        except OSError as error:
            raise Refused(f"{file} cannot be written: {error.strerror}") from error


def write_result(
    file: Path, content: bytes, *, secret: bool = False, updates: bool = False
) -> None:
    """Writes what was asked for, whole or not at all; where it is secret, for its owner alone.

    A link stays one. Where somebody's file is only updated, its rights stay as they are.
    """
    file = file.resolve()
    mode = S_IMODE(file.stat().st_mode) if updates and file.exists() else READABLE
    with atomic_file(file) as out:
        out.write(content)
    if not secret:
        file.chmod(mode)


def read_loadout(
    loadout: Path,
    cohort_file: Path | None,
    other_data: bool,
    undone: str,
    say: Callable[[str], None] = console.print_note,
) -> tuple[Reading, LoadoutFile]:
    """One loadout and the rules that hold for it.

    Where it is not admitted its problems are said, and `Refused` is raised with what was left
    `undone` for them, such as "nothing was drawn".
    """
    reading = read_paths([loadout], other_data, cohort_file)
    for each in reading.files:
        for problem in each.problems:
            say(str(problem))
    if not reading.ok:
        raise Refused(f"{undone}; correct the problems above")
    found = next((each for each in reading.files if Path(each.path) == loadout), None)
    if found is None or found.loadout is None:
        raise Refused(f"{loadout} is no loadout; a file with `kind: Loadout` is wanted")
    if cohort_file is not None and reading.cohort_path != cohort_file:
        raise Refused(f"{cohort_file} is no cohort; a file with `kind: Cohort` is wanted")
    if reading.cohort_path is None:
        console.print_note(
            "under the default rules: no cohort.yaml beside it; --cohort-file names one"
        )
    return reading, found


def run_options(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """The options of a command that starts a controller: --cpus, --detach, --cluster, --code."""
    for option in (code_option, cluster_option, detach_option, cpus_option):
        command = option(command)
    return command


def print_next(name: str, jobs: Sequence[Job]) -> None:
    """Says which command comes after a cohort has run; nothing where there is nothing to score."""
    if any(job.phase is Phase.SUCCEEDED for job in jobs):
        console.print_note(f"next: gamectl score --cohort {name}")
