"""`gamectl ablate`: what each item of a loadout is worth, by running it without.

In: one loadout and its cohort's rules. Out: a table and a picture of what every item adds to the
accuracy. The runs are ordinary jobs of a side cohort, as those of `gamectl balance`, and go on
where they were interrupted. Validation images decide, so that a team may ask; with --test-set it is
the hidden test set, for the organizer, and the picture is for nobody else either.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.cohort import HERE
from orchestrator.cli.common import (
    check_places,
    cohort_file_option,
    cpus_option,
    data_option,
    output_option,
    picture_option,
    read_loadout,
    write_result,
)
from orchestrator.cli.numbers import WholeNumber
from orchestrator.cli.paths import LocalPath
from orchestrator.control.place import check_cpus
from orchestrator.settings import Settings
from orchestrator.workflows.measuring import measure_ablation

if TYPE_CHECKING:
    from orchestrator.ablation.worth import Ablation


@click.command(
    "ablate",
    epilog="""\b
    Example:
      gamectl ablate loadouts/demo/dizzy-macaques.yaml
      gamectl ablate my-loadout.yaml --seeds 5 --picture worth.png""",
)
@click.argument("loadout", metavar="LOADOUT", type=LocalPath(dir_okay=False))
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=WholeNumber(1, 100),
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
@output_option
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
    result = measure_ablation(reading, all_of_it, seeds, data, cpus, test_set, settings)
    # It is kept before anything is printed: whoever was to read it may have gone meanwhile.
    _draw(result, picture, test_set)
    if output == "json":
        console.print_json(result.to_dict())
    else:
        console.print_table(written.COLUMNS, written.rows(result), right=written.NUMBERS)
        console.print_note("\n" + console.filled(written.legend(result)))
    for each in all_of_it.kept:
        console.print_note(
            console.filled(f"{each.item} cannot be left out alone: without it {each.reason}")
        )
    console.print_note(f"picture: {picture}")
    if test_set:
        console.print_note("it shows test results that are not published: it is for you alone")
    if result.degraded:
        console.print_note(f"scored without members that were lost: {', '.join(result.degraded)}")
    if result.failed:
        console.print_note(
            f"without a result: {', '.join(result.failed)}. "
            f"gamectl describe job {result.failed[0]} --cohort {result.cohort} says why"
        )
    else:
        console.print_note(f"the networks: gamectl get jobs --cohort {result.cohort}")


def _draw(result: "Ablation", file: Path, secret: bool) -> None:
    from orchestrator.ablation.picture import picture  # matplotlib takes a second

    write_result(file, picture(result), secret=secret)
