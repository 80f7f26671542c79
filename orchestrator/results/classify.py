"""Pictures shown to a trained network: what it takes each of them for.

In: files and folders, and a network to ask. Out: an answer or a problem for each file. Pictures are
decoded as training images are (`jobs.decoding`: same resize, orientation, colours), here, and leave
the machine no more than those do. Used by `gamectl classify`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from jobs.decoding import decode_files
from orchestrator.errors import NotFound

Ask = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From images (N, 3, S, S) to probabilities (N, C)."""

A_TIME = 500
"""Pictures in memory at once: 75 MB of 224 px."""
LARGEST_FILE_MB = 500


@dataclass(frozen=True)
class Guess:
    """A class, and how sure the network is of it."""

    name: str
    species: str
    probability: float

    def to_dict(self) -> dict[str, Any]:
        """The form of `-o json`."""
        return {"class": self.name, "species": self.species, "probability": self.probability}


@dataclass(frozen=True)
class Answer:
    """What is said of one file: all classes, the likeliest first, or why it cannot be asked."""

    file: Path
    guesses: tuple[Guess, ...]
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The form of `-o json`."""
        if self.problem:
            return {"file": str(self.file), "error": self.problem}
        best, second = self.guesses[:2]
        return {
            "file": str(self.file),
            **best.to_dict(),
            "runner_up": second.to_dict(),
            "probabilities": {guess.name: guess.probability for guess in self.guesses},
        }


def pictures_in(places: Sequence[Path]) -> tuple[list[Path], int]:
    """The files that are named, and those below named folders that are pictures by their names.

    Also says how many files of folders were left out as they are not. Raises `NotFound` where
    folders hold no picture and no file is named.
    """
    endings = Image.registered_extensions()
    found: list[Path] = []
    num_left_out = 0
    for place in places:
        if not _is_folder(place):
            found.append(place)
            continue
        files = [file for file in sorted(place.rglob("*")) if _is_visible_file(file, place)]
        pictures = [file for file in files if file.suffix.lower() in endings]
        num_left_out += len(files) - len(pictures)
        found += pictures
    if not found:
        raise NotFound(f"no pictures in {', '.join(map(str, places))}")
    return found, num_left_out


def classify(
    files: Sequence[Path],
    size_px: int,
    names: dict[str, str],
    ask: Ask,
    progress: Callable[[int, int], None],
) -> Iterator[Answer]:
    """Asks about every file, in order; `names` has the classes in the network's order, and species.

    What is wrong with a file is said in its answer.
    """
    for start in range(0, len(files), A_TIME):
        some = files[start : start + A_TIME]
        problems = {file: problem for file in some if (problem := _unreadable(file))}
        readable = [file for file in some if file not in problems]

        def on_picture(num_done: int, num_before: int = start) -> None:
            progress(num_before + num_done, len(files))

        decoded, broken = decode_files(readable, [size_px], on_picture)
        problems |= {readable[index]: reason for index, reason in broken.items()}
        good = [index for index in range(len(readable)) if index not in broken]
        probs = ask(decoded[size_px][good]) if good else np.empty((0, len(names)), np.float32)
        said = {readable[index]: row for index, row in zip(good, probs, strict=True)}
        progress(start + len(some), len(files))
        for file in some:
            guesses = _guesses(said[file], names) if file in said else ()
            yield Answer(file, guesses, problems.get(file, ""))


def _guesses(probs: NDArray[np.float32], names: dict[str, str]) -> tuple[Guess, ...]:
    guesses = [
        Guess(name, species, float(share))
        for (name, species), share in zip(names.items(), probs, strict=True)
    ]
    return tuple(sorted(guesses, key=lambda guess: -guess.probability))


def _is_folder(place: Path) -> bool:
    try:
        return place.is_dir()
    except OSError:  # a name that is too long, say: its own line tells
        return False


def _unreadable(file: Path) -> str:
    """Why a file is not even opened; nothing where it can be."""
    try:
        if not file.exists():
            return "no such file"
        if not file.is_file():
            return "not a file"  # a pipe or a device, which may never end
        if file.stat().st_size > LARGEST_FILE_MB * 1_000_000:
            return f"larger than {LARGEST_FILE_MB} MB"
        with file.open("rb"):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _is_visible_file(file: Path, folder: Path) -> bool:
    below = file.relative_to(folder).parts
    return not any(part.startswith(".") for part in below) and file.is_file()
