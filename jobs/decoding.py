"""Image files -> square uint8 arrays, and the folder on disk that keeps them.

In: paths, in an order that `jobs.images` fixes, and sizes. Out: one array per size, plus the files
that could not be decoded and why. `ArrayCache` stores arrays under a fingerprint of their content
and gives them back memory-mapped. The next module on the path is `jobs.images`, which calls both.

An image's pixels depend on its bytes, the size and `DECODE_VERSION` alone: never on which other
sizes were asked for, so that a cached array is the same whoever made it.
"""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from PIL import ExifTags, Image, UnidentifiedImageError

from jobs.atomic import atomic_file
from jobs.errors import DataError

# Raise the number when the code below gives other pixels. Pillow's decoders decide pixels, too.
DECODE_VERSION = f"v3-pillow{PIL.__version__}"
MAX_MEGAPIXELS = 80  # below Pillow's own limit: a small file can claim to be a huge image
# How the orientations that a camera may note are undone.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
NUM_THREADS = min(8, os.cpu_count() or 1)


def decode_square(data: bytes, size_px: int) -> np.ndarray:
    """Decode one image file and resize it to a square, without keeping its aspect ratio.

    Animations give their first frame, transparency is dropped, 16 bits become 8, and the
    orientation that a camera noted is applied.

    Returns:
        (3, S, S) uint8, RGB.

    Raises:
        Exception: whatever Pillow raises for a file that it cannot decode.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_MEGAPIXELS * 1_000_000:
            raise ValueError(
                f"{image.width} x {image.height} px, more than {MAX_MEGAPIXELS} megapixels"
            )
        # A JPEG decodes straight to 1/2, 1/4 or 1/8; twice the final size keeps the quality.
        image.draft("RGB", (2 * size_px, 2 * size_px))
        image.load()  # what comes behind the pixels may tell the orientation
        turn = _TURNS.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        rgb = _to_eight_bits(upright).convert("RGB")
    square = rgb.resize((size_px, size_px), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(square).transpose(2, 0, 1)


def decode_files(
    paths: Sequence[Path],
    sizes_px: Sequence[int],
    progress: Callable[[int], None],
    sha256: Sequence[str] | None = None,
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Decode every file for every size, in a few threads (Pillow releases the interpreter lock).

    Args:
        paths: the files, N of them; each is read once.
        sizes_px: sides of the squares.
        progress: called with the number of files done, in order, from this thread.
        sha256: of each file, as it was when it was looked at.

    Returns:
        size -> (N, 3, S, S) uint8, in the order of `paths`; index -> reason for broken files,
        whose rows mean nothing.

    Raises:
        DataError: a file is not what it was.
        OSError: a file cannot be opened or read at all.
    """
    arrays = {size: np.zeros((len(paths), 3, size, size), np.uint8) for size in sizes_px}

    def decode_one(index: int) -> str | None:
        data = paths[index].read_bytes()
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256[index]:
            raise DataError(f"{paths[index]} changed while it was read; try again")
        try:
            for size, array in arrays.items():
                array[index] = decode_square(data, size)
        except UnidentifiedImageError:
            return "not an image in a format that Pillow reads"
        except MemoryError:
            raise
        except Exception as error:  # a damaged file can make a decoder raise anything
            return str(error) or type(error).__name__
        return None

    broken = {}
    # What Pillow warns of (odd metadata, unusual palettes) does not change pixels.
    with warnings.catch_warnings(), ThreadPoolExecutor(NUM_THREADS) as pool:
        warnings.simplefilter("ignore")
        for index, reason in enumerate(pool.map(decode_one, range(len(paths)))):
            if reason is not None:
                broken[index] = reason
            progress(index + 1)
    return arrays, broken


class ArrayCache:
    """Arrays of decoded images and lists of broken files, in one folder, named by content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_images(self, fingerprint: str, count: int, size_px: int) -> np.ndarray | None:
        """Return (count, 3, S, S) uint8, memory-mapped and read-only; None if absent or damaged."""
        try:
            images: np.ndarray = np.load(self._images_path(fingerprint, size_px), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return None
        if images.shape != (count, 3, size_px, size_px) or images.dtype != np.uint8:
            return None
        return images

    def write_images(self, fingerprint: str, images: np.ndarray) -> None:
        """Store (N, 3, S, S) uint8."""
        with atomic_file(self._images_path(fingerprint, images.shape[-1])) as file:
            np.save(file, images)

    def read_broken(self, fingerprint: str) -> dict[str, str]:
        """Return SHA-256 -> reason of the broken files among those of this fingerprint."""
        try:
            broken = json.loads(self._broken_path(fingerprint).read_bytes())["broken"]
            return {str(sha256): str(reason) for sha256, reason in broken.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # absent or damaged: the files are looked at again

    def write_broken(self, fingerprint: str, broken: dict[str, str]) -> None:
        """Remember SHA-256 -> reason."""
        with atomic_file(self._broken_path(fingerprint)) as file:
            file.write(json.dumps({"broken": broken}, indent=1).encode())

    def _images_path(self, fingerprint: str, size_px: int) -> Path:
        return self.folder / f"{fingerprint}-{size_px}px-{DECODE_VERSION}.npy"

    def _broken_path(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}-broken-{DECODE_VERSION}.json"


def _orientation(image: Image.Image) -> int:
    """What the camera noted. Only this of all EXIF is read: odd entries make no picture broken."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as Pillow's parsers raise anything
        return 1


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion would clip it to white instead."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        raw = np.asarray(image)
        if image.mode == "I" and (raw.max() >= 2**16 or raw.min() < -(2**15)):
            raise ValueError("its pixels have more than 16 bits; save it with 8 or 16")
        grey = raw.clip(0, 2**16 - 1)
        if image.mode != "I" or grey.max() > 2**8 - 1:  # 32 bits may hold no more than 8
            grey = grey >> 8
        return Image.fromarray(grey.astype(np.uint8))
    return image
