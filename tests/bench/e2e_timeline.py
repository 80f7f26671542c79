"""When which member was trained where, and what the rest of the makespan went to.

In: times and epoch reports, of a cohort or of the bare loop. Out: the makespan divided into parts
that add up to it. Used by `end_to_end`.

Times are seconds since 1970, so that they can be compared between processes.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.plan import EpochReport

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def busy_s() -> float:
    """Seconds that this machine's processors have worked since it was started, for whomever."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _idle, _waiting, irq, softirq, _stolen = map(int, words)
    return (user + nice + system + irq + softirq) / TICKS_A_SECOND


@dataclass(frozen=True)
class Training:
    """One member's training, from its first epoch's begin to its last epoch's report."""

    lane: str
    """The slot or process that trained it."""
    started_at: float
    ended_at: float
    reports: tuple[EpochReport, ...]

    def steps_s(self, num_images: int) -> float:
        """What went to training alone, without validation, checkpoints and reports."""
        return sum(num_images / report.images_per_second for report in self.reports)

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.ended_at - self.started_at


@dataclass(frozen=True)
class Shares:
    """A makespan's parts in seconds, each a mean over the lanes."""

    start_up: float
    """Until the lane's first training begins."""
    training: float
    between: float
    """From one training to the lane's next one."""
    tail: float
    """From the lane's last training to the end: waiting for the other lanes, then what follows."""


@dataclass(frozen=True)
class Timeline:
    """All trainings between a launch and the end, in the order in which plans were taken."""

    launched_at: float
    ended_at: float
    trainings: tuple[Training, ...]
    cpu_s: float
    """CPU seconds of all its processes."""
    others_s: float
    """CPU seconds of everything else on the machine meanwhile. Where it is much, rows lie."""

    @property
    def makespan_s(self) -> float:
        """From launch to end."""
        return self.ended_at - self.launched_at

    @property
    def first_training_s(self) -> float:
        """From launch to the first training."""
        return min(training.started_at for training in self.trainings) - self.launched_at

    @property
    def shares(self) -> Shares:
        """What the makespan went to."""
        lanes: dict[str, list[Training]] = defaultdict(list)
        for training in sorted(self.trainings, key=lambda each: each.started_at):
            lanes[training.lane].append(training)
        trained_s = _mean([sum(each.seconds for each in lane) for lane in lanes.values()])
        start_up_s = _mean([lane[0].started_at - self.launched_at for lane in lanes.values()])
        tail_s = _mean([self.ended_at - lane[-1].ended_at for lane in lanes.values()])
        return Shares(
            start_up_s, trained_s, self.makespan_s - start_up_s - trained_s - tail_s, tail_s
        )


def compared(ours: Timeline, theirs: Timeline, num_images: int) -> str:
    """Both makespans' parts in words; `num_images` is how many a member trains on."""
    mine, bare = ours.shares, theirs.shares
    steps = [sum(each.steps_s(num_images) for each in side.trainings) for side in (ours, theirs)]
    spent = [sum(each.seconds for each in side.trainings) for side in (ours, theirs)]
    rest = [all_of_it - some for all_of_it, some in zip(spent, steps, strict=True)]
    return (
        f"seconds a lane, ours (bare): start-up {mine.start_up:.2f} ({bare.start_up:.2f}), "
        f"training {mine.training:.2f} ({bare.training:.2f}; "
        f"its steps {steps[0] / steps[1]:.3f} x, the rest {rest[0] / rest[1]:.3f} x), "
        f"between members {mine.between:.2f} ({bare.between:.2f}), "
        f"after a lane's last member {mine.tail:.2f} ({bare.tail:.2f}); "
        f"CPU seconds in all {ours.cpu_s:.1f} ({theirs.cpu_s:.1f}), "
        f"of other processes meanwhile {ours.others_s:.1f} ({theirs.others_s:.1f})"
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
