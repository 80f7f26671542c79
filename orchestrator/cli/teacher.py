"""`gamectl teacher`: the networks that wisdom-extractor's students learn from.

In: a cohort's data and the weights to start from. Out: a trained teacher, kept for that data; a
list of those that there are; their accuracy on the test set, for the organizer. Next: loadouts that
buy wisdom-extractor are submitted.
"""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where, check_writable
from jobs.plan import Normalize
from orchestrator import console
from orchestrator.admission.files import Reading, read_cohort
from orchestrator.cli.common import data_option, exclude_leaked_option, output_option
from orchestrator.cli.numbers import PositiveNumber
from orchestrator.cli.paths import LocalPath
from orchestrator.opening import make_home
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from jobs.images import DecodedFolder
    from jobs.plan import DataPlan

START_S = 5.0
"""About how long Ray takes to start."""
# From random weights, and from trained ones, which want smaller steps and fewer of them.
FROM_NOTHING = {"epochs": 40, "learning_rate": 0.05}
FINE_TUNED = {"epochs": 10, "learning_rate": 0.005}

cohort_file_option = click.option(
    "--cohort-file",
    metavar="PATH",
    type=LocalPath(),
    help="The cohort whose data and validation split count; the drawn monkeys by default.",
)


@click.group("teacher")
def command() -> None:
    """Train and show the teachers that wisdom-extractor's students learn from."""


@command.command(
    "train",
    epilog="""\b
    Example:
      gamectl teacher train
      gamectl teacher train --data photos/monkeys --weights imagenet --size 224
      gamectl teacher train --architecture mobilenet_v2 --weights backbone.pth""",
)
@cohort_file_option
@data_option
@click.option(
    "--architecture", default="resnet18", show_default=True, help="A classifier of torchvision's."
)
@click.option(
    "--weights",
    default="none",
    show_default=True,
    metavar="imagenet|none|FILE",
    help="What it starts from: torchvision's ImageNet weights (downloaded), nothing, or a plain "
    "state dict in torchvision's keys, with any last layer or without.",
)
@click.option(
    "--size", default=64, show_default=True, type=click.IntRange(8, 1024), help="Image side, px."
)
@click.option("--epochs", type=click.IntRange(1, 10_000), help="40; 10 from trained weights.")
@click.option(
    "--learning-rate",
    type=PositiveNumber(0, 10, min_open=True),
    help="The highest of the cycle: 0.05; 0.005 from trained weights.",
)
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(2, 8192))
@click.option(
    "--patience",
    default=10,
    show_default=True,
    type=click.IntRange(min=1),
    help="Stop after so many epochs without a lower validation loss.",
)
@click.option(
    "--normalize",
    type=click.Choice(["none", "imagenet"]),
    help="How pixels are scaled for it; as for ImageNet, where it starts from weights.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**53 - 1))
@click.option("--cpus", type=click.IntRange(min=1), help="CPUs, and threads; all by default.")
@click.option("--gpu", is_flag=True, help="Train on a GPU.")
@click.option(
    "-o",
    "file",
    metavar="FILE.pt",
    type=LocalPath(dir_okay=False),
    help="Write it there, instead of keeping it in the home folder.",
)
def train(
    cohort_file: Path | None,
    data: Where | None,
    architecture: str,
    weights: str,
    size: int,
    epochs: int | None,
    learning_rate: float | None,
    batch_size: int,
    patience: int,
    normalize: Normalize | None,
    seed: int,
    cpus: int | None,
    gpu: bool,
    file: Path | None,
) -> None:
    """Train a teacher on a cohort's training images, and keep it for that data.

    Validation images only say when to stop; the epoch with the lowest validation loss is kept. Test
    images play no part. A cohort with the same data and split finds the teacher by itself.
    """
    if file is not None and file.suffix != ".pt":
        raise click.BadParameter(f"'{file}' does not end in .pt", param_hint="-o")
    settings = Settings()

    # Imported here: `--help` and wrong usage need none of them.
    from orchestrator.terminal.progress_bars import TORCH_S, epoch_progress, waiting

    with waiting("loading torch", TORCH_S):
        from orchestrator.teaching.backbones import check_trains, initial_state
    from jobs.plan import TeacherPlan
    from orchestrator.cluster.connection import cpus_for_one, ray_cluster
    from orchestrator.teaching.teachers import check_target, keep_teacher, kept_path

    # Known before anything is made, downloaded or decoded.
    check_trains(architecture, size, gpu)
    check_writable(settings.teachers if file is None else file.parent)

    initial = initial_state(architecture, weights)
    make_home(settings)
    decoded, data_plan = _data(read_cohort(cohort_file), data, size, settings, with_test=False)
    target = file or kept_path(settings.teachers, data_plan)
    check_target(target)
    recipe = FROM_NOTHING if initial is None else FINE_TUNED
    plan = TeacherPlan(
        data=data_plan,
        architecture=architecture,
        normalize=normalize or ("none" if initial is None else "imagenet"),
        initial_sha256="" if initial is None else initial.sha256,
        learning_rate=learning_rate or recipe["learning_rate"],
        batch_size=batch_size,
        epochs=epochs or int(recipe["epochs"]),
        patience_epochs=patience,
        seed=seed,
        device="cuda" if gpu else "cpu",
    )
    with contextlib.ExitStack() as stack:
        with waiting("starting Ray", START_S):
            stack.enter_context(ray_cluster(settings.ray_address, cpus))
        from orchestrator.cluster.teacher_trainer import train_on_ray  # once Ray's settings stand

        num_gpus = 1 if gpu else 0
        plan = plan.model_copy(update={"threads": cpus_for_one(cpus, num_gpus)})
        with epoch_progress(f"training {architecture}", plan.epochs) as show:
            result = train_on_ray(
                plan,
                decoded.training(size),
                None if initial is None else initial.state,
                num_gpus,
                show,
                lambda: console.print_note("waiting for CPUs or GPUs that others use"),
            )
    manifest = keep_teacher(target, plan, result, decoded.training(size))
    console.print_note(
        f"{architecture}: {manifest.val_accuracy:.1%} on {len(result.val_probs)} validation "
        f"images; kept in {target}"
    )


@command.command(
    "list",
    epilog="""\b
    Example:
      gamectl teacher list""",
)
@output_option
def list_teachers(output: str) -> None:
    """List the teachers that there are, with what they were made for."""
    from orchestrator.teaching.teacher_manifest import Manifest, without_manifest
    from orchestrator.teaching.teachers import kept_teachers

    nothing = dict.fromkeys(Manifest.model_fields)
    found = kept_teachers(Settings().teachers)
    if output == "json":
        rows = [
            {"path": str(path), **(manifest.model_dump() if manifest else nothing)}
            for path, manifest in found
        ]
        console.print_json({"teachers": rows})
        return
    console.print_table(
        ["FILE", "NETWORK", "SIZE", "DATA", "VALIDATION"],
        [
            (path.name, m.architecture, m.image_size_px, m.fingerprint[:8], f"{m.val_accuracy:.1%}")
            if m
            else (path.name, without_manifest(path), "", "", "")
            for path, m in found
        ],
        right=["SIZE", "VALIDATION"],
    )
    if not found:
        console.print_note("no teacher yet; `gamectl teacher train` makes one")


@command.command(
    "score",
    epilog="""\b
    Example:
      gamectl teacher score
      gamectl teacher score --data photos/monkeys --exclude-leaked""",
)
@cohort_file_option
@data_option
@exclude_leaked_option
@output_option
def score(
    cohort_file: Path | None, data: Where | None, exclude_leaked: bool | None, output: str
) -> None:
    """Evaluate the teacher of a cohort's data on the test set; for the organizer's eyes."""
    settings = Settings()
    make_home(settings)

    from jobs.duplicates import leaked_test_images
    from jobs.metrics import score as score_of
    from jobs.teacher import teacher_logits
    from jobs.values import Teaching
    from orchestrator.results.scoring import need_test_images, scored_images
    from orchestrator.sources import source_of
    from orchestrator.teaching.teachers import find_teacher
    from orchestrator.terminal.progress_bars import progress

    reading = read_cohort(cohort_file)
    decoded, data_plan = _data(reading, data, 64, settings, with_test=False)
    own = reading.cohort.spec.teacher
    teacher = find_teacher(settings.teachers, own, reading.folder, data_plan)
    decoded, data_plan = _data(reading, data, teacher.spec.image_size_px, settings, with_test=True)
    if exclude_leaked is None:
        exclude_leaked = reading.cohort.spec.scoring.exclude_leaked
    leaked: frozenset[str] = frozenset()
    if exclude_leaked:
        with progress("looking for leaked images") as show:
            leaked = leaked_test_images(decoded.folder, settings.image_cache, show)
    source = source_of(reading, data)
    need_test_images(decoded, source, "gamectl teacher score --data FOLDER")
    test = scored_images(decoded, teacher.spec.image_size_px, leaked)
    with progress("asking the teacher") as show:
        logits = teacher_logits(
            Teaching(teacher.spec, teacher.weights), test.images,
            len(data_plan.classes), 1, show,
        )  # fmt: skip
    result = score_of(test.labels, logits)
    left_out = len(decoded.folder.test) - len(test.labels)
    if output == "json":
        console.print_json(
            {
                "teacher": str(teacher.path),
                "architecture": teacher.spec.architecture,
                "accuracy": result.accuracy,
                "accuracy_low": result.accuracy_low,
                "accuracy_high": result.accuracy_high,
                "test_images": len(test.labels),
                "test_images_left_out": left_out,
            }
        )
        return
    leaks = f" ({left_out} leaked ones left out)" if exclude_leaked else ""
    console.print_text(
        f"{teacher.spec.architecture}: {result.accuracy:.1%} "
        f"({result.accuracy_low:.1%} - {result.accuracy_high:.1%}) "
        f"on {len(test.labels)} of {len(decoded.folder.test)} test images{leaks}"
    )
    console.print_note(f"teacher: {teacher.path}")


def _data(
    reading: Reading, data: Where | None, size_px: int, settings: Settings, *, with_test: bool
) -> tuple["DecodedFolder", "DataPlan"]:
    """The cohort's images at this size, and its split, of which a teacher gets the whole."""
    from orchestrator import sources
    from orchestrator.admission.member_plans import data_plan
    from orchestrator.terminal.progress_bars import progress

    cohort, source = reading.cohort, sources.source_of(reading, data)
    skip_broken = cohort.spec.data.skip_broken_images
    decoded = sources.decode_source(source, [size_px], skip_broken, settings, progress, with_test)
    plan = data_plan(cohort, decoded.folder.classes, decoded.folder.fingerprint)
    return decoded, plan.model_copy(update={"image_size_px": size_px, "train_fraction": 1.0})
