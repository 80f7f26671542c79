"""`gamectl data`: what is in a folder of photos, before anybody trains on it.

In: a data folder. Out: counts, sizes, broken files and duplicates as tables or JSON, and a picture
of the pairs to look at. Next: `scoring.excludeLeaked` in the cohort's file.
"""

import io
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.cli.common import DataPlace, check_places, output_option, write_result
from orchestrator.cli.paths import LocalPath
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from jobs.data_check import DataCheck

MAX_LISTED = 20
NO_TEST = (
    "no validation/: the hidden part, the test images, is not here. That will do for training; "
    "leaks can't be told, and `gamectl score` needs it"
)


@click.group("data")
def command() -> None:
    """Look at the images that a cohort trains on."""


def _png(
    ctx: click.Context,  # noqa: ARG001  # click's signature
    param: click.Parameter,  # noqa: ARG001  # click's signature
    value: Path | None,
) -> Path | None:
    if value is not None and value.suffix.lower() != ".png":
        raise click.BadParameter(f"{value.name!r} does not end in .png; the sheet is a PNG file")
    return value


@command.command(
    "check",
    epilog="""\b
    Example:
      gamectl data check photos
      gamectl data check photos --sheet pairs.png
      gamectl data check drawn --strict""",
)
@click.argument("path", type=DataPlace())
@output_option
@click.option(
    "--sheet",
    metavar="FILE.png",
    type=LocalPath(dir_okay=False),
    callback=_png,
    help="Write a picture of the pairs to look at: across the splits and the least alike first.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 where test images leak, files are broken or copies differ in class.",
)
def check(path: Where, output: str, sheet: Path | None, strict: bool) -> None:
    """Count images and find broken files and duplicates.

    PATH is a folder with training/ and validation/ (the test images), its URI, or `drawn`, the
    embedded set. Two files are exact duplicates if their bytes are equal, and near ones if they
    show the same photo: saved again, resized, watermarked, recoloured, cropped or mirrored. What is
    found is a report: the exit code is 0 unless --strict is given.
    """
    from jobs.data_check import check_folder, duplicates_sheet
    from orchestrator.sources import data_root
    from orchestrator.terminal.progress_bars import progress

    check_places(sheet)
    root = data_root(str(path), Settings(), progress)
    with progress("comparing the images") as show:
        result = check_folder(root, show)
    if output == "json":
        console.print_json(result.to_dict())
    else:
        print_check(result)
    if sheet is not None:
        picture = duplicates_sheet(result)
        if picture is None:
            console.print_note("no duplicates, so there is no sheet to write")
        else:
            drawn = io.BytesIO()
            picture.save(drawn, format="PNG")
            write_result(sheet, drawn.getvalue())
            console.print_note(f"wrote {sheet}")
    for line in _advice(result):
        console.print_note(line)
    if strict and (result.leaked or result.duplicates.broken or result.mislabelled):
        sys.exit(1)


def print_check(result: "DataCheck") -> None:
    """Prints what was found as tables: counts, sizes, broken files, duplicates."""
    counts = [(count.name, count.training, count.test) for count in result.classes]
    total = ("all", sum(row[1] for row in counts), sum(row[2] for row in counts))
    console.print_table(["class", "training", "test"], [*counts, total], right=["training", "test"])
    if result.sizes:
        console.print_text("")
        console.print_table(
            ["image", "width", "height", "file"],
            [
                (which, size.width_px, size.height_px, result.name(size.path))
                for which, size in result.sizes.items()
            ],
            right=["width", "height"],
        )
    broken = result.duplicates.broken
    if broken:
        console.print_text("")
        console.print_table(
            ["broken file", "reason"],
            [(result.name(image.path), image.reason) for image in broken[:MAX_LISTED]],
        )
        _print_more(len(broken))
    if result.pairs:
        _print_duplicates(result)


def _print_duplicates(result: "DataCheck") -> None:
    where = {True: "training and test", False: "within one part"}
    numbers = Counter((pair.across_splits, pair.kind) for pair in result.pairs)
    console.print_text("")
    console.print_table(
        ["pairs of duplicates", "exact", "near"],
        [
            (where[across], numbers[across, "exact"], numbers[across, "near"])
            for across in (True, False)
        ],
        right=["exact", "near"],
    )
    console.print_text("")
    console.print_table(
        ["file", "the same picture", "kind"],
        [
            (
                result.name(pair.a.path),
                result.name(pair.b.path),
                pair.kind
                + (", mirrored" if pair.mirrored else "")
                + ("" if pair.same_class else ", other class"),
            )
            for pair in result.pairs[:MAX_LISTED]
        ],
    )
    _print_more(len(result.pairs))


def _print_more(number: int) -> None:
    if number > MAX_LISTED:
        console.print_text(f"and {number - MAX_LISTED} more; `-o json` lists them all")


def _advice(result: "DataCheck") -> list[str]:
    """What was found that needs somebody's attention, and what to do about it."""
    lines = [] if result.folder.test else [NO_TEST]
    if broken := len(result.duplicates.broken):
        lines.append(
            f"{broken} broken: repair or remove them, or leave them out with "
            "`data: {skipBrokenImages: true}` in the cohort's spec"
        )
    if mislabelled := len(result.mislabelled):
        lines.append(
            f"one picture in two classes: {mislabelled} of the pairs; one of the two is mislabelled"
        )
    if leaked := len(result.leaked):
        lines.append(
            f"{leaked} of {len(result.folder.test)} test images leak into training; next: "
            "`scoring: {excludeLeaked: true}` in the cohort's spec leaves them out"
        )
    if lines in ([], [NO_TEST]):
        lines.append("nothing wrong was found; next: `gamectl submit` with this folder as data")
    return lines
