"""Augmentation beside what people would use instead: torchvision per image, kornia per batch.

In: nothing. Out: rows for all affine augmentations and erasing at once, and for each alone. One
thread; an epoch of 616 images of 64 px, uint8 in memory, in a random order -> float32 batches.

Ours is what `jobs.train` does: an epoch's parameters drawn at once, applied to every batch. The
others are written as their documentation has it, each in several ways of which the fastest counts:
torchvision with uint8 images or float ones, with rotation and shift as two transforms or as one;
kornia in `AugmentationSequential` or `nn.Sequential`, and with one transform or two as well.
"""

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from jobs.augment import apply_changes, draw_changes
from jobs.drawn_monkeys import draw_dataset
from jobs.images import decode
from jobs.memory import keep_freed_memory
from jobs.pixels import Pixels
from jobs.plan import AugmentPlan
from tests.bench.rows import Row, faster, figure, in_turns, print_rows, skipped

PHOTOS = Path("../shared/data/monkeys")
SIZE_PX, NUM_IMAGES, TRIAL_IMAGES = 64, 616, 64
BATCHES = (8, 32)
DEGREES, SHIFT, CHANCE, MAX_AREA = 15.0, 0.1, 0.5, 0.2
TARGETS = {"torchvision": 6.0, "kornia": 2.0}
NO_KORNIA = (
    "kornia is not installed; install the extra: pip install -c constraints.txt -e '.[bench]'"
)

AFFINE = {"rotate_degrees": DEGREES, "shift_fraction": SHIFT}
FLIPS = {"flip_horizontal_p": CHANCE, "flip_vertical_p": CHANCE}
ERASING = {"erase_p": CHANCE, "erase_max_area": MAX_AREA}
ALL = AugmentPlan(**AFFINE, **FLIPS, **ERASING)
ALONE = {
    "flips": AugmentPlan(**FLIPS),
    "rotation": AugmentPlan(rotate_degrees=DEGREES),
    "shift": AugmentPlan(shift_fraction=SHIFT),
    "erasing": AugmentPlan(**ERASING),
    "blur": AugmentPlan(blur_strength=1),
}
SAME = "distributions compared in tests/jobs/test_augment_epoch.py"

Way = Callable[[], object]
"""An epoch."""


def rows(quick: bool) -> Iterator[Row]:
    """All at once for each batch size and library; in full each alone, too."""
    keep_freed_memory()
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = load_images()
        order = np.random.default_rng(0).permutation(np.resize(np.arange(len(images)), NUM_IMAGES))
        for batch_size in BATCHES[:1] if quick else BATCHES:
            yield from all_at_once(images, order, batch_size, repeats=5 if quick else 15)
        for item, plan in () if quick else ALONE.items():
            yield one_alone(item, plan, images, order, repeats=9)
    finally:
        torch.set_num_threads(threads_before)


def all_at_once(
    images: np.ndarray, order: np.ndarray, batch_size: int, repeats: int
) -> Iterator[Row]:
    """The rows with targets."""
    best, notes = fastest_of(ALL, images, order, batch_size)
    ways = {library: way for library, (_, way) in best.items()}
    ways["ours"] = ours(ALL, images, order, batch_size)
    taken_us = per_image(ways, repeats)
    for library, target in TARGETS.items():
        name = f"augmentation, batch {batch_size}, beside {library}"
        if library not in best:
            yield skipped(name, NO_KORNIA)
            continue
        beside = f"{library}, {best[library][0]}"
        note = f"{notes[library]}; {SAME}"
        yield faster(name, taken_us["ours"], taken_us[library], "us/image", target, beside, note)


def one_alone(
    item: str, plan: AugmentPlan, images: np.ndarray, order: np.ndarray, repeats: int
) -> Row:
    """A figure in batches of 32, beside whichever of the two libraries is faster."""
    batch_size = BATCHES[-1]
    best, notes = fastest_of(plan, images, order, batch_size)
    ways = {library: way for library, (_, way) in best.items()}
    ways["ours"] = ours(plan, images, order, batch_size)
    taken_us = per_image(ways, repeats)
    ours_us = taken_us.pop("ours")
    library = min(taken_us, key=lambda name: taken_us[name])
    note = "; ".join(f"{name}: {notes[name]}" for name in notes)
    name, beside = f"{item} alone, batch {batch_size}", f"{library}, {best[library][0]}"
    return figure(name, ours_us, "us/image", taken_us[library], beside, note)


def fastest_of(
    plan: AugmentPlan, images: np.ndarray, order: np.ndarray, batch_size: int
) -> tuple[dict[str, tuple[str, Way]], dict[str, str]]:
    """Of each library the fastest way with its name, and a note on all of its ways."""
    best, notes = {}, {}
    for library, found in {"torchvision": torchvision_ways, "kornia": kornia_ways}.items():
        transforms = found(plan)
        if not transforms:
            continue
        short = order[:TRIAL_IMAGES]
        trials = {
            label: theirs(library, transform, images, short, batch_size)
            for label, transform in transforms.items()
        }
        taken_s = in_turns(trials, repeats=3)
        label = min(taken_s, key=lambda each: taken_s[each])
        best[library] = (label, theirs(library, transforms[label], images, order, batch_size))
        notes[library] = "us by way: " + ", ".join(
            f"{each} {taken_s[each] / TRIAL_IMAGES * 1e6:.0f}" for each in taken_s
        )
    return best, notes


def per_image(ways: dict[str, Way], repeats: int) -> dict[str, float]:
    """Microseconds an image, the median of `repeats` epochs each, in turns."""
    return {name: taken_s / NUM_IMAGES * 1e6 for name, taken_s in in_turns(ways, repeats).items()}


# --- an epoch ------------------------------------------------------------------------------------


def ours(plan: AugmentPlan, images: np.ndarray, order: np.ndarray, batch_size: int) -> Way:
    """As in `jobs.train`."""
    pixels, generator = Pixels(images, "cpu"), torch.Generator().manual_seed(0)
    places = pixels.places(order)

    def epoch() -> None:
        changes = draw_changes(plan, len(order), SIZE_PX, SIZE_PX, generator)
        for start in range(0, len(order), batch_size):
            stop = start + batch_size
            apply_changes(pixels.batch(places[start:stop]), changes.part(start, stop))

    return epoch


def theirs(
    library: str,
    transform: Callable[[Tensor], Tensor],
    images: np.ndarray,
    order: np.ndarray,
    batch_size: int,
) -> Way:
    """torchvision image by image, as a data set does; kornia batch by batch."""
    tensors, pixels = torch.from_numpy(images), Pixels(images, "cpu")

    def by_image() -> None:
        for start in range(0, len(order), batch_size):
            torch.stack([transform(tensors[place]) for place in order[start : start + batch_size]])

    def by_batch() -> None:
        for start in range(0, len(order), batch_size):
            transform(pixels.batch(order[start : start + batch_size]))

    return by_image if library == "torchvision" else by_batch


# --- the same in other words ---------------------------------------------------------------------


def torchvision_ways(plan: AugmentPlan) -> dict[str, Callable[[Tensor], Tensor]]:
    """The plan as transforms of one uint8 image (3, S, S), which return a float32 one."""
    degrees, shift = plan.rotate_degrees, (plan.shift_fraction, plan.shift_fraction)
    bilinear = InterpolationMode.BILINEAR
    flips: list[nn.Module] = []
    if plan.flip_horizontal_p > 0:
        flips += [v2.RandomHorizontalFlip(plan.flip_horizontal_p)]
    if plan.flip_vertical_p > 0:
        flips += [v2.RandomVerticalFlip(plan.flip_vertical_p)]
    rotates, shifts = degrees > 0, plan.shift_fraction > 0
    rotation = [v2.RandomRotation(degrees, bilinear)] if rotates else []
    moved = [v2.RandomAffine(0, translate=shift)] if shifts else []
    affines = {"": [*rotation, *moved]}
    if rotates and shifts:
        fused = v2.RandomAffine(degrees, translate=shift, interpolation=bilinear)
        affines = {
            ", two affine": [*rotation, *moved],
            ", one affine": [fused],
        }
    last: list[nn.Module] = []
    if plan.blur_strength > 0:
        unit = plan.blur_strength * SIZE_PX / 500
        last += [v2.GaussianBlur((5, 9), (0.1 * unit, 5 * unit))]
    if plan.erase_p > 0:
        last += [v2.RandomErasing(plan.erase_p, (0.02, plan.erase_max_area), (0.3, 3.3))]
    to_float = v2.ToDtype(torch.float32, scale=True)
    ways: dict[str, Callable[[Tensor], Tensor]] = {}
    for name, affine in affines.items():
        ways[f"uint8{name}"] = v2.Compose([*flips, *affine, *last, to_float])
        ways[f"float{name}"] = v2.Compose([to_float, *flips, *affine, *last])
    return ways


def kornia_ways(plan: AugmentPlan) -> dict[str, Callable[[Tensor], Tensor]]:
    """The plan as transforms of a float32 batch, random for each image; none without kornia."""
    if importlib.util.find_spec("kornia") is None:
        return {}
    from kornia import augmentation

    degrees, shift = plan.rotate_degrees, plan.shift_fraction

    def steps(one_affine: bool) -> list[Any]:
        made: list[Any] = []
        if plan.flip_horizontal_p > 0:
            made += [augmentation.RandomHorizontalFlip(p=plan.flip_horizontal_p)]
        if plan.flip_vertical_p > 0:
            made += [augmentation.RandomVerticalFlip(p=plan.flip_vertical_p)]
        if one_affine:
            made += [augmentation.RandomAffine(degrees, translate=(shift, shift), p=1.0)]
        elif degrees > 0:
            made += [augmentation.RandomRotation(degrees, p=1.0)]
        if shift > 0 and not one_affine:
            made += [augmentation.RandomTranslate((-shift, shift), (-shift, shift), p=1.0)]
        if plan.blur_strength > 0:
            unit = plan.blur_strength * SIZE_PX / 500
            made += [augmentation.RandomGaussianBlur((9, 5), (0.1 * unit, 5 * unit), p=1.0)]
        if plan.erase_p > 0:
            area = (0.02, plan.erase_max_area)
            made += [augmentation.RandomErasing(area, (0.3, 3.3), p=plan.erase_p)]
        return made

    kinds = [""]
    if degrees > 0 and shift > 0:
        kinds = [", two affine", ", one affine"]
    ways: dict[str, Callable[[Tensor], Tensor]] = {}
    for kind in kinds:
        one = "one" in kind
        ways[f"nn.Sequential{kind}"] = nn.Sequential(*steps(one))
        ways[f"AugmentationSequential{kind}"] = augmentation.AugmentationSequential(
            *steps(one), data_keys=["input"], same_on_batch=False
        )
    return ways


# --- images --------------------------------------------------------------------------------------


def load_images() -> np.ndarray:
    """(N, 3, S, S) uint8 of the photos, or of drawn pictures where there are none."""
    with tempfile.TemporaryDirectory() as folder:
        root, source = PHOTOS, "photos"
        if not root.is_dir():
            root, source = Path(folder) / "drawn", "drawn pictures"
            draw_dataset(root, training_counts=[10] * 10, test_counts=[1] * 10)
        decoded = decode(root, [SIZE_PX], Path(folder) / "cache").training(SIZE_PX)
        images = np.array(decoded.images, order="C")
    sys.stderr.write(f"{len(images)} {source}\n")
    return images


if __name__ == "__main__":
    print_rows(rows, __doc__.partition("\n")[0])
