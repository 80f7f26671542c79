"""`gamectl preview`: training images as a loadout's members will see them.

In: one loadout, its cohort's rules and the data. Out: a PNG with untouched images beside changed
ones. Reads the loadout as `gamectl validate` does, and needs neither Ray nor MLflow nor a store.
"""

import io
from pathlib import Path

import click

from jobs.places import Where
from jobs.plan import AugmentPlan
from orchestrator import console
from orchestrator.admission.receipt import Receipt
from orchestrator.cli.common import (
    check_places,
    cohort_file_option,
    data_option,
    ending_in,
    read_loadout,
    write_result,
)
from orchestrator.cli.numbers import WholeNumber
from orchestrator.cli.paths import LocalPath
from orchestrator.opening import make_home
from orchestrator.settings import Settings

UNCHANGED = (
    "no augmentation was bought, so images stay as they are: buy one, such as "
    "`- item: flip-trick`; `gamectl shop` has more"
)
DRAWS, DRAWS_OF_EACH = 6, 3
"""Changed images in a row: where all members see the same, and where they differ."""


@click.command(
    "preview",
    epilog="""\b
    Example:
      gamectl preview loadouts/demo/dizzy-macaques.yaml
      gamectl preview my-loadout.yaml --seed 1 -o other-draws.png""",
)
@click.argument("loadout", metavar="LOADOUT", type=LocalPath(dir_okay=False))
@click.option(
    "-o",
    "file",
    metavar="FILE.png",
    type=LocalPath(dir_okay=False),
    callback=ending_in(".png"),
    help="Where to write the picture; TEAM-preview.png in this folder by default.",
)
@cohort_file_option
@data_option
@click.option(
    "--seed",
    default=0,
    type=WholeNumber(0, 2**53 - 1),
    help="Another one shows other images, changed in other ways.",
)
def command(
    loadout: Path, file: Path | None, cohort_file: Path | None, data: Where | None, seed: int
) -> None:
    """Draw training images as the members of a loadout will see them.

    One image of each class from the team's training images, untouched and then as augmentation
    may change it. Where members of an ensemble see different augmentations, each has its columns.
    """
    reading, admitted = read_loadout(
        loadout, cohort_file, data is not None, "nothing was drawn", console.print_line
    )
    assert admitted.loadout is not None
    assert admitted.receipt is not None

    file = file or Path(f"{admitted.team}-preview.png")
    check_places(file)

    # Imported here: reading and refusing files needs none of them.
    from orchestrator.terminal.progress_bars import TORCH_S, progress, waiting

    with waiting("loading torch", TORCH_S):
        from jobs.contact_sheet import contact_sheet
        from jobs.preview import preview, side_px
        from orchestrator.admission.member_plans import member_plans
        from orchestrator.sources import decode_source, source_of

    settings, cohort = Settings(), reading.cohort
    source = source_of(reading, data)
    # The size does not depend on the data, which is not decoded yet.
    size_px = member_plans(admitted.loadout, cohort)[0].data.image_size_px
    make_home(settings)
    skip_broken = cohort.spec.data.skip_broken_images
    decoded = decode_source(source, [size_px], skip_broken, settings, progress, with_test=False)
    folder = decoded.folder
    plans = member_plans(admitted.loadout, cohort, folder.classes, folder.fingerprint)
    num_draws = DRAWS if len({plan.augment for plan in plans}) == 1 else DRAWS_OF_EACH
    shown = preview(plans, decoded.training(size_px), num_draws, seed)

    header = f"{admitted.team}, {size_px} px, bought: {_bought(admitted.receipt)}"
    drawn = io.BytesIO()
    contact_sheet(shown.rows, side_px(size_px), header, shown.titles).save(drawn, format="PNG")
    write_result(file, drawn.getvalue())
    console.print_note(f"{header}\nwritten to {file}")
    code = admitted.loadout.code
    if code is not None and "augment" in code.defines:
        console.print_note(
            f"without augment of {code.file}: a team's own code runs in a sandbox only"
        )
    elif all(plan.augment == AugmentPlan() for plan in plans):
        console.print_note(UNCHANGED)


def _bought(receipt: Receipt) -> str:
    items = (
        f"{line.item} x {line.quantity}" if line.quantity > 1 else line.item
        for line in receipt.lines
    )
    return ", ".join(items) or "nothing"
