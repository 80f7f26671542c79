"""`gamectl ablate`: what each item of a loadout is worth, by running it without.

In: one loadout and its cohort's rules. Out: a table and a picture of what every item adds to the
accuracy. The runs are ordinary jobs of a side cohort, as those of `gamectl balance`, and go on
where they were interrupted. Validation images decide, so that a team may ask; with --test-set it is
the hidden test set, for the organizer.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.atomic import atomic_file
from jobs.places import Where
from orchestrator import console
from orchestrator.cli.common import (
    check_cpus,
    cohort_file_option,
    cpus_option,
    data_option,
    form_option,
    open_store,
    picture_option,
    read_loadout,
)
from orchestrator.cohort import HERE
from orchestrator.display import duration, short_time
from orchestrator.files import LoadoutFile, Reading
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from jobs.images import ImageFolder
    from orchestrator.ablation import Ablation, Variants


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
@picture_option("TEAM-ablation.png")
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

    # Imported here: wrong usage needs none of them.
    from orchestrator import ablation_table as written
    from orchestrator.ablation import variants

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
    _draw(result, picture or Path(f"{file.team}-ablation.png"))


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
    from orchestrator.ablation import ablation, to_run
    from orchestrator.balance import side_cohort
    from orchestrator.cli.balance import images_of, label_of
    from orchestrator.cli.score import score_cohort
    from orchestrator.cli.submit import run_cohort
    from orchestrator.inputs import Inputs
    from orchestrator.scorebook import read_scores
    from orchestrator.truth import validation_truth

    images = images_of(reading, data, settings, with_test=test_set)
    label = label_of(reading, data, images)
    side = side_cohort(to_run(reading, all_of_it, len(f"-{label}")), num_seeds, label)
    _forecast(side, images, cpus, settings)
    if side.cohort_path is None:  # without one, the default rules hold, as for `validate`
        side = replace(side, cohort_path=Path(side.files[0].path))
    cohort, _ = run_cohort(side, data, False, cpus, settings)
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
        num_images = len(truth(store.plans(jobs[0].id)[0].data).labels)
        return ablation(all_of_it, num_seeds, jobs, scores, "validation", num_images)


def _forecast(side: Reading, images: "ImageFolder", cpus: int | None, settings: Settings) -> None:
    """Says how many networks are left to train and when they will be done on this machine."""
    from orchestrator.capacity import this_machine
    from orchestrator.cli.plan import known_speeds
    from orchestrator.planning import plan_cohort

    left = _left_to_run(side, settings)
    if not left:
        return
    cohort, machine = side.cohort, this_machine(cpus, side.cohort.spec.resources)
    speeds = known_speeds(settings)
    ahead = plan_cohort(left, cohort, images.classes, len(images.training), machine, speeds)
    jobs = "1 job" if len(left) == 1 else f"{len(left)} jobs"
    networks = "1 network" if ahead.num_members == 1 else f"{ahead.num_members} networks"
    now = time.time()
    console.print_note(
        f"{jobs} to run, {networks}: about {duration(ahead.finish_s)} on {ahead.num_slots} "
        f"{'slot' if ahead.num_slots == 1 else 'slots'} of this machine, until "
        f"{short_time(now + ahead.finish_s, now)}; Ctrl-C keeps what is done"
    )


def _left_to_run(side: Reading, settings: Settings) -> list[LoadoutFile]:
    """The loadouts that have not succeeded yet, as they are now."""
    from orchestrator.phases import Phase
    from orchestrator.state import newest_revisions

    if settings.store is None and settings.store_file and not settings.store_file.exists():
        return list(side.files)
    with open_store(settings) as store:
        if side.cohort.name not in {each.name for each in store.cohorts()}:
            return list(side.files)
        done = {
            store.document(job.id)[0]
            for job in newest_revisions(store.jobs(side.cohort.name))
            if job.phase is Phase.SUCCEEDED
        }
    return [file for file in side.files if file.text not in done]


def _draw(result: "Ablation", file: Path) -> None:
    from orchestrator.ablation_picture import picture  # matplotlib takes a second

    with atomic_file(file) as out:
        out.write(picture(result))
    file.chmod(0o644)
    console.print_note(f"picture: {file}")
