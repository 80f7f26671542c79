"""When which member was trained where, and what the rest of the makespan went to.

In: times of a cohort or of the bare loop. Out: the makespan divided into parts that add up to it.
Used by `end_to_end`.

Times are seconds that the side has run for (`turns`), counted from its launch.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """One member's training, from its first epoch's begin to its last epoch's report."""

    lane: str
    """The slot or process that trained it."""
    started_at: float
    ended_at: float

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
    """All trainings from a launch to the end, in the order in which plans were taken."""

    makespan_s: float
    trainings: tuple[Training, ...]
    cpu_s: float
    """CPU seconds of all its processes."""
    others_s: float
    """CPU seconds of everything else on the machine meanwhile. Where it is much, rows lie."""

    @property
    def first_training_s(self) -> float:
        """From launch to the first training."""
        return min(training.started_at for training in self.trainings)

    @property
    def shares(self) -> Shares:
        """What the makespan went to."""
        lanes: dict[str, list[Training]] = defaultdict(list)
        for training in sorted(self.trainings, key=lambda each: each.started_at):
            lanes[training.lane].append(training)
        trained_s = _mean([sum(each.seconds for each in lane) for lane in lanes.values()])
        start_up_s = _mean([lane[0].started_at for lane in lanes.values()])
        tail_s = _mean([self.makespan_s - lane[-1].ended_at for lane in lanes.values()])
        return Shares(
            start_up_s, trained_s, self.makespan_s - start_up_s - trained_s - tail_s, tail_s
        )


def compared(ours: Timeline, theirs: Timeline) -> str:
    """Both makespans' parts in words."""
    mine, bare = ours.shares, theirs.shares
    return (
        f"seconds a lane, ours (bare): start-up {mine.start_up:.2f} ({bare.start_up:.2f}), "
        f"training {mine.training:.2f} ({bare.training:.2f}), "
        f"between members {mine.between:.2f} ({bare.between:.2f}), "
        f"after a lane's last member {mine.tail:.2f} ({bare.tail:.2f}); "
        f"CPU seconds in all {ours.cpu_s:.1f} ({theirs.cpu_s:.1f}), "
        f"of other processes meanwhile {ours.others_s:.1f} ({theirs.others_s:.1f})"
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
