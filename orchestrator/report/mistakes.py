"""Which images one team's networks called something else: test images, or validation images.

In: the score book, or members' probabilities on the validation images, which lie among the
artifacts. Out: `Answers`, what each image is and what it was called. Used by `gamectl results`;
next on the path: `pictures`.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.report.page import Confusion, Mistake
from orchestrator.results.scorebook import ScoreBook, TeamScore

if TYPE_CHECKING:  # torch comes with it
    from jobs.images import DecodedFolder
    from orchestrator.artifacts import Artifacts
    from orchestrator.state import Job
    from orchestrator.store import Store


@dataclass(frozen=True)
class Answers:
    """What a team's job says of some images."""

    images: tuple[Mistake, ...]
    """All of them, those that it got right included."""
    num_classes: int

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """Those that it got wrong: one of each class, then another of each, and so on."""
        seen: Counter[int] = Counter()
        turns = []
        for image in self.images:
            if image.label != image.called:
                turns.append((seen[image.label], image.label, image))
                seen[image.label] += 1
        return tuple(image for _, _, image in sorted(turns, key=lambda turn: turn[:2]))

    @property
    def confusion(self) -> Confusion:
        """What images of each class were called."""
        counts = [[0] * self.num_classes for _ in range(self.num_classes)]
        for image in self.images:
            counts[image.label][image.called] += 1
        return Confusion(tuple(map(tuple, counts)))


def hidden_answers(book: ScoreBook, score: TeamScore) -> Answers:
    """What the job said of the test images; empty where the book does not tell."""
    answers = zip(book.images, score.predicted, strict=True) if book.tells_images else ()
    return Answers(
        tuple(Mistake(image.sha256, image.label, called) for image, called in answers),
        len(book.classes),
    )


def validation_answers(
    job: "Job", store: "Store", artifacts: "Artifacts", decoded: "DecodedFolder"
) -> Answers:
    """What a succeeded job said of the validation images, which are among `decoded`.

    Of stacked members out of fold, as its validation accuracy. Raises `Damaged` where what the
    members left is gone.
    """
    from orchestrator.results.finish import validation_probs
    from orchestrator.results.truth import validation_truth

    data = store.plans(job.id)[0].data
    truth = validation_truth(lambda plan: decoded.training(plan.image_size_px))(data)
    kept = store.weights(job.id)
    val_probs = [artifacts.val_probs(kept[index]) for index in sorted(kept)]
    called = validation_probs(job.combine, val_probs, truth).argmax(axis=1)
    files = [decoded.folder.training[row] for row in truth.rows]
    return Answers(
        tuple(
            Mistake(file.sha256, file.label, int(label))
            for file, label in zip(files, called, strict=True)
        ),
        len(data.classes),
    )
