"""Trials on Ray Tune: each trains one plan, and ASHA stops those that fall behind.

In: a plan a trial, references to its inputs, and how long it may all take. Out: the epochs of every
trial, told while it trains, and how each ended. Tune runs the trials: it starts one on every slot's
worth of free CPUs and GPUs, keeps its processes between trials, and asks its scheduler after each
epoch whether to go on ("A System for Massively Parallel Hyperparameter Tuning",
https://arxiv.org/abs/1810.05934). A trial that fails is a weak one, and not the end.

Trials are compared where equal parts of their own training lie behind them: at its tenth epoch a
training of ten has come to rest, and one of forty, its learning rate near the peak, looks weak.

Trials are numbered and drawn beforehand, so Tune searches a grid of numbers; that way the settings
are checked as a loadout's are. Tune writes into a temporary folder and says nothing.
"""

import contextlib
import io
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import ray
from ray import tune

from jobs.memory import keep_freed_memory
from jobs.plan import EpochReport, MemberPlan, SandboxRules
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.connection import num_slots_that_fit
from orchestrator.cluster.faults import judge, seen
from orchestrator.search.trials import FIRST_RUNG, REDUCTION, WHOLE

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # MLflow has the trials
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # an epoch may be longer, and its end is not waited for
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
"""Environment variables that Tune reads; a user's own values stay."""
TRIAL, FAULT, METRIC, TIME = "trial", "fault", "val_accuracy", "percent"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WEAKEST = -1.0
"""The accuracy of a trial that failed, so that ASHA counts it among the weakest."""


@dataclass(frozen=True)
class Listener:
    """Who is told; called in the process that searches."""

    on_epoch: Callable[[int, EpochReport], None]
    on_end: Callable[[int, str | None], None]
    """With what went wrong, where something did."""


def run_trials(
    plans: Sequence[MemberPlan],
    inputs: Sequence[list[Any]],
    resources: Resources,
    rules: SandboxRules,
    time_s: float | None,
    listener: Listener,
) -> bool:
    """Trains all of them, or what there is time for; returns False after Ctrl-C.

    `inputs` are references in Ray's object store, as a slot is given them. The first trial is never
    stopped for its accuracy: the others are compared with it. Raises `ClusterError` where a trial
    fits nowhere.
    """
    num_slots_that_fit(resources)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    trainable = tune.with_resources(
        tune.with_parameters(
            _train,
            plans=[plan.model_dump_json() for plan in plans],
            inputs=list(inputs),
            sandbox=rules.model_dump_json(),
        ),
        {"cpu": resources.cpus, "gpu": resources.gpus},
    )
    interrupt = _Interrupt()
    with tempfile.TemporaryDirectory(prefix="gamectl-tune-") as folder:
        tuner = tune.Tuner(
            trainable,
            param_space={TRIAL: tune.grid_search(list(range(len(plans))))},
            tune_config=tune.TuneConfig(
                scheduler=asha(),
                time_budget_s=time_s,
                reuse_actors=True,
                max_concurrent_trials=resources.max_slots,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=folder,
                verbose=0,
                callbacks=[_Teller(listener)],
                stop=interrupt,
            ),
        )
        with interrupt.by_signals(), contextlib.redirect_stdout(io.StringIO()):  # Tune's tables
            tuner.fit()
    return not interrupt.wanted


def _train(config: dict[str, Any], plans: list[str], inputs: list[list[Any]], sandbox: str) -> None:
    """One trial, in a process of Tune's: as a slot trains a member, without checkpoint and log."""
    # Imported here: the process that searches waits for none of it.
    from jobs.custom.parent import train_custom
    from jobs.train import train_member

    keep_freed_memory()
    number = config[TRIAL]
    plan = MemberPlan.model_validate_json(plans[number])
    images, *others = [ray.get(ref) for ref in inputs[number]]
    teaching = others[0] if others else None
    last_epoch = 0

    def report(epoch: EpochReport) -> None:
        nonlocal last_epoch
        last_epoch = epoch.epoch
        # It ends this thread where ASHA has seen enough.
        tune.report({**epoch.model_dump(), TIME: percent(epoch.epoch, plan.epochs)})

    try:
        if plan.custom is None:
            train_member(plan, images, report, teaching=teaching)
        else:
            rules = SandboxRules.model_validate_json(sandbox)
            train_custom(
                plan, images, report, None, teaching, None, None, rules, lambda _output: None
            )
    except Exception as error:  # whatever it is, the other trials go on
        message = judge(seen("training", error)).message
        # At the earliest where it would have been compared first.
        at = max(percent(last_epoch + 1, plan.epochs), FIRST_RUNG)
        tune.report({TIME: at, METRIC: WEAKEST, FAULT: message})


def percent(epoch: int, epochs: int) -> float:
    """How much of its own training a trial has behind it after an epoch."""
    return WHOLE * epoch / epochs


def asha() -> tune.schedulers.TrialScheduler:
    """What decides whether a trial goes on."""
    return _Asha(
        time_attr=TIME,
        metric=METRIC,
        mode="max",
        max_t=WHOLE + 1,  # each ends by itself, after its last epoch
        grace_period=FIRST_RUNG,
        reduction_factor=REDUCTION,
    )


class _Asha(tune.schedulers.ASHAScheduler):  # type: ignore[misc]  # Ray has no types
    """Lets the first trial come to its end, whatever the others do."""

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        action: str = super().on_trial_result(controller, trial, result)
        return self.CONTINUE if trial.config[TRIAL] == 0 else action

    def on_trial_complete(self, _controller: Any, trial: Any, _result: dict[str, Any]) -> None:
        """Forgets the trial. Ray would hold its last accuracy against trials at an earlier part."""
        self._trial_info.pop(trial.trial_id, None)


class _Interrupt(tune.Stopper):  # type: ignore[misc]  # Ray has no types
    """Ends all trials in order after Ctrl-C: an exception would leave them on a shared cluster."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self, *_: Any) -> bool:
        """No single trial is ended."""
        return False

    def stop_all(self) -> bool:
        """Whether to end."""
        return self.wanted

    @contextlib.contextmanager
    def by_signals(self) -> Iterator[None]:
        """Within the block Ctrl-C, SIGTERM and a terminal that hangs up are requests to end."""
        numbers = [n for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
        previous = {number: signal.signal(number, self._hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self.wanted:  # whoever asks twice does not want to wait
            raise KeyboardInterrupt
        self.wanted = True


class _Teller(tune.Callback):  # type: ignore[misc]  # Ray has no types
    """Passes on what Tune's trials report."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._faults: dict[int, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune keeps what it would need to begin again, which we never do from there."""
        return {}

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
        number = trial.config[TRIAL]
        if FAULT in result:
            self._faults[number] = result[FAULT]
            return
        values = {name: result[name] for name in EpochReport.model_fields}
        self._listener.on_epoch(number, EpochReport.model_validate(values))

    def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
        number = trial.config[TRIAL]
        self._listener.on_end(number, self._faults.get(number))

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        self._listener.on_end(
            trial.config[TRIAL], "its process was lost, perhaps for lack of memory"
        )
