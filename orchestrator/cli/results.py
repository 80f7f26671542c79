"""`gamectl results`: one team's part of the game, to take home.

In: a team's job, its curves and receipt; its scores once they are published. Out: text, JSON, and a
page with the images that its networks got wrong. Before publishing nothing here is of the test set,
whatever the organizer has measured: the images are validation images then.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.cli import completing
from orchestrator.cli.common import DataPlace, cohort_option, form_option, write_result
from orchestrator.cli.pages import find_pictures, page_option, write_page
from orchestrator.cli.paths import LocalPath
from orchestrator.errors import NotFound
from orchestrator.opening import open_store, pick_cohort
from orchestrator.phases import Phase
from orchestrator.results.scorebook import read_published
from orchestrator.settings import Settings
from orchestrator.state import newest_revisions
from orchestrator.terminal import display
from orchestrator.terminal.lookup import find_job
from orchestrator.terminal.receipt import print_receipt

if TYPE_CHECKING:  # numpy comes with the first, SQLAlchemy with the last
    from orchestrator.report.page import MemberLine, TeamResults
    from orchestrator.state import CohortRecord
    from orchestrator.store import Store

SPARKLINE = 24
MIX_UPS_SHOWN = 5


@click.command(
    "results",
    epilog="""\b
    Example:
      gamectl results howling-pixels
      gamectl results howling-pixels --cohort demo -o howling-pixels.html
      gamectl results --all pages""",
)
@click.argument("team", required=False, shell_complete=completing.teams)
@cohort_option
@page_option("Write a page with the images that its networks got wrong.")
@click.option(
    "--all",
    "folder",
    metavar="FOLDER",
    type=LocalPath(file_okay=False),
    help="Write such a page for every team, as FOLDER/TEAM.html.",
)
@click.option(
    "--data",
    type=DataPlace(),
    help="Folder with the images, or its URI, where it is not the one that was submitted.",
)
@form_option
def command(
    team: str | None,
    cohort: str | None,
    file: Path | None,
    folder: Path | None,
    data: Where | None,
    output: str,
) -> None:
    """Show a team what it bought, how it trained, where it erred and where it stood.

    Before the scores are published, it erred on validation images and stands nowhere yet.
    """
    settings = Settings()
    if team is None and folder is not None and file is None and output == "text":
        with open_store(settings) as store:
            _write_all(store, pick_cohort(store, cohort), folder, data, settings)
        return
    if team is None or folder is not None:
        raise click.UsageError("name a TEAM, or pass --all FOLDER alone for a page of every team")

    # Imported here: wrong usage needs none of them.
    from orchestrator.report.html import MISTAKES_SHOWN, results_html
    from orchestrator.report.take_home import TrainingImages, take_home

    with open_store(settings) as store:
        name = pick_cohort(store, cohort).name
        job = find_job(store.jobs(name), name, team)
        found = store.cohort(name)
        record = found.data
        published = read_published(settings.scores, name)
        images = TrainingImages(found, data, settings)
        results = take_home(store, job, published, images, settings, time.time())
    if output == "json":
        console.print_json(results.to_dict())
    else:
        _print(results)
    if file is not None:
        wanted = {image.sha256 for image in results.mistakes[:MISTAKES_SHOWN]}
        of_test = results.images == "test"
        shown, missing = find_pictures(record, data, wanted, of_test, settings)
        write_page(file, results_html(results, shown, missing), secret=False)
        if missing:
            console.print_note(missing)
    elif output != "json" and results.mistakes:
        console.print_note(f"\nwith -o {team}.html it writes a page that shows these images")
    in_game = job.phase is not Phase.SUPERSEDED  # a withdrawn team stands nowhere
    if in_game and not results.published and output != "json":
        console.print_note("where the team stands is told once the organizer has published scores")


def _write_all(
    store: "Store", cohort: "CohortRecord", folder: Path, data: Where | None, settings: Settings
) -> None:
    """Writes a page for each team; the images are looked for once."""
    from orchestrator.report.html import MISTAKES_SHOWN, results_html
    from orchestrator.report.take_home import TrainingImages, take_home

    published = read_published(settings.scores, cohort.name)
    jobs = newest_revisions(store.jobs(cohort.name))
    if not jobs:
        raise NotFound(f"cohort {cohort.name}: every team was withdrawn, so there is no page")
    folder.mkdir(parents=True, exist_ok=True)
    images = TrainingImages(cohort, data, settings)
    every = [take_home(store, job, published, images, settings, time.time()) for job in jobs]
    for of_test in (True, False):
        pages = [results for results in every if (results.images == "test") is of_test]
        wanted = {image.sha256 for each in pages for image in each.mistakes[:MISTAKES_SHOWN]}
        shown, missing = find_pictures(cohort.data, data, wanted, of_test, settings)
        for results in pages:
            path = folder / f"{results.team.team}.html"
            write_result(path, results_html(results, shown, missing).encode())
        if missing:
            console.print_note(missing)
    number = "1 page" if len(every) == 1 else f"{len(every)} pages"
    console.print_note(f"{number} written to {console.printable(str(folder))}")
    if published is None:
        console.print_note("where teams stand is on them once the scores are published")


def _print(results: "TeamResults") -> None:
    from orchestrator.report.html import place_in_words

    team = results.team
    revision = f", revision {team.revision}" if team.revision > 1 else ""
    console.print_line(f"{team.team} in cohort {results.cohort}{revision}: {_stood(results)}")
    if results.earlier is not None:
        score = results.earlier.score
        console.print_line(
            f"revision {results.earlier.revision} stands {place_in_words(score)} of "
            f"{results.num_ranked}, with {score.accuracy:.1%} of the test images, until the "
            "organizer scores and publishes again"
        )
    if team.message:
        console.print_line(f"{team.phase}: {console.printable(team.message)}")
    for title in results.titles:
        console.print_line(f"title: {title.name}, {title.because}")
    lines = [(line.title, line.quantity, line.total_bnn) for line in team.receipt]
    print_receipt("Bought", lines, team.spent_bnn, team.budget_bnn)
    console.print_text("\nTrained, by validation accuracy:")
    for member in team.members:
        console.print_line(f"  {_trained(member, alone=len(team.members) == 1)}", indent=4)
    if team.val_accuracy is not None and len(team.members) > 1:
        console.print_line(f"  together, by {team.combine}: {team.val_accuracy:.1%}")
    _print_mistakes(results)


def _stood(results: "TeamResults") -> str:
    from orchestrator.report.html import place_in_words

    team, score = results.team, results.team.score
    if score is not None:
        return (
            f"{place_in_words(score)} of {results.num_ranked}, {score.accuracy:.1%} of "
            f"{results.num_images} test images (95 % interval {score.accuracy_low:.1%} - "
            f"{score.accuracy_high:.1%})"
        )
    if team.val_accuracy is not None:
        return f"{team.val_accuracy:.1%} of the validation images"
    return team.phase


def _trained(member: "MemberLine", alone: bool) -> str:
    from orchestrator.report.curves import sparkline

    name = "" if alone else f"network {member.index}  "
    if not member.val_accuracies:
        return f"{name}{member.phase}, no epoch yet"
    first, last = member.val_accuracies[0], member.val_accuracies[-1]
    line = sparkline(member.val_accuracies, SPARKLINE)
    ended = "" if member.phase == "Succeeded" else f", {member.phase}"
    return (
        f"{name}{line}  {first:.1%} to {last:.1%}, best in epoch {member.best_epoch} of "
        f"{member.epochs}, {display.duration(member.seconds)}{ended}"
    )


def _print_mistakes(results: "TeamResults") -> None:
    if results.unknown:
        console.print_note(f"\n{results.unknown}")
    if results.images == "none" or results.confusion is None:
        return
    kind = "test images" if results.images == "test" else "validation images"
    wrong = sum(count for _, _, count in results.confusion.mix_ups)
    console.print_text(f"\nErred on {wrong} of {results.num_images} {kind}; most often:")
    for true, called, count in results.confusion.mix_ups[:MIX_UPS_SHOWN]:
        total = sum(results.confusion.counts[true])
        names = [console.printable(str(results.classes[label])) for label in (true, called)]
        console.print_line(f"  {count:>3} of {total} {names[0]} taken for {names[1]}", indent=6)
