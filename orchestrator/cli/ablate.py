"""`gamectl ablate`: what each item of a loadout is worth, by running it without.

In: one loadout and its cohort's rules. Out: a table and a picture of what every item adds to the
accuracy. The runs are ordinary jobs of a side cohort, as those of `gamectl balance`, and go on
where they were interrupted. Validation images decide, so that a team may ask; with --test-set it is
the hidden test set, for the organizer, and the picture is for nobody else either.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.cohort import HERE
from orchestrator.admission.files import Reading
from orchestrator.cli.common import (
    check_cpus,
    check_places,
    cohort_file_option,
    cpus_option,
    data_option,
    form_option,
    picture_option,
    read_loadout,
    write_result,
)
from orchestrator.opening import open_store
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.terminal.display import duration, short_time

if TYPE_CHECKING:
    from orchestrator.ablation.worth import Ablation, Variants
    from orchestrator.admission.cohort import CohortSpec


@click.command(
    "ablate",
    epilog="""\b
    Example:
      gamectl ablate loadouts/demo/dizzy-macaques.yaml
      gamectl ablate my-loadout.yaml --seeds 5 --picture worth.png""",
)
@click.argument("loadout", metavar="LOADOUT", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Pairs of networks to compare.",
)
@picture_option("TEAM-ablation.png, or TEAM-ablation-test.png,")
@cohort_file_option
@data_option
@cpus_option
@click.option(
    "--test-set",
    is_flag=True,
    help="Let the hidden test set decide, for the organizer; validation images do by default.",
)
@form_option
def command(
    loadout: Path,
    seeds: int,
    picture: Path | None,
    cohort_file: Path | None,
    data: Where | None,
    cpus: int | None,
    test_set: bool,
    output: str,
) -> None:
    """Measure what each bought item is worth, by leaving it out.

    The loadout is run whole and without each of its items, with several seeds, and compared at
    each seed. An interrupted measurement goes on where it was; a changed loadout runs only what
    has changed.
    """
    settings = Settings()
    reading, file = read_loadout(loadout, cohort_file, data is not None, "nothing was measured")
    if reading.cohort.spec.cluster == HERE:
        check_cpus(cpus, settings)
    picture = picture or Path(f"{file.team}-ablation{'-test' if test_set else ''}.png")
    check_places(picture)

    # Imported here: wrong usage needs none of them.
    from orchestrator.ablation import table as written
    from orchestrator.ablation.worth import variants

    all_of_it = variants(file, reading.cohort)
    result = measure(reading, all_of_it, seeds, data, cpus, test_set, settings)
    if output == "json":
        console.print_json(result.to_dict())
    else:
        console.print_table(written.COLUMNS, written.rows(result), right=written.NUMBERS)
        console.print_note("\n" + console.filled(written.legend(result)))
    for each in all_of_it.kept:
        console.print_note(
            console.filled(f"{each.item} cannot be left out alone: without it {each.reason}")
        )
    _draw(result, picture, test_set)
    if result.failed:
        console.print_note(
            f"without a result: {', '.join(result.failed)}. "
            f"gamectl describe job {result.failed[0]} --cohort {result.cohort} says why"
        )
    else:
        console.print_note(f"the networks: gamectl get jobs --cohort {result.cohort}")


def measure(
    reading: Reading,
    all_of_it: "Variants",
    num_seeds: int,
    data: Where | None,
    cpus: int | None,
    test_set: bool,
    settings: Settings,
) -> "Ablation":
    """Runs what is left to do of the side cohort, and sums it up.

    Raises a `GameError` where it can't be run.
    """
    from orchestrator.ablation.worth import WHOLE, ablation, to_run
    from orchestrator.cli.balance import images_of, label_of
    from orchestrator.cli.score import score_cohort
    from orchestrator.cli.submit import run_cohort
    from orchestrator.control.inputs import Inputs
    from orchestrator.measuring.balance import job_name, side_cohort
    from orchestrator.results.scorebook import read_scores
    from orchestrator.results.truth import validation_truth
    from orchestrator.state import newest_revisions

    images = images_of(reading, data, settings, with_test=test_set)
    label = label_of(reading, data, images)
    side = side_cohort(to_run(reading, all_of_it, len(f"-{label}")), num_seeds, label)
    spec = side.cohort.spec
    cohort, _ = run_cohort(
        side,
        data,
        False,
        cpus,
        settings,
        lambda jobs: announce(jobs, spec, cpus, settings),
        with_test=test_set,
    )
    if test_set:
        score_cohort(cohort, False, None, settings)
    with open_store(settings) as store:
        jobs = store.jobs(cohort)
        if test_set:
            book = read_scores(settings.scores, cohort)
            assert book is not None, "score_cohort has just written it"
            scores = {score.job: score.accuracy for score in book.scores}
            return ablation(all_of_it, num_seeds, jobs, scores, "test", book.test_images)
        scores = {job.uid: job.val_accuracy for job in jobs if job.val_accuracy is not None}
        truth = validation_truth(Inputs(cohort, store, settings).images)
        whole = next(job for job in newest_revisions(jobs) if job.team == job_name(WHOLE, 0))
        num_images = len(truth(store.plans(whole.id)[0].data).labels)
        return ablation(all_of_it, num_seeds, jobs, scores, "validation", num_images)


def announce(jobs: Sequence[Job], spec: "CohortSpec", cpus: int | None, settings: Settings) -> None:
    """Says how many networks are left to train and, of this machine, when they will be done."""
    left = [job for job in jobs if job.is_left]
    if not left:
        return
    num = sum(not member.phase.terminal for job in left for member in job.members)
    ahead = f"{_number(len(left), 'job')} to run, {_number(num, 'network')}"
    if spec.cluster == HERE and settings.ray_address is None:
        ahead += f": {_how_long(jobs, num, spec, cpus, settings)}"
    console.print_note(f"{ahead}; Ctrl-C keeps what is done")


def _how_long(
    jobs: Sequence[Job], num: int, spec: "CohortSpec", cpus: int | None, settings: Settings
) -> str:
    from orchestrator.cli.plan import known_speeds
    from orchestrator.forecasting.capacity import num_slots, this_machine
    from orchestrator.forecasting.forecast import AROUND_S, forecast

    slots = max(1, min(num_slots(spec.resources, this_machine(cpus, spec.resources)), num))
    speeds, now = known_speeds(settings), time.time()
    end = (forecast(jobs, slots, speeds.seconds, spec.queue, now).end or now) + AROUND_S
    return (
        f"about {duration(end - now)} on {_number(slots, 'slot')} of this machine, until "
        f"{short_time(end, now)}"
    )


def _number(number: int, of: str) -> str:
    return f"1 {of}" if number == 1 else f"{number} {of}s"


def _draw(result: "Ablation", file: Path, secret: bool) -> None:
    from orchestrator.ablation.picture import picture  # matplotlib takes a second

    write_result(file, picture(result), secret)
    console.print_note(f"picture: {file}")
    if secret:
        console.print_note("it shows test results that are not published: it is for you alone")
