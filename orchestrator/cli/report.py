"""`gamectl report`: a cohort as one page for the projector.

In: jobs, scores and the test images. Out: an HTML file that needs no network. `gamectl score
--publish` puts the same page into MLflow.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.cli.common import DataPlace, cohort_option
from orchestrator.cli.pages import find_pictures, page_option, write_page
from orchestrator.opening import open_store, pick_cohort
from orchestrator.results.scorebook import read_scores
from orchestrator.settings import Settings

if TYPE_CHECKING:  # numpy comes with it
    from orchestrator.report.page import Report


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
