"""The training loop as `train_member` runs it, for techniques and networks of another's making."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from jobs.images import LabelledImages
from jobs.plan import EpochReport, MemberPlan
from jobs.split import split_images
from jobs.train import MemberResult, train_on
from jobs.training_io import MemberRecorder, Techniques, TrainingData
from jobs.training_state import TrainingState


class Odd(nn.Module):
    """What a team may build: a weight used twice, frozen and unused ones, buffers, any layout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4, 3)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.stem(images)))
        features = features + self.second(torch.relu(self.first(features)))
        features = nn.functional.dropout(features.mean(dim=(2, 3)), 0.1, self.training)
        logits: Tensor = self.head(self.frozen(features))
        return logits


class Training:
    """`train_on` as `train_member` calls it, with techniques."""

    def __init__(
        self,
        plan: MemberPlan,
        data: LabelledImages,
        techniques: Techniques,
        path: Path | None = None,
    ) -> None:
        self.plan, self.techniques, self.path = plan, techniques, path
        split = split_images(data.labels, data.groups, plan.data)
        self.training_data = TrainingData(
            data.images, data.labels, split.train, data.images[split.validation]
        )
        self.val_labels = torch.from_numpy(data.labels[split.validation])
        self.reports: list[EpochReport] = []
        self.lines: list[str] = []

    def run(self, should_stop: Callable[[], bool] | None = None) -> MemberResult:
        self.reports, self.lines = [], []
        recorder = MemberRecorder(
            self.plan, self.val_labels, self.reports.append, self.path, self.lines.append
        )
        return train_on(self.plan, self.training_data, self.techniques, recorder, should_stop)


def started(plan: MemberPlan, network: nn.Module | None = None) -> TrainingState:
    return TrainingState.start(plan, 1, 2, 3, network)
