"""What a folder of photos holds, told by content.

In: a folder with `training/<class>/*` and `validation/<class>/*` (the latter is the hidden test
set, which may be kept elsewhere). Out: an `ImageFolder`: classes, files and their SHA-256. Next on
the path: `jobs.images`, which decodes them.

Images are ordered by label and SHA-256, never by name, so that neither a renamed file nor another
file system changes a result.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jobs.decoding import NUM_THREADS
from jobs.errors import DataError

TRAINING, TEST = "training", "validation"
MADE_BY_EXT4 = "lost+found"
"""Lies at the root of such a volume, which may be mounted as a part of the data."""
FILES_A_TASK = 32


@dataclass(frozen=True)
class ImageFile:
    """One photo: where it is, its class's number, and the SHA-256 of its bytes."""

    path: Path
    label: int
    sha256: str


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
        return fingerprint_of(self.classes, self.training)

    @cached_property
    def test_fingerprint(self) -> str:
        """SHA-256 over the class names and the test images, in their order; empty without any."""
        return fingerprint_of(self.classes, self.test) if self.test else ""


def scan(root: Path, with_test: bool = True) -> ImageFolder:
    """List and hash a data folder's files. Names that begin with a dot are ignored, and lost+found.

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
    problems += [
        f"class {name!r} has a name that is not UTF-8: rename its folder"
        for name in classes
        if not _is_text(name)
    ]
    if len(classes) < 2:
        problems.append(f"classes found: {', '.join(classes) or 'none'}; at least 2 are needed")
    training = _scan_part(root / TRAINING, classes, problems)
    test = _scan_part(root / TEST, classes, problems) if root / TEST in parts else ()
    if problems:
        raise DataError(f"{root} cannot be used as data", problems)
    return ImageFolder(root, classes, training, test)


def _visible(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if not entry.name.startswith(".") and entry.name != MADE_BY_EXT4
    )


def _is_text(name: str) -> bool:
    """Whether a name can be written down; a system may give any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


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
        if path.exists() and not path.is_file():  # a pipe would be waited for
            hashed.append(f"{path}: not a file")
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            hashed.append(f"{path}: {error.strerror}")
        else:
            hashed.append(ImageFile(path, label, hashlib.sha256(content).hexdigest()))
    return hashed


def fingerprint_of(classes: tuple[str, ...], files: tuple[ImageFile, ...]) -> str:
    """Return the SHA-256 over class names and images, in their order."""
    return digest([classes, [(file.label, file.sha256) for file in files]])


def digest(content: object) -> str:
    """Return the SHA-256 of plain values as JSON."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
