"""A folder of photos becomes labelled uint8 arrays, decoded once per size and cached by content.

In: a folder with `training/<class>/*` and `validation/<class>/*` (the latter is the hidden test
set, which may be kept elsewhere) in any format that Pillow reads. Out: an `ImageFolder` (what is
there, told by content) and memory-mapped images of each size, by way of `jobs.decoding`.
`jobs.split` divides the training part.

Images are ordered by label and SHA-256, never by name: what a fingerprint names is exactly the
rows of an array, so neither a renamed file nor another file system changes a result. Training and
test images lie in separate files; who trains opens only the first.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from jobs.decoding import NUM_THREADS, ArrayCache, decode_files
from jobs.errors import DataError

TRAINING, TEST = "training", "validation"
FILES_A_TASK = 32


@dataclass(frozen=True)
class ImageFile:
    """One photo: where it is, its class's number, and the SHA-256 of its bytes."""

    path: Path
    label: int
    sha256: str


@dataclass(frozen=True)
class BrokenImage:
    """A file that cannot be decoded, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ImageFolder:
    """What a data folder holds. Both parts are sorted by label, then SHA-256.

    Where the hidden part is kept elsewhere, there are no test images.
    """

    root: Path
    classes: tuple[str, ...]
    training: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the class names and the training images, in their order."""
        return _fingerprint(self.classes, self.training)

    @cached_property
    def test_fingerprint(self) -> str:
        """SHA-256 over the class names and the test images, in their order; empty without any."""
        return _fingerprint(self.classes, self.test) if self.test else ""


@dataclass(frozen=True)
class LabelledImages:
    """Images with their labels. Images of equal content share a group."""

    images: np.ndarray  # (N, 3, S, S) uint8, RGB, read-only
    labels: np.ndarray  # (N,) int64
    groups: np.ndarray  # (N,) int64


@dataclass(frozen=True)
class DecodedFolder:
    """A folder without its broken files, and access to its decoded images."""

    folder: ImageFolder
    broken: tuple[BrokenImage, ...]
    cache: Path

    def training(self, size_px: int) -> LabelledImages:
        """Return the training part, memory-mapped; DataError if this size was not decoded."""
        return self._part(self.folder.training, self.folder.fingerprint, size_px)

    def test(self, size_px: int) -> LabelledImages:
        """Return the hidden test part, memory-mapped; DataError if this size was not decoded."""
        return self._part(self.folder.test, self.folder.test_fingerprint, size_px)

    def _part(self, files: tuple[ImageFile, ...], fingerprint: str, size_px: int) -> LabelledImages:
        images = ArrayCache(self.cache).read_images(fingerprint, len(files), size_px)
        if images is None:
            raise DataError(
                f"{self.folder.root}: no images of {size_px} px in the cache {self.cache}; "
                "call decode with this size first"
            )
        labels = np.array([file.label for file in files], dtype=np.int64)
        _, groups = np.unique([file.sha256 for file in files], return_inverse=True)
        return LabelledImages(images, labels, groups.astype(np.int64))


def scan(root: Path, with_test: bool = True) -> ImageFolder:
    """List and hash a data folder's files. Names that begin with a dot are ignored.

    Class numbers follow the natural order of the class names (n2 before n10). Whoever trains need
    not have the hidden part: without `validation/`, or with nothing in it, no test images are
    listed; nor are any looked at where they are not asked for.

    Raises:
        DataError: no such folder, no training part, fewer than two classes, a class empty or
            missing on one side, files that cannot be read; all problems at once.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; data is a folder with {TRAINING}/ and {TEST}/")
    there = [part for part in (TRAINING, TEST) if (root / part).is_dir()]
    if TRAINING not in there:
        problems = [f"no folder {part}/" for part in (TRAINING, TEST) if part not in there]
        raise DataError(f"{root} cannot be used as data", problems)

    problems = []
    # An empty folder may be where another machine has the hidden part mounted.
    hidden = with_test and TEST in there and bool(_visible(root / TEST))
    parts = [root / TRAINING, *([root / TEST] if hidden else [])]
    names = {entry.name for part in parts for entry in _visible(part) if entry.is_dir()}
    classes = tuple(sorted(names, key=_natural_key))
    if len(classes) < 2:
        problems.append(f"classes found: {', '.join(classes) or 'none'}; at least 2 are needed")
    training = _scan_part(root / TRAINING, classes, problems)
    test = _scan_part(root / TEST, classes, problems) if root / TEST in parts else ()
    if problems:
        raise DataError(f"{root} cannot be used as data", problems)
    return ImageFolder(root, classes, training, test)


def decode(
    root: Path,
    sizes_px: Sequence[int],
    cache: Path,
    skip_broken: bool = False,
    progress: Callable[[int, int], None] | None = None,
    with_test: bool = True,
) -> DecodedFolder:
    """Scan a folder and make sure that the cache holds its images at every size.

    Only what the cache lacks is decoded. Broken files are remembered beside the arrays, so that a
    second call decodes nothing.

    Args:
        root: the data folder.
        sizes_px: sides of the square images.
        cache: folder of the arrays; made if it does not exist.
        skip_broken: leave broken images out of folder, fingerprint and arrays.
        progress: called with (files done, files to do) while decoding.
        with_test: read the hidden part as well, where it is there.

    Raises:
        DataError: as `scan`; broken images without `skip_broken`; a class without any image left.
    """
    scanned = scan(root, with_test)
    arrays = ArrayCache(cache)
    scanned_fingerprint = _digest([scanned.fingerprint, scanned.test_fingerprint])
    reasons = arrays.read_broken(scanned_fingerprint)  # SHA-256 -> why the file is broken
    folder = _without(scanned, reasons)
    newly_broken = _fill_cache(folder, sizes_px, arrays, progress)
    if newly_broken:
        reasons |= newly_broken
        arrays.write_broken(scanned_fingerprint, reasons)
        folder = _without(scanned, reasons)

    broken = tuple(
        BrokenImage(file.path, reasons[file.sha256])
        for file in sorted(scanned.training + scanned.test, key=lambda file: str(file.path))
        if file.sha256 in reasons
    )
    if broken and not skip_broken:
        raise DataError(
            f"{root} holds images that cannot be decoded; repair or remove them, "
            "or leave them out with `skipBrokenImages: true` in the cohort's data section",
            [f"{image.path}: {image.reason}" for image in broken],
        )
    problems = [
        f"class {name} has no readable image in {part}/"
        for part, files in ((TRAINING, folder.training), (TEST, folder.test))
        if part == TRAINING or scanned.test
        for label, name in enumerate(folder.classes)
        if all(file.label != label for file in files)
    ]
    if problems:
        raise DataError(f"{root} cannot be used as data", problems)
    return DecodedFolder(folder, broken, cache)


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key in which runs of digits compare as numbers; the name itself settles n1 and n01."""
    pieces = re.split(r"(\d+)", name.casefold())  # text and digits alternate
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


def _scan_part(part: Path, classes: tuple[str, ...], problems: list[str]) -> tuple[ImageFile, ...]:
    """Hash the files of training/ or validation/; what is wrong is added to `problems`."""
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        folder = part / name
        if not folder.is_dir():
            problems.append(f"class {name} is missing in {part.name}/")
            continue
        paths = [path for path in _visible(folder) if not path.is_dir()]
        if not paths:
            problems.append(f"class {name} is empty in {part.name}/")
        found.extend((path, label) for path in paths)

    # Some at a time: handing a small file to a thread takes longer than hashing it.
    some = [found[start : start + FILES_A_TASK] for start in range(0, len(found), FILES_A_TASK)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        hashed = [each for of_some in pool.map(_hashed, some) for each in of_some]
    problems.extend(each for each in hashed if isinstance(each, str))
    files = [each for each in hashed if isinstance(each, ImageFile)]
    return tuple(sorted(files, key=lambda file: (file.label, file.sha256, str(file.path))))


def _hashed(files: Sequence[tuple[Path, int]]) -> list[ImageFile | str]:
    """What is known of each file, or why it cannot be read."""
    hashed: list[ImageFile | str] = []
    for path, label in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            hashed.append(f"{path}: {error.strerror}")
        else:
            hashed.append(ImageFile(path, label, hashlib.sha256(content).hexdigest()))
    return hashed


def _fingerprint(classes: tuple[str, ...], files: tuple[ImageFile, ...]) -> str:
    return _digest([classes, [(file.label, file.sha256) for file in files]])


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _without(folder: ImageFolder, reasons: dict[str, str]) -> ImageFolder:
    """Return the folder without the files whose SHA-256 is in `reasons`."""
    return replace(
        folder,
        training=tuple(file for file in folder.training if file.sha256 not in reasons),
        test=tuple(file for file in folder.test if file.sha256 not in reasons),
    )


def _fill_cache(
    folder: ImageFolder,
    sizes_px: Sequence[int],
    arrays: ArrayCache,
    progress: Callable[[int, int], None] | None,
) -> dict[str, str]:
    """Decode what the cache lacks; return SHA-256 -> reason of files found broken."""
    todo = [
        (files, missing)
        for files, fingerprint in (
            (folder.training, folder.fingerprint),
            (folder.test, folder.test_fingerprint),
        )
        if files
        and (
            missing := [
                size
                for size in sorted(set(sizes_px))
                if arrays.read_images(fingerprint, len(files), size) is None
            ]
        )
    ]
    num_files = sum(len(files) for files, _ in todo)
    num_done = 0
    reasons: dict[str, str] = {}
    for files, missing in todo:

        def on_file(num_in_part: int, num_before: int = num_done) -> None:
            if progress is not None:
                progress(num_before + num_in_part, num_files)

        images, broken = decode_files([file.path for file in files], missing, on_file)
        good = [index for index in range(len(files)) if index not in broken]
        fingerprint = _fingerprint(folder.classes, tuple(files[index] for index in good))
        for array in images.values():
            arrays.write_images(fingerprint, array[good] if broken else array)
        reasons |= {files[index].sha256: reason for index, reason in broken.items()}
        num_done += len(files)
    return reasons
