"""The organizer's scores: one JSON file a cohort, in the home folder, readable by its owner only.

In: what `scoring` measured. Out: a `ScoreBook`, for `leaderboard` and, once it is published, for
`tracking.publish`. Kept apart from scoring so that reading a score needs no torch.

What was published is kept beside it: teams go on seeing that when a later job is scored, or other
test images are tried, until the organizer publishes again.
"""

import fcntl
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from jobs.atomic import atomic_file
from orchestrator.errors import Damaged
from orchestrator.state import Job

PUBLISHED = "published"
"""The folder, beside the newest scores, of what was published."""


class TeamScore(BaseModel):
    """One job on the test set. The interval is Wilson's, at 95 %."""

    model_config = ConfigDict(frozen=True)

    job: str
    """The job's uid."""
    team: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_recall: float
    recall_per_class: tuple[float, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Rows are true classes, columns predicted ones; counts."""
    predicted: tuple[int, ...] = ()
    """The class named for each of the book's images; empty in books of earlier releases."""


class ScoredImage(BaseModel):
    """An image that the scores are measured on."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    label: int


class ScoreBook(BaseModel):
    """All scores of a cohort."""

    model_config = ConfigDict(frozen=True)

    cohort: str
    test_fingerprint: str
    """Of all test images, those that were left out included."""
    test_images: int
    """How many the scores are measured on."""
    test_images_left_out: int = 0
    left_out: tuple[str, ...] = ()
    """SHA-256 of the leaked images among them, in order."""
    classes: tuple[str, ...]
    images: tuple[ScoredImage, ...] = ()
    """Those that the scores are measured on, in order; empty in books of earlier releases."""
    published: bool = False
    """Whether it is what was published last."""
    scores: tuple[TeamScore, ...] = ()

    def measured_on(self, test_fingerprint: str, left_out: Collection[str]) -> bool:
        """Whether these are scores on just these test images."""
        return self.test_fingerprint == test_fingerprint and set(self.left_out) == set(left_out)

    @property
    def tells_images(self) -> bool:
        """Whether it says what each team called each image."""
        num_images = len(self.images)
        return num_images > 0 and all(len(s.predicted) == num_images for s in self.scores)

    def find(self, job: Job) -> TeamScore | None:
        """The score of this very job, or None."""
        return next((score for score in self.scores if score.job == job.uid), None)


def read_scores(folder: Path, cohort: str) -> ScoreBook | None:
    """The cohort's scores, or None before the first scoring.

    Raises `Damaged` for a file that holds none, or may not be read.
    """
    return _read(_path(folder, cohort), cohort)


def read_published(folder: Path, cohort: str) -> ScoreBook | None:
    """The cohort's scores as everybody may see them, or None before they were ever published.

    Raises `Damaged` where the copy that is kept of what was published is no score file.
    """
    newest = None
    with suppress(Damaged):  # it is the organizer's
        newest = read_scores(folder, cohort)
    if newest is not None and newest.published:
        return newest
    return _read(_path(folder / PUBLISHED, cohort), cohort)


@contextmanager
def scoring_alone(folder: Path, cohort: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Keeps others from scoring the cohort in this home meanwhile: the last one would win.

    `on_wait` is called where another one is at work; a process that is killed keeps nobody waiting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{cohort}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_scores(folder: Path, book: ScoreBook) -> Path:
    """Keeps the scores, readable by their owner only; returns the file."""
    shown: ScoreBook | None = book
    if not book.published:
        with suppress(Damaged):  # of a release that kept what was published in the one file only
            shown = read_scores(folder, book.cohort)
    # First what everybody may go on seeing: a kill between the two loses nothing of it.
    if shown is not None and shown.published:
        _write(_path(folder / PUBLISHED, book.cohort), shown)
    return _write(_path(folder, book.cohort), book)


def _read(path: Path, cohort: str) -> ScoreBook | None:
    try:
        return ScoreBook.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not of this form
        raise Damaged(
            f"cannot read {path}: it is no score file; delete it and run "
            f"`gamectl score --cohort {cohort}` again"
        ) from error


def _write(path: Path, book: ScoreBook) -> Path:
    with atomic_file(path) as file:
        file.write(book.model_dump_json(indent=1).encode())
    return path


def _path(folder: Path, cohort: str) -> Path:
    return folder / f"{cohort}.json"
