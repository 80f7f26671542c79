"""A slot: the warm Ray actor that trains one member after another through Ray Train.

In: a plan, as JSON, and references to the images and to a teacher. Out: the member's result, its
epochs on demand while it trains. Next on the path: `slots`, which keeps a pool of these; a teacher
is trained in a slot of its own by `teacher_trainer`.

A slot keeps its process, and with it torch and Ray Train, between members: `TorchTrainer` in local
mode inside a living actor starts in a millisecond, a worker group in 10 to 20 s. With
`trainer: workers` the slot drives a real worker group of one, which then holds the resources.
Slots hold no credentials of the store or of MLflow.
"""

import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
from ray.exceptions import RayError

from jobs.errors import Stopped
from jobs.memory import keep_freed_memory
from jobs.plan import EpochReport, MemberPlan, TeacherPlan
from jobs.teacher_training import train_teacher
from jobs.train import MemberResult, train_member
from orchestrator.news import TimedReport

Trainee = Literal["member", "teacher"]


@dataclass(frozen=True)
class Raised:
    """An exception of the training function, in words: not every exception can be pickled."""

    kind: str
    message: str
    where: str
    """File and line of the innermost frame."""


class Slot:
    """The actor. One thread trains; another one answers `drain` and `stop` meanwhile."""

    def __init__(self) -> None:
        self._run = ""
        self._stopping = False
        # A deque, because one thread appends while another one takes out.
        self._reports: deque[TimedReport] = deque()

    def ready(self) -> str:
        """Loads what training needs; returns the node's id."""
        import ray.train.torch

        return str(ray.get_runtime_context().get_node_id())[:12]

    def train(
        self,
        run: str,
        trainee: Trainee,
        plan_json: str,
        inputs: list[Any],
        workers: dict[str, float] | None,
    ) -> tuple[MemberResult | Raised | None, list[TimedReport]]:
        """Trains one network; returns its result and the reports that were not drained yet.

        `inputs` holds a reference to `LabelledImages`, and where the plan asks for it a second one:
        to a member's `Teaching`, or to the state dict that a teacher starts from. `workers` are the
        resources of a worker group, or None for local mode. None instead of a result: the network
        was stopped.
        """
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        self._run, self._stopping = run, False
        self._reports.clear()
        if workers is None:
            loop = _train_loop(self.progress, lambda: self._stopping)
            scaling = ScalingConfig(num_workers=0)
        else:
            me = ray.get_runtime_context().current_actor
            loop = _train_loop(lambda report: bool(ray.get(me.progress.remote(report))), None)
            scaling = ScalingConfig(
                num_workers=1, use_gpu=workers.get("GPU", 0) > 0, resources_per_worker=workers
            )
        with tempfile.TemporaryDirectory(prefix="gamectl-train-") as storage:
            outcome = (
                TorchTrainer(
                    loop,
                    train_loop_config={"trainee": trainee, "plan": plan_json, "inputs": inputs},
                    scaling_config=scaling,
                    run_config=RunConfig(name=run.replace("/", "-"), storage_path=storage),
                )
                .fit()
                .return_value
            )
        return outcome, self.drain()

    def progress(self, report: EpochReport) -> bool:
        """Takes an epoch's report; returns whether the member should stop."""
        self._reports.append((report, time.time()))
        return self._stopping

    def drain(self) -> list[TimedReport]:
        """The reports since the last call."""
        return [self._reports.popleft() for _ in range(len(self._reports))]

    def stop(self, run: str) -> None:
        """Stops that run, if it is still the one on the slot."""
        self._stopping = self._stopping or run == self._run


def _train_loop(
    progress: Callable[[EpochReport], bool], should_stop: Callable[[], bool] | None
) -> Callable[[dict[str, Any]], MemberResult | Raised | None]:
    """The function that Ray Train runs; errors are returned, alike in both trainer modes."""

    def loop(config: dict[str, Any]) -> MemberResult | Raised | None:
        import ray.train

        def report(epoch: EpochReport) -> None:
            ray.train.report(epoch.model_dump())
            if progress(epoch):
                raise Stopped

        keep_freed_memory()
        images, *others = [ray.get(ref) for ref in config["inputs"]]
        other = others[0] if others else None
        try:
            if config["trainee"] == "teacher":
                plan = TeacherPlan.model_validate_json(config["plan"])
                return train_teacher(plan, images, other, report, should_stop)
            member = MemberPlan.model_validate_json(config["plan"])
            return train_member(member, images, report, should_stop, other)
        except Stopped:
            return None
        except RayError:
            raise  # the cluster's fault, not the member's
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.lineno}"
            return Raised(type(error).__name__, str(error), where)

    return loop
