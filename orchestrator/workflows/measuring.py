"""What loadouts and their items are worth, measured by running them in a cohort of their own.

In: loadouts and their cohort file. Out: a `Balance`, or an `Ablation`. The runs are ordinary jobs
of a side cohort, submitted and scored as any others; nothing is published. An interrupted
measurement goes on where it was.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.cohort import HERE
from orchestrator.admission.files import Reading
from orchestrator.errors import Refused
from orchestrator.opening import make_home, open_store
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.terminal.display import duration, short_time
from orchestrator.workflows.scoring import score_and_publish
from orchestrator.workflows.speeds import known_speeds
from orchestrator.workflows.submitting import run_cohort

if TYPE_CHECKING:
    from jobs.image_folder import ImageFolder
    from orchestrator.ablation.worth import Ablation, Variants
    from orchestrator.admission.cohort import CohortSpec
    from orchestrator.measuring.balance import Balance

BASELINE = "none"
"""The loadout that others are compared with, unless another is named."""


def measure_balance(
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
    score_and_publish(cohort, False, None, settings)
    book = read_scores(settings.scores, cohort)
    assert book is not None, "it has just written it"
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


def measure_ablation(
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
        score_and_publish(cohort, False, None, settings)
    with open_store(settings) as store:
        jobs = store.jobs(cohort)
        if test_set:
            book = read_scores(settings.scores, cohort)
            assert book is not None, "it has just written it"
            scores = {score.job: score.accuracy for score in book.scores}
            return ablation(all_of_it, num_seeds, jobs, scores, "test", book.test_images)
        scores = {job.uid: job.val_accuracy for job in jobs if job.val_accuracy is not None}
        whole = next(job for job in newest_revisions(jobs) if job.team == job_name(WHOLE, 0))
        with closing(Inputs(cohort, store, settings)) as inputs:
            truth = validation_truth(inputs.images)
            num_images = len(truth(store.plans(whole.id)[0].data).labels)
        return ablation(all_of_it, num_seeds, jobs, scores, "validation", num_images)


def announce(jobs: Sequence[Job], spec: "CohortSpec", cpus: int | None, settings: Settings) -> None:
    """Says how many networks are left to train and, of this machine, when they will be done."""
    left = [job for job in jobs if job.wants_slots]
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
    from orchestrator.forecasting.capacity import num_slots, this_machine
    from orchestrator.forecasting.forecast import AROUND_S, forecast

    slots = max(1, min(num_slots(spec.resources, this_machine(cpus, spec.resources)), num))
    speeds, now = known_speeds(settings, spec.resources), time.time()
    speeds = speeds.in_worker_groups(spec.resources.in_worker_group)
    end = (forecast(jobs, slots, speeds.seconds, spec.queue, now).end or now) + AROUND_S
    return (
        f"about {duration(end - now)} on {_number(slots, 'slot')} of this machine, until "
        f"{short_time(end, now)}"
    )


def _number(number: int, of: str) -> str:
    return f"1 {of}" if number == 1 else f"{number} {of}s"
