"""A folder of photos becomes labelled uint8 arrays, decoded once per size and cached by content.

In: a data folder, in any format that Pillow reads. Out: its files (`jobs.image_folder`) and
memory-mapped images of each size, by way of `jobs.decoding`. `jobs.split` divides the training
part.

What a fingerprint names is exactly the rows of an array. Training and test images lie in separate
files; who trains opens only the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jobs.decoding import ArrayCache, decode_files
from jobs.errors import DataError
from jobs.image_folder import TEST, TRAINING, ImageFile, ImageFolder, digest, fingerprint_of, scan


@dataclass(frozen=True)
class BrokenImage:
    """A file that cannot be decoded, and why."""

    path: Path
    reason: str


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
    scanned_fingerprint = digest([scanned.fingerprint, scanned.test_fingerprint])
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


def readable(root: Path, cache: Path) -> ImageFolder:
    """Scan a folder; leave out the files that an earlier `decode` has found broken.

    Raises:
        DataError: as `scan`.
    """
    scanned, arrays = scan(root), ArrayCache(cache)
    reasons: dict[str, str] = {}
    for test_fingerprint in {scanned.test_fingerprint, ""}:  # with the hidden part, and without
        reasons |= arrays.read_broken(digest([scanned.fingerprint, test_fingerprint]))
    return _without(scanned, reasons)


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

        images, broken = decode_files(
            [file.path for file in files], missing, on_file, [file.sha256 for file in files]
        )
        good = [index for index in range(len(files)) if index not in broken]
        fingerprint = fingerprint_of(folder.classes, tuple(files[index] for index in good))
        for array in images.values():
            arrays.write_images(fingerprint, array[good] if broken else array)
        reasons |= {files[index].sha256: reason for index, reason in broken.items()}
        num_done += len(files)
    return reasons
