"""A slot: the warm Ray actor that trains one member after another through Ray Train.

In: a plan, as JSON, and references to the images and to a teacher. Out: the member's result, its
epochs on demand while it trains, and on disk its checkpoint and its log. Next on the path: `slots`,
which keeps a pool of these; a teacher is trained in a slot of its own by `teacher_trainer`.

A slot keeps its process, and with it torch and Ray Train, between members: `TorchTrainer` in local
mode inside a living actor starts in a millisecond, a worker group in 10 to 20 s. With
`trainer: workers` the slot drives a real worker group of one, with `workersPerMember` one of
several, which then holds the resources. Slots hold no credentials of the store or of MLflow; where
artifacts are kept in an object store, they need that one's.

What needs torch is imported in the functions that train: the controller imports this module, too,
and torch would cost it seconds that a class waits for its first step. What trains is `train_loop`.
"""

import importlib
import os
import re
import tempfile
import threading
import time
from collections import deque
from contextlib import ExitStack
from typing import Any

import ray

from jobs.plan import EpochReport
from jobs.values import Place
from orchestrator.cluster.faults import cause
from orchestrator.cluster.placement import current_group
from orchestrator.cluster.train_loop import (
    Outcome,
    Trainee,
    at_most_every,
    node_id,
    plan_of,
    train_loop,
    workers_of,
)
from orchestrator.cluster.updates import TimedReport
from orchestrator.loading import loading

ASK_EVERY_S = 0.5
"""How often a worker group asks its slot between batches whether to stop: it takes milliseconds."""


class Slot:
    """The actor. One thread trains, one waits for its death, and others answer meanwhile."""

    def __init__(self) -> None:
        self._run = ""
        self._stop_run: str | None = None
        """The run that was asked to stop; it may arrive before that run does."""
        # A deque, because one thread appends while another one takes out.
        self._reports: deque[TimedReport] = deque()
        self._begun = ("", "")
        """A run whose workers have been up, and their placement group."""

    def ready(self) -> str:
        """Loads what training needs, and tries the GPU if there is one; returns the node's id."""
        if not ray.get_gpu_ids():
            # Ray hides no GPU from a slot that was given none, and Ray Train would take the first.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        # As Ray and the driver count GPUs, also where they are of several kinds.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        with loading():
            for module in ("ray.train.torch", "jobs.train", "jobs.teacher_training"):
                importlib.import_module(module)
        if ray.get_gpu_ids():  # better found out here than by every team's member
            from jobs.gpu import try_gpu

            try_gpu()
        return node_id()

    def wait_for_death(self) -> None:
        """Does not return: what its caller waits for fails with the actor, which may be idle."""
        threading.Event().wait()

    def train(
        self,
        run: str,
        trainee: Trainee,
        plan_json: str,
        inputs: list[Any],
        workers: dict[str, float] | None,
        place: Place | None = None,
    ) -> tuple[Outcome, list[TimedReport]]:
        """Trains one network; returns its outcome and the reports that were not drained yet.

        `run` names it. `inputs` holds a reference to `LabelledImages`, and where the plan asks for
        it a second one: to a member's `Teaching`, or to the state dict that a teacher starts from.
        `workers` are the resources of each worker of a group, as large as the plan says, or None
        for local mode. Without a `place` neither a checkpoint nor a log is kept.
        """
        from ray.train import RunConfig, ScalingConfig, WorkerGroupError
        from ray.train.torch import TorchTrainer

        self._run = run
        self._reports.clear()
        if workers is None:
            loop = train_loop(self.progress, self.stopping)
            scaling = ScalingConfig(num_workers=0)
        else:
            me = ray.get_runtime_context().current_actor
            loop = train_loop(
                lambda report: bool(ray.get(me.progress.remote(report))),
                at_most_every(ASK_EVERY_S, lambda: bool(ray.get(me.stopping.remote()))),
                begin=lambda: me.begin.remote(run, current_group()),
            )
            plan = plan_of(trainee, plan_json)
            scaling = ScalingConfig(
                num_workers=workers_of(plan),
                use_gpu=workers.get("GPU", 0) > 0,
                resources_per_worker=workers,
            )
        config = {
            "run": run,
            "trainee": trainee,
            "plan": plan_json,
            "inputs": inputs,
            "checkpoint": place.checkpoint if place else None,
            "log": place.log if place else None,
            "sandbox": place.sandbox.model_dump_json() if place else None,
        }
        with ExitStack() as stack:
            storage = None  # local mode keeps nothing
            if workers is not None:
                folder = tempfile.TemporaryDirectory(prefix="gamectl-train-")
                storage = stack.enter_context(folder)
            trainer = TorchTrainer(
                loop,
                train_loop_config=config,
                scaling_config=scaling,
                run_config=RunConfig(name=re.sub(r"\W+", "-", run), storage_path=storage),
            )
            try:
                outcome: Outcome = trainer.fit().return_value
            except WorkerGroupError as error:
                outcome = cause(error.worker_failures)
        return outcome, self.drain()

    def begin(self, run: str, group: str) -> None:
        """That run's workers are up, in that placement group."""
        self._begun = (run, group)

    def group_of(self, run: str) -> str:
        """The placement group of that run's workers; empty before they are up."""
        begun, group = self._begun
        return group if begun == run else ""

    def progress(self, report: EpochReport) -> bool:
        """Takes an epoch's report; returns whether the member should stop."""
        self._reports.append((report, time.time()))
        return self.stopping()

    def stopping(self) -> bool:
        """Whether the member should stop."""
        return self._stop_run == self._run

    def drain(self) -> list[TimedReport]:
        """The reports since the last call."""
        return [self._reports.popleft() for _ in range(len(self._reports))]

    def stop(self, run: str) -> None:
        """Stops that run, if it is the one on the slot, or comes there."""
        self._stop_run = run
