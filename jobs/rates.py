"""The learning rate of every step, in closed form.

In: a `SchedulePlan`, the plan's learning rate and the number of steps. Out: the rate of a step, a
pure function of the step's number and of the plateau, which is all the state that there is.
`jobs.train` asks before every step. Steps and epochs count from 0 here.

Instead of torch's schedulers: those change the optimizer as they go, their rates are recursions
that gather rounding, and two of them (decay beside a schedule) do not combine freely.
"""

import math
from dataclasses import dataclass

from jobs.plan import SchedulePlan

# As torch's OneCycleLR: the rate starts at 1/25 of its peak and ends at 1/10,000 of its start.
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 1e4
# As torch's ReduceLROnPlateau: the share by which a loss must fall to count as lower.
PLATEAU_THRESHOLD = 1e-4


@dataclass(frozen=True)
class Plateau:
    """What the validation losses so far amount to. A plain value, as a checkpoint stores it."""

    lowest_loss: float = math.inf
    bad_epochs: int = 0  # since the lowest loss or the last drop of the rate
    num_drops: int = 0

    def after(self, val_loss: float, schedule: SchedulePlan) -> "Plateau":
        """Return the state after one more epoch."""
        if val_loss < self.lowest_loss * (1 - PLATEAU_THRESHOLD):
            return Plateau(val_loss, 0, self.num_drops)
        if self.bad_epochs < schedule.patience_epochs:
            return Plateau(self.lowest_loss, self.bad_epochs + 1, self.num_drops)
        return Plateau(self.lowest_loss, 0, self.num_drops + 1)


@dataclass(frozen=True)
class Rates:
    """A member's learning rates: learning_rate * decay ** epochs done * the schedule's factor."""

    schedule: SchedulePlan
    learning_rate: float
    num_epochs: int
    steps_per_epoch: int

    def at(self, step: int, plateau: Plateau) -> float:
        """Return the rate of a step; the first of all is 0, and `plateau` is that of its epoch."""
        epoch = step // self.steps_per_epoch
        decayed = self.learning_rate * self.schedule.decay**epoch
        return decayed * self._factor(step, epoch, plateau)

    def _factor(self, step: int, epoch: int, plateau: Plateau) -> float:
        schedule, num_steps = self.schedule, self.num_epochs * self.steps_per_epoch
        match schedule.kind:
            case "constant":
                return 1.0
            case "cosine":  # Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983
                return _cosine(1.0, 0.0, step / num_steps)
            case "step":
                return schedule.factor ** (epoch // schedule.every_epochs)
            case "one-cycle":
                return _one_cycle(step, num_steps, schedule.warmup)
            case "plateau":
                return schedule.factor**plateau.num_drops


def _one_cycle(step: int, num_steps: int, warmup: float) -> float:
    """Return the share of the peak rate: up during the warm-up, then down to almost nothing.

    Smith 2018, https://arxiv.org/abs/1803.09820, as torch's OneCycleLR with cosine annealing and
    an unchanged momentum. A warm-up of less than two steps begins at its peak, or past it.
    """
    peak, last = warmup * num_steps - 1, num_steps - 1
    if step <= peak and peak > 0:
        return _cosine(ONE_CYCLE_START, 1.0, step / peak)
    return _cosine(1.0, ONE_CYCLE_END, (step - peak) / (last - peak))


def _cosine(start: float, end: float, done: float) -> float:
    """Go from `start` to `end` along half a cosine; `done` runs from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
