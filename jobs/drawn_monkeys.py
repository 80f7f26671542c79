"""The embedded data set, drawn by code: ten monkey species that anyone may copy and show.

In: a folder and a seed. Out: `training/n0..n9/*.jpg` and `validation/n0..n9/*.jpg`, in the layout
of the photos. An image's content depends on the seed, its part, class and number alone; two draws
give the same bytes (on one instruction set, with one release of numpy and Pillow). PNG would hold
those bits no longer than the drawing does and be several times as large, so the files are JPEG, as
the photos are. Next on the path: `jobs.images` reads the folder.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.drawn_scene import draw_picture
from jobs.drawn_species import SPECIES

DRAWN_VERSION = 1  # part of the cache folder's name; raise it when a drawn bit changes

CLASS_NAMES = {f"n{label}": species.name for label, species in enumerate(SPECIES)}
# As many images of each class as there are photos.
TRAINING_COUNTS = (105, 111, 110, 122, 105, 113, 106, 114, 106, 106)
TEST_COUNTS = (26, 28, 27, 30, 26, 28, 26, 28, 27, 26)
JPEG_QUALITY = 90


def known_species(classes: Sequence[str]) -> dict[str, str]:
    """Return the species of each class where these are the game's ten, and otherwise none.

    The photos of the game have the same folders.
    """
    return CLASS_NAMES if set(classes) == set(CLASS_NAMES) else {}


def species_names(classes: Sequence[str]) -> dict[str, str]:
    """Return what each class is called: its species where that is known, otherwise its name."""
    known = known_species(classes)
    return {name: known.get(name, name) for name in classes}


def draw_dataset(
    folder: Path,
    seed: int = 0,
    training_counts: Sequence[int] = TRAINING_COUNTS,
    test_counts: Sequence[int] = TEST_COUNTS,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw the data set into `folder`; files of the same names are overwritten.

    Args:
        folder: where `training/` and `validation/` go; made if it does not exist.
        seed: another seed (0 or more) draws other pictures of the same species.
        training_counts: images of each class in `training/`; n0 comes first.
        test_counts: the same for `validation/`, the hidden test set.
        progress: called with (images drawn, images to draw).

    Raises:
        ValueError: a negative seed, or not one count a class.
        OSError: the folder cannot be written.
    """
    parts = (("training", training_counts), ("validation", test_counts))
    num_images = sum(training_counts) + sum(test_counts)
    num_drawn = 0
    for part_number, (part, counts) in enumerate(parts):
        for label, (species, count) in enumerate(zip(SPECIES, counts, strict=True)):
            class_folder = folder / part / f"n{label}"
            class_folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                rng = np.random.default_rng([seed, part_number, label, number])
                picture = Image.fromarray(draw_picture(species, rng))
                picture.save(class_folder / f"n{label}-{number:03d}.jpg", quality=JPEG_QUALITY)
                num_drawn += 1
                if progress is not None:
                    progress(num_drawn, num_images)


def ensure_drawn(
    cache_root: Path, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Return the folder of the data set under `cache_root`, drawing it if it is not there.

    The set is drawn into a temporary folder beside its place and renamed, so it is there whole or
    not at all. Two processes may draw at once: the first to finish wins, the other's copy goes. A
    killed draw leaves a hidden folder behind that nobody reads.

    Args:
        cache_root: folder of the drawn sets; made if it does not exist.
        seed: as for `draw_dataset`.
        progress: as for `draw_dataset`; not called if the set is there.
    """
    return ensure_folder(
        drawn_folder(cache_root, seed),
        lambda folder: draw_dataset(folder, seed, progress=progress),
    )


def drawn_folder(cache_root: Path, seed: int = 0) -> Path:
    """Return where the data set is, or will be."""
    return cache_root / f"drawn-monkeys-v{DRAWN_VERSION}-seed{seed}"


def ensure_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Return `target`; if it does not exist, let `fill` write it, whole or not at all."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        fill(temporary)
        temporary.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
