"""Measured speeds: from reference seconds, which `costs` predicts, to seconds on real slots.

In: members with their expected work and, where they have trained, the mean duration of an epoch.
Out: `Speeds`, which says how many seconds the rest of a member takes. A member's own epochs count
most, then those of its kind, then those of its device; where nothing was measured there, one factor
does for every member, and `factor_here` measures it in about a second. Next: `forecast`, which puts
the seconds on slots.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Self

from jobs.plan import Device
from orchestrator.forecasting.costs import device_of
from orchestrator.phases import Phase
from orchestrator.state import Member

WORKER_GROUP_S = 15.0
"""About how long a worker group takes to start; each member has one of its own."""
BENCHMARK_IMAGES, BENCHMARK_EPOCHS = 240, 8


@dataclass(frozen=True)
class Speeds:
    """Seconds per reference second: above 1 where slots are slower than the reference core."""

    machine: float = 1.0
    """Where nothing was measured on a device."""
    by_kind: Mapping[str, float] = field(default_factory=dict)
    by_device: Mapping[Device, float] = field(default_factory=dict)
    """For kinds that were not measured."""
    start_s: float = 0.0
    """What each member takes on its slot before its first step."""

    @classmethod
    def of(cls, members: Iterable[Member], machine: float = 1.0) -> "Speeds":
        """The speeds that these members had.

        A kind's factor is the median of its members', as a slot that was disturbed for a while must
        not count for all. Kinds that were not measured get the median over the measured kinds
        of their device; `machine` is their factor where there is none.
        """
        factors: dict[str, list[float]] = defaultdict(list)
        for member in members:
            if member.epoch_seconds is not None and member.work > 0 and member.epochs > 0:
                expected = member.work / member.epochs
                factors[member.kind].append(member.epoch_seconds / expected)
        by_kind = {kind: median(measured) for kind, measured in factors.items()}
        of_device: dict[Device, list[float]] = defaultdict(list)
        for kind, factor in by_kind.items():
            of_device[device_of(kind)].append(factor)
        by_device = {device: median(measured) for device, measured in of_device.items()}
        return cls(machine, by_kind, by_device)

    @property
    def measured(self) -> bool:
        """Whether any member has been measured."""
        return bool(self.by_kind)

    def in_worker_groups(self, wanted: bool) -> Self:
        """The same where members train in worker groups, if that is so."""
        return replace(self, start_s=WORKER_GROUP_S) if wanted else self

    def factor(self, kind: str) -> float:
        """Seconds per reference second of a kind of members."""
        known = self.by_kind.get(kind)
        return self.by_device.get(device_of(kind), self.machine) if known is None else known

    def seconds(self, member: Member) -> float:
        """Expected seconds on a slot for the epochs that the member has not done; 0 if it ended."""
        if member.phase.terminal or member.epochs == 0:
            return 0.0
        epoch_seconds = member.epoch_seconds
        if epoch_seconds is None:
            epoch_seconds = member.work / member.epochs * self.factor(member.kind)
        start_s = self.start_s if member.phase is Phase.PENDING else 0.0
        return start_s + epoch_seconds * max(member.epochs - member.epoch, 0)


def factor_here(device: Device = "cpu") -> float:
    """Seconds per reference second of this machine, measured on a short real training.

    The base network trains for about a second on one core, or on a GPU; the median epoch counts. It
    imports torch. Slots that share a device or its memory are slower than one alone, which this
    cannot see.
    """
    import time

    import numpy as np

    from jobs.images import LabelledImages
    from jobs.memory import keep_freed_memory
    from jobs.plan import DataPlan, MemberPlan, OptimizerPlan
    from jobs.train import train_member
    from orchestrator.forecasting.costs import work

    plan = MemberPlan(
        data=DataPlan(fingerprint="", classes=("a", "b"), train_fraction=1),
        optimizer=OptimizerPlan(learning_rate=1e-6),
        epochs=BENCHMARK_EPOCHS,
        device=device,
    )
    side_px = plan.data.image_size_px
    rows = np.arange(BENCHMARK_IMAGES)
    images = np.random.default_rng(0).integers(
        0, 256, (BENCHMARK_IMAGES, 3, side_px, side_px), dtype=np.uint8
    )
    keep_freed_memory()
    ends: list[float] = []
    data = LabelledImages(images, rows % len(plan.data.classes), rows)
    train_member(plan, data, report=lambda _epoch: ends.append(time.perf_counter()))
    # The first epoch is only the start of the second: it loads and compiles what later ones use.
    epochs_s = np.diff(ends)
    return float(np.median(epochs_s)) / (work(plan, BENCHMARK_IMAGES) / plan.epochs)
