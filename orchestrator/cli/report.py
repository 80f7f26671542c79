"""`gamectl report`: a cohort as one page for the projector.

In: jobs, scores and the test images. Out: an HTML file that needs no network. `gamectl score
--publish` puts the same page into MLflow. What `gamectl results` does alike is here, too.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from jobs.errors import JobsError
from jobs.places import Where
from orchestrator import console
from orchestrator.cli.common import DataPlace, check_places, cohort_option, ending_in, write_result
from orchestrator.opening import open_store, pick_cohort
from orchestrator.results.scorebook import read_scores
from orchestrator.settings import Settings

if TYPE_CHECKING:  # numpy and Pillow come with them
    from orchestrator.report.page import Report
    from orchestrator.state import DataRecord

_P = ParamSpec("_P")
_T = TypeVar("_T")


def page_option(words: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """The option -o that names a page; `words` are its help."""
    return click.option(
        "-o",
        "file",
        metavar="FILE.html",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=ending_in(".html", ".htm", hint="; --output json is for programs"),
        help=words,
    )


@click.command(
    "report",
    epilog="""\b
    Example:
      gamectl report
      gamectl report --cohort demo -o report.html""",
)
@cohort_option
@page_option("Where to write the page; COHORT-report.html in this folder by default.")
@click.option(
    "--data",
    type=DataPlace(),
    help="Folder with training/ and validation/ (the test images), or its URI, where it is not "
    "the one that was submitted.",
)
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="json prints the page's figures for programs, and writes a page only with -o.",
)
def command(cohort: str | None, file: Path | None, data: Where | None, output: str) -> None:
    """Write a cohort as one page: leaderboard, titles, hard images, curves, receipts, timeline.

    The page is a single file without anything to load. Before the cohort is scored it shows
    validation accuracy. Before its scores are published it is for the organizer alone, and says so.
    """
    settings = Settings()

    # Imported here: wrong usage needs none of them.
    import time

    from orchestrator.report.gather import gather
    from orchestrator.report.html import report_html

    with open_store(settings) as store:
        name = pick_cohort(store, cohort).name
        record = store.cohort(name).data
        report = gather(store, name, read_scores(settings.scores, name), time.time())
    if output == "json":
        console.print_json(report.to_dict())
        if file is None:
            return
    wanted = {image.sha256 for image in report.hard_images}
    shown, missing = find_pictures(record, data, wanted, test=True, settings=settings)
    path = file or Path(f"{name}-report.html")
    write_page(path, report_html(report, shown, missing), secret=report.state == "unpublished")
    if missing:
        console.print_note(missing)
    _say_what_comes_next(report)


def find_pictures(
    record: "DataRecord",
    data: Where | None,
    wanted: Collection[str],
    test: bool,
    settings: Settings,
) -> tuple[Mapping[str, str], str]:
    """The wanted images as data URIs, by SHA-256; and why some are missing, if any are.

    They are looked for in the data's hidden part or, with `test` False, in its training part.
    """
    from jobs.image_folder import scan
    from orchestrator.report.pictures import pictures
    from orchestrator.sources import data_root, source_again
    from orchestrator.terminal.progress_bars import progress

    if not wanted:
        return {}, ""
    source = source_again(record, data)
    try:
        folder = scan(data_root(source, settings, progress), with_test=test)
        found = pictures(folder.test if test else folder.training, wanted)
    except (JobsError, OSError) as error:
        return {}, f"without pictures: {error}; name the folder of the images with --data"
    if len(found) < len(set(wanted)):
        lacking = len(set(wanted)) - len(found)
        return (
            found,
            f"{lacking} of the pictures are not in {source} any more; --data names a folder",
        )
    return found, ""


def write_page(path: Path, text: str, secret: bool) -> None:
    """Writes the file, for its owner alone where it is secret, and says where it is."""
    check_places(path)
    content = text.encode()
    write_result(path, content, secret)
    console.print_note(f"written to {path} ({_size(len(content))}); open it in a browser")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{max(1, num_bytes // 1000)} kB"


def _say_what_comes_next(report: "Report") -> None:
    name = report.cohort
    if report.state == "unpublished":
        console.print_note(
            "it shows test results that are not published: it is for you alone. "
            f"next: gamectl score --cohort {name} --publish"
        )
    elif report.state == "unscored" and report.unscored:
        console.print_note(f"it has no test results yet. next: gamectl score --cohort {name}")
    elif report.unscored:
        console.print_note(
            f"without a score: {', '.join(report.unscored)}. next: gamectl score --cohort {name}"
        )
    elif report.at_work:
        console.print_note(
            f"{len(report.at_work)} of {len(report.teams)} teams are not through: "
            f"gamectl get jobs --cohort {name} --watch"
        )
    elif report.state == "published" and not report.answers_known:
        console.print_note(
            f"these scores tell nothing image by image. next: gamectl score --cohort {name}"
        )
