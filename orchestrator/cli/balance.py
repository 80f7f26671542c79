"""`gamectl balance`: what each loadout is worth, measured by running it with several seeds.

In: loadouts and their cohort file. Out: a table of mean test accuracies, and a section of a
Markdown file. The runs are ordinary jobs of a side cohort, submitted and scored by the commands
`submit` and `score`; nothing is published.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.files import Reading, read_paths
from orchestrator.cli.common import (
    check_places,
    cpus_option,
    data_option,
    ending_in,
    form_option,
    write_result,
)
from orchestrator.errors import Refused
from orchestrator.opening import make_home, open_store
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from jobs.image_folder import ImageFolder
    from orchestrator.measuring.balance import Balance

BASELINE = "none"


@click.command(
    "balance",
    epilog="""\b
    Example:
      gamectl balance loadouts/balance --seeds 3 -o loadouts/BALANCE.md
      gamectl balance loadouts/balance --data photos/monkeys --output json""",
)
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(1, 100), help="Runs of a loadout."
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
    type=click.Path(path_type=Path),
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
    from orchestrator.sources import source_of

    section = section_name(source_of(reading, data))
    if file is not None:
        written.read_for_update(file, section)  # before hours of training, not after
        check_places(file)
    result = measure(reading, seeds, baseline, data, cpus, settings)
    if output == "json":
        console.print_json(result.to_dict())
    else:
        columns, rows = written.table(result)
        console.print_table(columns, rows, right=written.NUMBERS)
        console.print_note(f"\n{written.legend(result)}")
    if file is not None:
        words = _words(paths, seeds, baseline, data, file)
        text = written.read_for_update(file, section)
        text = written.updated(text, section, written.section(result, section, words))
        write_result(file, text.encode())
        console.print_note(f"written into {file}, section {section}")


def measure(
    reading: Reading,
    num_seeds: int,
    baseline: str | None,
    data: Where | None,
    cpus: int | None,
    settings: Settings,
) -> "Balance":
    """Runs and scores what is left to do of the side cohort, and sums it up.

    Raises a `GameError` where a loadout is refused or the cohort can't be run.
    """
    from orchestrator.admission.receipt import receipt_of
    from orchestrator.cli.score import score_cohort
    from orchestrator.cli.submit import run_cohort
    from orchestrator.measuring.balance import balance, known_baseline, side_cohort
    from orchestrator.results.scorebook import read_scores

    _check(reading)
    spent_bnn = {
        file.loadout.team: receipt_of(file.loadout, reading.cohort).total_bnn
        for file in reading.files
        if file.loadout is not None
    }
    baseline = known_baseline(baseline, BASELINE, list(spent_bnn))
    images = images_of(reading, data, settings, with_test=True)
    side = side_cohort(reading, num_seeds, label_of(reading, data, images))
    cohort, _ = run_cohort(side, data, False, cpus, settings)
    score_cohort(cohort, False, None, settings)
    book = read_scores(settings.scores, cohort)
    assert book is not None, "score_cohort has just written it"
    with open_store(settings) as store:
        return balance(spent_bnn, num_seeds, baseline, store.jobs(cohort), book)


def images_of(
    reading: Reading, data: Where | None, settings: Settings, with_test: bool
) -> "ImageFolder":
    """The images that a side cohort is measured on.

    Raises `Refused` where there are to be test images and there are none, and what
    `jobs.image_folder.scan` does.
    """
    from jobs.image_folder import scan
    from orchestrator.sources import data_root, source_of
    from orchestrator.terminal.progress_bars import progress

    make_home(settings)
    images = scan(data_root(source_of(reading, data), settings, progress), with_test)
    if with_test and not images.test:  # before hours of training, not after
        raise Refused(
            f"{images.root} has no test images (validation/), and nothing else decides; "
            "put them there, or name another folder with --data FOLDER"
        )
    return images


def label_of(reading: Reading, data: Where | None, images: "ImageFolder") -> str:
    """What tells a side cohort on these images from one on others."""
    from orchestrator.measuring.balance import data_label
    from orchestrator.sources import source_of

    return data_label(source_of(reading, data), images.fingerprint)


def _check(reading: Reading) -> None:
    """Says what is wrong with the files; raises `Refused` before anything is drawn or run."""
    for file in reading.files:
        for problem in file.problems:
            console.print_note(str(problem))
    if not reading.ok:
        raise Refused("nothing was measured; correct the problems above")
    if reading.cohort_path is None:
        raise Refused(
            "no file of kind Cohort among the paths; name the folder that holds cohort.yaml"
        )
    if all(file.loadout is None for file in reading.files):
        raise Refused("no loadout among the paths")


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
