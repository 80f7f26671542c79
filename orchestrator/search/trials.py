"""What came of settings that were tried: outcomes, and the best of them.

In: the epochs that each trial reported. Out: an `Outcome` a trial and a `Search` of all. Pure. Next
on the path: `table` and `picture` show it, `tracking.trials` keeps it in MLflow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jobs.plan import EpochReport, MemberPlan
from orchestrator.search.candidates import Candidate
from orchestrator.search.space import Knob, Value

State = Literal["complete", "stopped", "failed"]
REDUCTION = 2
"""ASHA lets one of so many trials go on at every rung. A whole training takes seconds here, so a
good one that is stopped too soon would cost more than weak ones that go on."""
WHOLE = 100
"""A trial's last epoch, in percent of its own training."""
FIRST_RUNG = 25
"""The weakest trials may be stopped here, and then at twice as much. Before that networks know so
little that their accuracies tell nothing."""


@dataclass(frozen=True)
class Outcome:
    """What became of one trial."""

    candidate: Candidate
    plan: MemberPlan
    reports: tuple[EpochReport, ...] = ()
    fault: str | None = None
    """Why it failed."""

    @property
    def number(self) -> int:
        """The candidate's."""
        return self.candidate.number

    @property
    def settings(self) -> Mapping[str, Value | None]:
        """The candidate's."""
        return self.candidate.settings

    @property
    def state(self) -> State:
        """`complete` with its last epoch; `stopped` where it was too weak, or time was up."""
        if self.fault is not None:
            return "failed"
        return "complete" if len(self.reports) == self.plan.epochs else "stopped"

    @property
    def accuracy(self) -> float | None:
        """On the validation images after the last epoch, as a member's result is."""
        return self.reports[-1].val_accuracy if self.reports else None

    def describe(self) -> str:
        """What became of it, in words."""
        if self.fault is not None:
            return f"failed: {self.fault}"
        epochs = f"{len(self.reports)} of {self.plan.epochs} epochs"
        known = "no accuracy yet" if self.accuracy is None else f"{self.accuracy:.1%}"
        return f"{known}, {self.state} after {epochs}"


@dataclass(frozen=True)
class Search:
    """All trials that were begun, and what they were drawn from."""

    team: str
    cohort: str
    experiment: str | None
    """Where MLflow has them; None where it could not be reached."""
    member: int | None
    """Which network of an ensemble; None where there is one."""
    knobs: tuple[Knob, ...]
    own_candidate: Candidate
    """The loadout as it is."""
    num_candidates: int
    num_images: int
    """Validation images, which decided."""
    outcomes: tuple[Outcome, ...]
    """In the order of their numbers."""

    @property
    def before(self) -> Mapping[str, Value | None]:
        """The loadout's own settings."""
        return self.own_candidate.settings

    @property
    def ranked(self) -> list[Outcome]:
        """Those that came to their last epoch, the best first; of equals the one with less loss."""
        complete = [each for each in self.outcomes if each.state == "complete"]
        return sorted(complete, key=rank)

    @property
    def own(self) -> Outcome | None:
        """The loadout's own settings, if they came to their end."""
        found = (each for each in self.outcomes if each.number == 0)
        return next((each for each in found if each.state == "complete"), None)

    def to_dict(self, patch: str | None) -> dict[str, Any]:
        """The form of `--output json`."""
        return {
            "team": self.team,
            "cohort": self.cohort,
            "experiment": self.experiment,
            "member": self.member,
            "validation_images": self.num_images,
            "searched": [knob.name for knob in self.knobs],
            "best": self.ranked[0].number if self.ranked else None,
            "patch": patch,
            "trials": [
                {
                    "number": each.number,
                    "state": each.state,
                    "epochs": len(each.reports),
                    "val_accuracy": each.accuracy,
                    "message": each.fault or "",
                    "settings": dict(each.candidate.settings),
                }
                for each in self.outcomes
            ],
        }


def rank(outcome: Outcome) -> tuple[float, float, int]:
    """What complete trials are sorted by."""
    last = outcome.reports[-1]
    return -last.val_accuracy, last.val_loss, outcome.number
