"""`gamectl balance`: what each loadout is worth, measured by running it with several seeds.

In: loadouts and their cohort file. Out: a table of mean test accuracies, and a section of a
Markdown file. Next on the path: `workflows.measuring`.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.files import read_paths
from orchestrator.cli.common import (
    check_places,
    cpus_option,
    data_option,
    ending_in,
    form_option,
    write_result,
)
from orchestrator.cli.numbers import WholeNumber
from orchestrator.cli.paths import LocalPath
from orchestrator.settings import Settings
from orchestrator.workflows.measuring import BASELINE, measure_balance


@click.command(
    "balance",
    epilog="""\b
    Example:
      gamectl balance loadouts/balance --seeds 3 -o loadouts/BALANCE.md
      gamectl balance loadouts/balance --data photos/monkeys --output json""",
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=LocalPath())
@click.option(
    "--seeds", default=3, show_default=True, type=WholeNumber(1, 100), help="Runs of a loadout."
)
@click.option(
    "--baseline",
    metavar="TEAM",
    help=f"The loadout that the others are compared with; `{BASELINE}`, where it is there.",
)
@data_option
@cpus_option
@click.option(
    "-o",
    "file",
    metavar="FILE.md",
    type=LocalPath(),
    callback=ending_in(".md", hint="; --output json is for programs"),
    help="Write the table into this file's section for the data; the rest of it stays.",
)
@form_option
def command(
    paths: tuple[Path, ...],
    seeds: int,
    baseline: str | None,
    data: Where | None,
    cpus: int | None,
    file: Path | None,
    output: str,
) -> None:
    """Measure what loadouts are worth: run each with several seeds and compare.

    The first run has the loadout's own seeds, the next ones have them moved by 1000, 2000, ... (by
    more where its members' own seeds are far apart). An interrupted measurement goes on where it
    was; with other data, it starts anew.
    """
    reading, settings = read_paths(paths, other_data=data is not None), Settings()

    # Imported here: wrong usage needs none of them.
    from orchestrator.measuring import balance_table as written
    from orchestrator.measuring.balance import section_name
    from orchestrator.sources import size_of_data, source_of
    from orchestrator.terminal.progress_bars import progress

    source = source_of(reading, data)
    section, images = section_name(source), ""
    if file is not None:  # before hours of training, not after
        # Of all files, broken ones too, which no machine knows before it has decoded them.
        _, _, images = size_of_data(source, False, settings, progress)
        written.read_for_update(file, section, images)
        check_places(file)
    result = measure_balance(reading, seeds, baseline, data, cpus, settings)
    if file is not None:  # before anything is printed: whoever was to read it may have gone
        words = _words(paths, seeds, baseline, data, file)
        text = written.read_for_update(file, section)
        new = written.section(result, section, words, images)
        text = written.updated(text, section, new)
        write_result(file, text.encode(), updates=True)
    if output == "json":
        console.print_json(result.to_dict())
    else:
        columns, rows = written.table(result)
        console.print_table(columns, rows, right=written.NUMBERS)
        console.print_note(f"\n{written.legend(result)}")
    if file is not None:
        console.print_note(f"written into {file}, section {section}")


def _words(
    paths: Sequence[Path], seeds: int, baseline: str | None, data: Where | None, file: Path
) -> str:
    """The command that makes the table, without what only this machine has."""
    words = ["gamectl", "balance", *map(_portable, paths), "--seeds", str(seeds)]
    if baseline not in (None, BASELINE):
        words += ["--baseline", str(baseline)]
    if data is not None:
        words += ["--data", _portable(data)]
    return shlex.join([*words, "-o", _portable(file)])


def _portable(path: Where) -> str:
    return path.name if isinstance(path, Path) and path.is_absolute() else str(path)
