"""The notebook's way to train a member, as a good user of torch and torchvision writes it.

In: a member plan, and paths of photos with their labels. Out: the seconds of one epoch, validation
included, and scaled to a whole cohort, which would take hours. Used by `end_to_end`.

Every image is opened, decoded, resized and augmented anew in every epoch, by torchvision's v2
transforms in a `Dataset`; a `DataLoader` without workers makes batches of them; the network is a
module of plain layers, and torch has two threads. Nothing of `jobs` but the plan is used.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from jobs.plan import AugmentPlan, MemberPlan

NUM_THREADS = 2
EVAL_BATCH = 32
BLUR_KERNEL_PX = 5

Photo = tuple[Path, int]
"""A file and its label."""


class Photos(Dataset[tuple[Tensor, int]]):
    """Photos on disk, decoded whenever they are asked for: (3, S, S) float32 in [0, 1], a label."""

    def __init__(self, photos: list[Photo], transform: Callable[[Image.Image], Tensor]) -> None:
        self.photos = photos
        self.transform = transform

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.photos[index]
        image = Image.open(path).convert("RGB")
        return self.transform(image), label


class BaseNet(nn.Module):
    """MonkeyNET as it comes."""

    def __init__(self, num_classes: int, size_px: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, kernel_size=3, padding=2)
        self.pool = nn.MaxPool2d(8)
        self.drop_maps = nn.Dropout2d(dropout)
        self.drop = nn.Dropout(dropout)
        self.fc1 = nn.Linear(32 * ((size_px + 2) // 8) ** 2, 16)
        self.fc2 = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.drop_maps(functional.relu(self.conv(x))))
        x = torch.flatten(x, 1)
        x = self.drop(functional.relu(self.fc1(x)))
        logits: Tensor = self.fc2(x)
        return logits


class BoostedNet(nn.Module):
    """MonkeyNET with one turbo boost."""

    def __init__(self, num_classes: int, size_px: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=5, padding=2)
        self.pool = nn.MaxPool2d(2)
        self.drop_maps = nn.Dropout2d(dropout)
        self.drop = nn.Dropout(dropout)
        self.fc1 = nn.Linear(64 * (size_px // 4) ** 2, 16)
        self.fc2 = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.drop_maps(functional.relu(self.conv1(x))))
        x = self.pool(self.drop_maps(functional.relu(self.conv2(x))))
        x = torch.flatten(x, 1)
        x = self.drop(functional.relu(self.fc1(x)))
        logits: Tensor = self.fc2(x)
        return logits


def transforms(plan: AugmentPlan | None, size_px: int) -> v2.Compose:
    """Resize, to a tensor, and what was bought of changes to an image; None: nothing was."""
    steps: list[nn.Module] = [
        v2.Resize((size_px, size_px)),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
    ]
    if plan is None:
        return v2.Compose(steps)
    if plan.flip_horizontal_p > 0:
        steps.append(v2.RandomHorizontalFlip(plan.flip_horizontal_p))
    if plan.flip_vertical_p > 0:
        steps.append(v2.RandomVerticalFlip(plan.flip_vertical_p))
    if plan.rotate_degrees > 0 or plan.shift_fraction > 0:
        shift = (plan.shift_fraction, plan.shift_fraction)
        steps.append(v2.RandomAffine(plan.rotate_degrees, translate=shift))
    if plan.blur_strength > 0:
        largest = 5.0 * plan.blur_strength * size_px / 500
        steps.append(v2.GaussianBlur(BLUR_KERNEL_PX, sigma=(largest / 50, largest)))
    if plan.erase_p > 0:
        steps.append(v2.RandomErasing(plan.erase_p, scale=(0.02, plan.erase_max_area)))
    return v2.Compose(steps)


class Notebook:
    """One member's training, an epoch at a time."""

    def __init__(self, plan: MemberPlan, training: list[Photo], validation: list[Photo]) -> None:
        torch.set_num_threads(NUM_THREADS)
        torch.manual_seed(plan.seed)
        size_px, num_classes = plan.data.image_size_px, len(plan.data.classes)
        self.training = DataLoader(
            Photos(training, transforms(plan.augment, size_px)),
            batch_size=plan.batch_size,
            shuffle=True,
        )
        self.validation = DataLoader(
            Photos(validation, transforms(None, size_px)), batch_size=EVAL_BATCH
        )
        network = BoostedNet if plan.model.turbo_blocks else BaseNet
        self.model: nn.Module = network(num_classes, size_px, plan.model.dropout)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=plan.optimizer.learning_rate,
            momentum=plan.optimizer.momentum,
            weight_decay=plan.optimizer.weight_decay,
        )
        alpha = plan.augment.mixup_alpha
        self.mixup = v2.MixUp(alpha=alpha, num_classes=num_classes) if alpha > 0 else None

    def epoch(self) -> tuple[float, float]:
        """Trains on every training photo once; returns validation loss and accuracy."""
        self.model.train()
        for batch in self.training:
            images, labels = batch if self.mixup is None else self.mixup(*batch)
            loss = functional.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.model.eval()
        total_loss, correct, number = 0.0, 0, 0
        with torch.no_grad():
            for images, labels in self.validation:
                logits = self.model(images)
                total_loss += functional.cross_entropy(logits, labels, reduction="sum").item()
                correct += int((logits.argmax(dim=1) == labels).sum())
                number += len(labels)
        return total_loss / number, correct / number


def epoch_s(plan: MemberPlan, training: list[Photo], validation: list[Photo]) -> float:
    """Seconds of one epoch over these photos, without what happens once a training."""
    notebook = Notebook(plan, training, validation)
    started_s = time.perf_counter()
    notebook.epoch()
    return time.perf_counter() - started_s


@dataclass
class NotebookRates:
    """The notebook's way, sampled: seconds of an epoch per training photo, by source and plan."""

    sources: dict[str, list[Photo]]
    validation_share: float
    _sampled: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def warm_up(self, plan: MemberPlan) -> None:
        """Has photos in the page cache, and torch's kernels made."""
        for photos in self.sources.values():
            for path, _ in photos:
                path.read_bytes()
            epoch_s(plan, photos[:8], photos[:8])

    def sample(self, plans: Sequence[MemberPlan]) -> None:
        """Measures one epoch of every kind of plan from every source."""
        for plan in {_kind(plan): plan for plan in plans}.values():
            for source, photos in self.sources.items():
                num_validation = round(len(photos) * self.validation_share)
                training, validation = photos[num_validation:], photos[:num_validation]
                taken_s = epoch_s(plan, training, validation)
                self._sampled[source, _kind(plan)].append(taken_s / len(training))

    def seconds(self, source: str, plans: Sequence[MemberPlan], num_training: int) -> float:
        """What training all of them one after another would take."""
        return sum(
            plan.epochs * num_training * statistics.median(self._sampled[source, _kind(plan)])
            for plan in plans
        )


def _kind(plan: MemberPlan) -> str:
    """Plans of a kind take the same time an image."""
    return f"{plan.model.model_dump_json()} {plan.augment.model_dump_json()}"
