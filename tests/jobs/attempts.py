"""A member trained in several attempts, and what makes two of them the same."""

import hashlib
from pathlib import Path

from jobs.errors import Stopped
from jobs.images import LabelledImages
from jobs.plan import EpochReport, MemberPlan
from jobs.split import split_images
from jobs.teacher import Teaching
from jobs.train import MemberResult, train_member


def digest(result: MemberResult) -> str:
    return hashlib.sha256(result.weights + result.val_probs.tobytes()).hexdigest()


def history(reports: list[EpochReport]) -> list[dict[str, float]]:
    """What was reported, without the times it took."""
    return [report.model_dump(exclude={"images_per_second", "seconds"}) for report in reports]


class Attempts:
    """Trains one member in several attempts, each stopped after so many batches."""

    def __init__(
        self, plan: MemberPlan, data: LabelledImages, path: Path | None, teaching: Teaching | None
    ) -> None:
        self.plan, self.data, self.path, self.teaching = plan, data, path, teaching
        self.reports: list[EpochReport] = []  # of the last attempt
        self.lines: list[str] = []  # of the last attempt

    def run(self, num_batches: int | None = None) -> MemberResult | None:
        """The result, or None where the attempt was stopped before its next batch."""
        self.reports, self.lines = [], []
        left = iter(range(10**9 if num_batches is None else num_batches))
        try:
            return train_member(
                self.plan,
                self.data,
                self.reports.append,
                should_stop=lambda: next(left, None) is None,
                teaching=self.teaching,
                checkpoint=self.path,
                say=self.lines.append,
            )
        except Stopped:
            return None

    @property
    def batches_per_epoch(self) -> int:
        split = split_images(self.data.labels, self.data.groups, self.plan.data)
        return -(-len(split.train) // self.plan.batch_size)
