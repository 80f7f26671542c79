"""A search for better settings, from a loadout and its data to the best that was found.

In: candidates, and what was prepared of the data without its test images. Out: a `Search`. The
images are decoded once and lie in Ray's object store; `tuner` trains on them; every trial that ends
is shown, and written to MLflow in a side experiment. Next on the path: `cli.tune` prints it.
"""

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.images import LabelledImages
from jobs.plan import DataPlan, EpochReport, MemberPlan
from jobs.values import Teaching
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.member_plans import member_plan
from orchestrator.cluster.connection import ray_cluster
from orchestrator.errors import GameError
from orchestrator.forecasting.costs import kind, work
from orchestrator.forecasting.speeds import Speeds
from orchestrator.results.truth import validation_truth
from orchestrator.search.candidates import Candidate
from orchestrator.search.space import Knob
from orchestrator.search.trials import Outcome, Search
from orchestrator.search.view import SearchView
from orchestrator.settings import Settings
from orchestrator.sources import ProgressBar, silent
from orchestrator.submission import Prepared, keep_teacher, taught
from orchestrator.teaching.teachings import TeacherWeights, TeachingKey, teaching_key, teachings

if TYPE_CHECKING:
    from orchestrator.tracking.trials import TrialLog


class Desk:
    """Collects what trials report, and passes on what has ended."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        plans: Sequence[MemberPlan],
        view: SearchView,
        log: "TrialLog | None",
    ) -> None:
        self._begun = [Outcome(c, plan) for c, plan in zip(candidates, plans, strict=True)]
        self._began_at = [0.0] * len(plans)
        self._view = view
        self._log = log
        self._ended: dict[int, Outcome] = {}
        self.log_error: GameError | None = None
        """Why trials are not kept any more."""

    def on_epoch(self, number: int, report: EpochReport) -> None:
        """Takes an epoch's report."""
        before = self._begun[number]
        if not before.reports:
            self._began_at[number] = time.time() - report.seconds
        reports = (*before.reports, report)
        self._begun[number] = Outcome(before.candidate, before.plan, reports)
        self._view.epoch(number)

    def on_end(self, number: int, fault: str | None) -> None:
        """Takes the end of a trial; one that was never begun is none."""
        it = self._begun[number]
        if number in self._ended or not (it.reports or fault):
            return
        outcome = Outcome(it.candidate, it.plan, it.reports, fault)
        self._ended[number] = outcome
        self._view.end(outcome)
        self._keep(outcome)

    @property
    def has_any(self) -> bool:
        """Whether there is anything to tell of a trial."""
        return bool(self._ended) or any(outcome.reports for outcome in self._begun)

    def close(self) -> tuple[Outcome, ...]:
        """All outcomes, those that were interrupted as well."""
        for outcome in self._begun:
            self.on_end(outcome.number, None)
        return tuple(self._ended[number] for number in sorted(self._ended))

    def _keep(self, outcome: Outcome) -> None:
        if self._log is None or self.log_error is not None:
            return
        try:
            began_at = self._began_at[outcome.number] or time.time()
            self._log.trial(outcome, began_at, time.time())
        except GameError as error:
            self.log_error = error


def plans_of(
    candidates: Sequence[Candidate], member: int, cohort: Cohort, prepared: Prepared
) -> list[MemberPlan]:
    """What each candidate's network trains, on the data that was prepared."""
    folder = prepared.decoded.folder
    plans = []
    for each in candidates:
        assert each.file.loadout is not None
        plans.append(
            member_plan(each.file.loadout, cohort, member, folder.classes, folder.fingerprint)
        )
    return list(taught(plans, prepared.teacher))


def longest_s(
    plans: Sequence[MemberPlan], prepared: Prepared, num_slots: int, speeds: Speeds
) -> float:
    """How long the trials take if none is stopped early, in seconds."""
    num_images = len(prepared.decoded.folder.training)
    each_s = [work(plan, num_images) * speeds.factor(kind(plan)) for plan in plans]
    ends_s = [0.0] * num_slots
    for trial_s in each_s:  # each starts on the slot that is free first
        heapq.heapreplace(ends_s, ends_s[0] + trial_s)
    return max(ends_s)


@dataclass(frozen=True)
class Done:
    """A search that has ended."""

    found: Search
    whole: bool
    """False after Ctrl-C."""
    log_error: GameError | None
    """Why MLflow does not have all trials."""
    log: "TrialLog | None"
    """The search's run in MLflow, if all trials are there."""


def search(
    knobs: tuple[Knob, ...],
    candidates: Sequence[Candidate],
    plans: Sequence[MemberPlan],
    member: int,
    prepared: Prepared,
    settings: Settings,
    cpus: int | None,
    time_s: float | None,
    log: "TrialLog | None",
    progress: ProgressBar = silent,
) -> Done:
    """Trains the candidates' plans as trials, as far as time allows, and shows and keeps them.

    Raises `ClusterError` where Ray does not start, or no trial fits.
    """
    truth = validation_truth(lambda data: prepared.decoded.training(data.image_size_px))
    num_images = len(truth(plans[0].data).labels)
    with SearchView([plan.epochs for plan in plans]) as view:
        desk = Desk(candidates, plans, view, log)
        try:
            whole = _train(plans, prepared, settings, cpus, time_s, desk, progress)
        except KeyboardInterrupt:  # asked twice, while Ray was tidied up
            if not desk.has_any:
                raise
            whole = False
        outcomes = desk.close()
    (job,), own = prepared.jobs, candidates[0]
    assert own.file.loadout is not None
    found = Search(
        team=job.team,
        cohort=prepared.cohort.name,
        experiment=None if log is None else _experiment_of(prepared),
        member=member if own.file.loadout.ensemble else None,
        knobs=knobs,
        own_candidate=own,
        num_candidates=len(candidates),
        num_images=num_images,
        outcomes=outcomes,
    )
    return Done(found, whole, desk.log_error, log if desk.log_error is None else None)


def _train(
    plans: Sequence[MemberPlan],
    prepared: Prepared,
    settings: Settings,
    cpus: int | None,
    time_s: float | None,
    desk: Desk,
    progress: ProgressBar,
) -> bool:
    """Trains the plans as trials on Ray; returns False after Ctrl-C."""
    spec = prepared.cohort.spec
    images = {size_px: prepared.decoded.training(size_px) for size_px in prepared.sizes_px}
    taught_by: dict[TeachingKey, Teaching] = {}
    if prepared.teacher is not None:
        keep_teacher(prepared, settings, progress)
        weights = TeacherWeights(settings.artifacts)
        taught_by = teachings(plans, images, weights, settings.teacher_logits, progress)

    def images_of(data: DataPlan) -> LabelledImages:
        return images[data.image_size_px]

    def teaching_of(plan: MemberPlan) -> Teaching | None:
        key = teaching_key(plan)
        return None if key is None else taught_by[key]

    with ray_cluster(settings.ray_address, cpus):
        # Imported once Ray's settings stand.
        from orchestrator.cluster.shared_inputs import SharedInputs
        from orchestrator.search.tuner import Listener, run_trials

        shared = SharedInputs(images_of, teaching_of, before_put=lambda: None)
        return run_trials(
            plans,
            [shared.of(plan) for plan in plans],
            spec.resources,
            spec.sandbox_rules,
            time_s,
            Listener(desk.on_epoch, desk.on_end),
        )


def open_log(prepared: Prepared, settings: Settings) -> "TrialLog":
    """The search's run in MLflow; raises `TrackingError` where that can't be reached."""
    from orchestrator.tracking.client import connect
    from orchestrator.tracking.trials import TrialLog

    name = _experiment_of(prepared)
    experiment = connect(settings.tracking_uri, settings.mlflow_artifacts, name, create=True)
    return TrialLog(experiment, time.strftime("search %b %d %H:%M"), time.time())


def _experiment_of(prepared: Prepared) -> str:
    (job,) = prepared.jobs
    return f"{prepared.cohort.name}-{job.team}-tuning"
