"""Which images of a data folder are the same picture, and which test images leak into training.

In: an `ImageFolder`. Out: pairs of files with equal bytes (`exact`) or showing the same photo
(`near`: saved again, resized, watermarked, recoloured, cropped or mirrored), and the files that
cannot be decoded. Used by `jobs.data_check`, and by `orchestrator.results.scoring` to leave leaked
test images out.

Near pairs are found in two steps. A perceptual hash of the grey thumbnail (Zauner 2010,
"Implementation and Benchmarking of Perceptual Image Hash Functions"; 64 bits of its lowest cosine
frequencies) names candidates, with a generous distance. Each candidate is then laid over the other
image by a search for the crop that fits best; only what correlates almost perfectly there is the
same photo, so that two photos of one scene, a moment apart, are not.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imagehash
import numpy as np
from PIL import Image, ImageOps

from jobs.atomic import atomic_file
from jobs.decoding import DECODE_VERSION, decode_files
from jobs.image_folder import ImageFile, ImageFolder
from jobs.images import BrokenImage

# Raise the number when the code below finds other pairs.
DUPLICATES_VERSION = f"v1-imagehash{imagehash.__version__}-{DECODE_VERSION}"

# Measured on the 1,370 photos of the 10 Monkey Species set, every pair above 0.9 looked at: the
# same photo correlates with 0.979 or more, another one of the same scene with 0.965 or less.
SAME_PHOTO = 0.975
MAX_DISTANCE_BITS = 20
"""Of 64. Unrelated photos differ in 32 on average; crops of one photo in up to 20."""
WORTH_ALIGNING, WORTH_REFINING = 0.5, 0.8
"""Correlation before the search and after its first, coarse round; below it the search ends."""

THUMB_PX, LAID_OVER_PX = 64, 32
STEPS = (0.06, 0.03, 0.015)
"""Shares of a side by which the search moves an edge of the crop."""
MAX_CROP = 0.25
"""The most that is cut off at one edge, as a share of the side."""
MIN_CONTRAST = 4.0
"""Standard deviation of the grey levels; a flatter image is equal to too many to be compared."""


@dataclass(frozen=True)
class DuplicatePair:
    """Two files with the same picture. `a` comes before `b`: training first, then by path."""

    a: ImageFile
    b: ImageFile
    kind: Literal["exact", "near"]
    across_splits: bool
    """One is a training image and the other a test image."""
    mirrored: bool = False
    similarity: float = 1.0
    """Correlation of the thumbnails where they fit best."""

    @property
    def same_class(self) -> bool:
        """Whether both have the same label; if not, one of them is labelled wrongly."""
        return self.a.label == self.b.label


@dataclass(frozen=True)
class Duplicates:
    """What was found: pairs in the order of their files, and files that cannot be decoded."""

    pairs: tuple[DuplicatePair, ...]
    broken: tuple[BrokenImage, ...]

    @property
    def leaked(self) -> frozenset[str]:
        """SHA-256 of every test image that is also, or nearly, among the training images."""
        return frozenset(pair.b.sha256 for pair in self.pairs if pair.across_splits)


def find_duplicates(
    folder: ImageFolder, progress: Callable[[int, int], None] | None = None
) -> Duplicates:
    """Compare every image with every other one. Files of equal bytes are looked at once.

    Every pair of files is listed: three copies of a photo make three pairs.

    Args:
        folder: what `jobs.image_folder.scan` found; broken files are reported, not refused.
        progress: called with (images done, images to do).

    Raises:
        DataError: a file has changed since it was scanned.
        OSError: a file cannot be read any more.
    """
    in_training = len(folder.training)
    by_place = sorted(folder.training, key=_place) + sorted(folder.test, key=_place)
    copies: dict[str, list[int]] = {}  # SHA-256 -> places in by_place
    for place, file in enumerate(by_place):
        copies.setdefault(file.sha256, []).append(place)
    contents = list(copies.values())

    def step(done: int) -> None:  # decoding an image is one half of the work, comparing the other
        if progress is not None and done % 2 == 0:
            progress(done // 2, len(contents))

    first = [by_place[places[0]] for places in contents]
    thumbs, reasons = decode_files(
        [file.path for file in first], [THUMB_PX], step, [file.sha256 for file in first]
    )
    readable = [index for index in range(len(contents)) if index not in reasons]
    found: list[tuple[int, int, bool, float]] = [
        (a, b, False, 1.0) for places in contents for a, b in itertools.combinations(places, 2)
    ]
    for i, j, mirrored, similarity in _near(
        thumbs[THUMB_PX][readable], lambda done: step(len(contents) + len(reasons) + done)
    ):
        for a, b in itertools.product(contents[readable[i]], contents[readable[j]]):
            found.append((min(a, b), max(a, b), mirrored, similarity))

    pairs = tuple(
        DuplicatePair(
            by_place[a],
            by_place[b],
            "exact" if by_place[a].sha256 == by_place[b].sha256 else "near",
            a < in_training <= b,
            mirrored,
            similarity,
        )
        for a, b, mirrored, similarity in sorted(found)
    )
    broken = tuple(
        BrokenImage(by_place[place].path, reasons[index])
        for index, places in enumerate(contents)
        if index in reasons
        for place in places
    )
    return Duplicates(pairs, tuple(sorted(broken, key=lambda image: str(image.path))))


def leaked_test_images(
    folder: ImageFolder, cache: Path, progress: Callable[[int, int], None] | None = None
) -> frozenset[str]:
    """SHA-256 of the test images that leak, from the cache where they were found before.

    Args:
        folder: as for `find_duplicates`.
        cache: folder of the cached answers; made if it does not exist.
        progress: called while comparing, not for a cached answer.
    """
    key = hashlib.sha256(f"{folder.fingerprint} {folder.test_fingerprint}".encode()).hexdigest()
    path = cache / f"{key}-leaked-{DUPLICATES_VERSION}.json"
    try:
        known = json.loads(path.read_bytes())["leaked"]
        leaked = frozenset(known)
        if leaked <= {file.sha256 for file in folder.test}:
            return leaked
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or damaged: the images are compared again
    leaked = find_duplicates(folder, progress).leaked
    with atomic_file(path) as file:
        file.write(json.dumps({"leaked": sorted(leaked)}, indent=1).encode())
    return leaked


def _place(file: ImageFile) -> str:
    return str(file.path)


def _near(
    thumbs: np.ndarray,  # (N, 3, THUMB_PX, THUMB_PX) uint8
    progress: Callable[[int], None],
) -> Iterator[tuple[int, int, bool, float]]:
    """Yield (i, j, mirrored, similarity) of images that show the same photo, i < j."""
    greys = [Image.fromarray(thumb.transpose(1, 2, 0)).convert("L") for thumb in thumbs]
    mirrored_greys = [ImageOps.mirror(grey) for grey in greys]
    hashes = [_hashes(greys), _hashes(mirrored_greys)]
    # Equal distributions of grey levels: a lighter or recoloured copy correlates as well.
    equal = [[ImageOps.equalize(grey) for grey in side] for side in (greys, mirrored_greys)]
    whole = [
        np.array([_crop(grey) for grey in side]).reshape(-1, LAID_OVER_PX**2) for side in equal
    ]
    flat = np.array([np.asarray(grey).std() < MIN_CONTRAST for grey in greys], dtype=bool)

    for i in range(len(greys)):
        best: dict[int, tuple[float, bool]] = {}
        for mirrored in (False, True):
            others = hashes[mirrored][i + 1 :]
            near = np.bitwise_count(hashes[0][i] ^ others) <= MAX_DISTANCE_BITS
            candidates = i + 1 + np.flatnonzero(near & ~flat[i + 1 :] & ~flat[i])
            correlations = whole[mirrored][candidates] @ whole[0][i]
            for j in candidates[correlations >= WORTH_ALIGNING].tolist():
                similarity = _similarity(equal[0][i], equal[mirrored][j])
                if similarity >= SAME_PHOTO and similarity > best.get(j, (0.0,))[0]:
                    best[j] = (similarity, mirrored)
        for j, (similarity, mirrored) in best.items():
            yield i, j, mirrored, similarity
        progress(i + 1)


def _hashes(images: Sequence[Image.Image]) -> np.ndarray:
    """(N,) uint64."""
    bits = [np.packbits(imagehash.phash(image).hash.ravel()) for image in images]
    return np.array(bits, dtype=np.uint8).reshape(-1, 8).view(np.uint64).ravel()


def _crop(image: Image.Image, box: Sequence[float] = (0.0, 0.0, 1.0, 1.0)) -> np.ndarray:
    """Cut out a box (shares of the sides), resize it, and bring it to mean 0 and length 1.

    The product of two results is their correlation.
    """
    left, top, right, bottom = (edge * THUMB_PX for edge in box)
    cut = image.resize(
        (LAID_OVER_PX, LAID_OVER_PX), Image.Resampling.BILINEAR, (left, top, right, bottom)
    )
    values: np.ndarray = np.asarray(cut, dtype=np.float32).ravel()
    values = values - values.mean()
    length = max(float(np.linalg.norm(values)), 1e-6)
    return values / np.float32(length)


def _similarity(x: Image.Image, y: Image.Image) -> float:
    """Correlation of two images where they fit best: edges of both are moved as long as it helps.

    A crop of one photo matches another crop of it only where both are cut to what they share.
    """
    images = (x, y)
    boxes = [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    cuts = [_crop(x), _crop(y)]
    best = float(cuts[0] @ cuts[1])
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for side, edge, move in itertools.product((0, 1), range(4), (step, -step)):
                box = list(boxes[side])
                box[edge] += move
                cut_off = box[edge] if edge < 2 else 1 - box[edge]
                if not -1e-9 <= cut_off <= MAX_CROP:
                    continue
                cut = _crop(images[side], box)
                correlation = float(cut @ cuts[1 - side])
                if correlation > best + 1e-3:
                    best, boxes[side], cuts[side], improved = correlation, box, cut, True
        if best < WORTH_REFINING:
            break
    return min(best, 1.0)
