"""A data folder looked over before anybody trains on it.

In: a folder of photos. Out: a `DataCheck`: images per class and part, sizes, broken files,
duplicates, and a sheet of the pairs to look at. `jobs.duplicates` finds the pairs,
`jobs.contact_sheet` lays them out; `gamectl data check` shows the result.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jobs.contact_sheet import Tile, contact_sheet
from jobs.decoding import decode_square
from jobs.duplicates import DuplicatePair, Duplicates, find_duplicates
from jobs.image_folder import ImageFile, ImageFolder, scan

SHEET_TILE_PX = 160
SHEET_PAIRS_A_ROW = 3
SHEET_MAX_PAIRS = 60


@dataclass(frozen=True)
class ClassCount:
    """How many readable images a class has."""

    name: str
    training: int
    test: int


@dataclass(frozen=True)
class ImageSize:
    """One image's size, as its file says it."""

    path: Path
    width_px: int
    height_px: int


@dataclass(frozen=True)
class DataCheck:
    """What is in a folder and what is wrong with it."""

    folder: ImageFolder
    classes: tuple[ClassCount, ...]
    sizes: dict[str, ImageSize]
    """The smallest, the median and the largest image by number of pixels; empty without images."""
    duplicates: Duplicates

    @property
    def pairs(self) -> tuple[DuplicatePair, ...]:
        """The duplicates, the worst first.

        Across the splits before the others, other classes before equal ones, exact before near,
        the most similar first.
        """
        return tuple(
            sorted(
                self.duplicates.pairs,
                key=lambda p: (not p.across_splits, p.same_class, p.kind, -p.similarity),
            )
        )

    @property
    def leaked(self) -> tuple[ImageFile, ...]:
        """The test images that are also, or nearly, among the training images."""
        sha256s = self.duplicates.leaked
        return tuple(file for file in self.folder.test if file.sha256 in sha256s)

    @property
    def mislabelled(self) -> tuple[DuplicatePair, ...]:
        """The pairs whose images stand in different classes."""
        return tuple(pair for pair in self.pairs if not pair.same_class)

    def name(self, path: Path) -> str:
        """A file's path inside the folder, with forward slashes."""
        return path.relative_to(self.folder.root).as_posix()

    def to_dict(self) -> dict[str, Any]:
        """The form of `-o json`."""
        return {
            "hidden_part": bool(self.folder.test),
            "classes": [
                {"name": count.name, "training": count.training, "test": count.test}
                for count in self.classes
            ],
            "sizes": {
                which: {"width": s.width_px, "height": s.height_px, "path": self.name(s.path)}
                for which, s in self.sizes.items()
            },
            "broken": [
                {"path": self.name(image.path), "reason": image.reason}
                for image in self.duplicates.broken
            ],
            "duplicates": [
                {
                    "a": self.name(pair.a.path),
                    "b": self.name(pair.b.path),
                    "kind": pair.kind,
                    "across_splits": pair.across_splits,
                    "same_class": pair.same_class,
                    "mirrored": pair.mirrored,
                    "similarity": round(pair.similarity, 4),
                }
                for pair in self.pairs
            ],
            "leaked": sorted(self.name(file.path) for file in self.leaked),
        }


def check_folder(root: Path, progress: Callable[[int, int], None] | None = None) -> DataCheck:
    """Look at every image of a data folder; broken files are reported, not refused.

    Args:
        root: the data folder.
        progress: called with (images done, images to do).

    Raises:
        DataError: the folder's structure is not that of data, as `jobs.image_folder.scan` says it.
        OSError: a file cannot be read any more.
    """
    folder = scan(root)
    duplicates = find_duplicates(folder, progress)
    broken = {image.path for image in duplicates.broken}
    training = [file for file in folder.training if file.path not in broken]
    test = [file for file in folder.test if file.path not in broken]
    counts = tuple(
        ClassCount(
            name,
            sum(file.label == label for file in training),
            sum(file.label == label for file in test),
        )
        for label, name in enumerate(folder.classes)
    )
    return DataCheck(folder, counts, _sizes([*training, *test]), duplicates)


def duplicates_sheet(check: DataCheck) -> Image.Image | None:
    """The pairs to look at, side by side, each pair of contents once; None where there is none.

    Across the splits first; then those that might be no duplicates at all: other classes, and the
    least similar. Equal bytes need no look and come last.
    """
    broken = {image.path for image in check.duplicates.broken}
    contents: dict[tuple[str, str, bool], DuplicatePair] = {}
    for pair in check.pairs:
        if pair.a.path not in broken:  # two broken files of equal bytes are a pair, too
            contents.setdefault((pair.a.sha256, pair.b.sha256, pair.across_splits), pair)
    pairs = sorted(
        contents.values(), key=lambda p: (not p.across_splits, p.same_class, p.similarity)
    )
    shown = pairs[:SHEET_MAX_PAIRS]
    if not shown:
        return None
    tiles = [tile for pair in shown for tile in _tiles(check, pair)]
    columns = 2 * SHEET_PAIRS_A_ROW
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    header = f"{check.folder.root.name}: {len(shown)} of {len(pairs)} pairs"
    return contact_sheet(rows, SHEET_TILE_PX, header)


def _tiles(check: DataCheck, pair: DuplicatePair) -> Sequence[Tile]:
    verdict = pair.kind if pair.kind == "exact" else f"near, {pair.similarity:.3f}"
    remarks = [
        verdict,
        *(["mirrored"] if pair.mirrored else []),
        *([] if pair.same_class else ["other class"]),
    ]
    lines = (", ".join(remarks), "across the splits" if pair.across_splits else "")
    return [
        Tile(_square(file.path), f"{_one_line(check.name(file.path))}\n{line}")
        for file, line in zip((pair.a, pair.b), lines, strict=True)
    ]


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _square(path: Path) -> np.ndarray:
    """(S, S, 3) uint8, squeezed into a square as the networks see it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in decoding: odd metadata
        return decode_square(path.read_bytes(), SHEET_TILE_PX).transpose(1, 2, 0)


def _sizes(files: Sequence[ImageFile]) -> dict[str, ImageSize]:
    sizes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            with Image.open(file.path) as image:
                sizes.append(ImageSize(file.path, image.width, image.height))
    sizes.sort(key=lambda size: (size.width_px * size.height_px, str(size.path)))
    if not sizes:
        return {}
    return {"smallest": sizes[0], "median": sizes[len(sizes) // 2], "largest": sizes[-1]}
