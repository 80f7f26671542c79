"""Figures for Prometheus, through the endpoint that every node of a Ray cluster has.

In: a cohort's jobs after a round of its controller, its number of slots, and its retries from the
store. Out: gauges and a counter, each tagged with the cohort; Ray's agent on the controller's node
exports them, with `ray_` before their names. Made by `serve` on a cluster that was joined: a Ray of
our own has its metrics switched off.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.phases import Blame, Phase
from orchestrator.state import Job

SET_EVERY_S = 2.0
"""Ray exports them every few seconds, and counting a long queue takes milliseconds."""


@dataclass(frozen=True)
class Figures:
    """What is worth watching of a cohort."""

    queue_length: int
    """Members that wait for a slot; those of suspended jobs do not."""
    slots_busy: int
    finished: Mapping[Phase, int]
    """Members that are over, by phase."""


def figures(jobs: Iterable[Job]) -> Figures:
    """Counts the members of all revisions."""
    phases = Counter(
        (member.phase, job.wants_slots or member.phase is not Phase.PENDING)
        for job in jobs
        for member in job.members
    )
    return Figures(
        queue_length=phases[Phase.PENDING, True],
        slots_busy=phases[Phase.RUNNING, True],
        finished={phase: phases[phase, True] for phase in Phase if phase.terminal},
    )


class Meter(Protocol):
    """Where figures go; `RayMeter` is the real one."""

    def set(self, name: str, value: float, **tags: str) -> None:
        """Sets a gauge."""

    def add(self, name: str, value: float, **tags: str) -> None:
        """Adds to a counter; the value is positive."""


class Gauges:
    """Tells a meter how a cohort stands, every now and then."""

    def __init__(
        self,
        meter: Meter,
        retries: Callable[[], Mapping[Blame, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._meter = meter
        self._retries = retries
        self._clock = clock
        self._next_at = float("-inf")
        self._told: dict[Blame, int] = {}

    def show(self, jobs: Sequence[Job], num_slots: int) -> None:
        """Tells the figures, unless it was done a moment ago. Raises what `retries` raises."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + SET_EVERY_S
        now = figures(jobs)
        self._meter.set("queue_length", now.queue_length)
        self._meter.set("slots", num_slots)
        self._meter.set("slots_busy", now.slots_busy)
        for phase, count in now.finished.items():
            self._meter.set("members_finished", count, phase=phase)
        for blame, count in self._retries().items():
            more = count - self._told.get(blame, 0)
            if more > 0:
                self._meter.add("retries", more, blame=blame)
                self._told[blame] = count


class RayMeter:
    """Sets metrics of the Ray that this process is connected to."""

    def __init__(self, cohort: str) -> None:
        from ray.util import metrics

        described = {
            "queue_length": "Members that wait for a slot",
            "slots": "Members that can train at a time",
            "slots_busy": "Members that train",
            "members_finished": "Members that are over, by phase",
        }
        extra = {"members_finished": ("phase",)}
        self._gauges = {
            name: metrics.Gauge(f"gamectl_{name}", text, ("cohort", *extra.get(name, ())))
            for name, text in described.items()
        }
        text = "Attempts that failed and were followed by another, by blame"
        self._counters = {
            "retries": metrics.Counter("gamectl_retries", text, ("cohort", "blame")),
        }
        self._tags = {"cohort": cohort}

    def set(self, name: str, value: float, **tags: str) -> None:
        """Sets a gauge."""
        self._gauges[name].set(value, tags=self._tags | tags)

    def add(self, name: str, value: float, **tags: str) -> None:
        """Adds to a counter; the value is positive."""
        self._counters[name].inc(value, tags=self._tags | tags)
