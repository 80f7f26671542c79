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
and torch would cost it seconds that a class waits for its first step.
"""

import importlib
import logging
import os
import re
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from typing import Any, Literal

import ray
from ray.exceptions import RayError

from jobs.errors import Stopped
from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.places import where
from jobs.plan import EpochReport, MemberPlan, SandboxRules, TeacherPlan
from jobs.values import MemberResult, Place
from orchestrator.cluster.faults import MemberFailed, Seen, cause, seen
from orchestrator.cluster.member_log import member_log
from orchestrator.cluster.placement import current_group
from orchestrator.cluster.updates import TimedReport
from orchestrator.loading import loading

Trainee = Literal["member", "teacher"]
Outcome = MemberResult | Seen | None
"""A result, a failure in words, or None: it was stopped."""
ASK_EVERY_S = 0.5
"""How often a worker group asks its slot between batches whether to stop: it takes milliseconds."""
NODE_ID_CHARS = 12
"""As many of a node's id name it."""


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
        return _node_id()

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
            loop = _train_loop(self.progress, self.stopping)
            scaling = ScalingConfig(num_workers=0)
        else:
            me = ray.get_runtime_context().current_actor
            loop = _train_loop(
                lambda report: bool(ray.get(me.progress.remote(report))),
                at_most_every(ASK_EVERY_S, lambda: bool(ray.get(me.stopping.remote()))),
                begin=lambda: me.begin.remote(run, current_group()),
            )
            plan = _plan(trainee, plan_json)
            scaling = ScalingConfig(
                num_workers=_num_workers(plan),
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


def at_most_every(
    seconds: float, ask: Callable[[], bool], clock: Callable[[], float] = time.monotonic
) -> Callable[[], bool]:
    """A question that is asked seldom; in between its last answer stands."""
    asked_at, answer = float("-inf"), False

    def asked() -> bool:
        nonlocal asked_at, answer
        if clock() - asked_at >= seconds:
            asked_at, answer = clock(), ask()
        return answer

    return asked


def _train_loop(
    progress: Callable[[EpochReport], bool],
    should_stop: Callable[[], bool],
    begin: Callable[[], object] = lambda: None,
) -> Callable[[dict[str, Any]], Outcome]:
    """The function that Ray Train runs; errors are returned, alike in both trainer modes.

    They are raised where other workers would wait for the one that met them.
    """

    def loop(config: dict[str, Any]) -> Outcome:
        begin()
        keep_freed_memory()
        plan = _plan(config["trainee"], config["plan"])
        with _share_of_gpu(plan):
            return _outcome(plan, partial(_train, plan, config, progress, should_stop))

    return loop


@contextmanager
def _share_of_gpu(plan: MemberPlan | TeacherPlan) -> Iterator[None]:
    """Keeps a training on a GPU to its share of the memory, and gives that back at its end.

    Its errors are to be handled within: one that is still on its way holds on to the network.
    """
    if plan.device == "cpu" or (isinstance(plan, MemberPlan) and plan.custom is not None):
        yield  # a team's own code trains in a process of its own
        return
    from jobs.gpu import give_back_memory, keep_to_share

    keep_to_share(ray.get_runtime_context().get_assigned_resources().get("GPU", 1))
    try:
        yield
    finally:
        give_back_memory()


def _outcome(plan: MemberPlan | TeacherPlan, train: Callable[[], MemberResult]) -> Outcome:
    try:
        return train()
    except Stopped:
        return None
    except RayError:
        raise  # the cluster's fault, not the member's
    except Exception as error:
        what = seen("training", error)
        if _num_workers(plan) > 1:
            raise MemberFailed(what) from error
        return what


def _plan(trainee: Trainee, plan_json: str) -> MemberPlan | TeacherPlan:
    model = MemberPlan if trainee == "member" else TeacherPlan
    return model.model_validate_json(plan_json)


def _num_workers(plan: MemberPlan | TeacherPlan) -> int:
    return plan.workers if isinstance(plan, MemberPlan) else 1


def _train(
    plan: MemberPlan | TeacherPlan,
    config: dict[str, Any],
    progress: Callable[[EpochReport], bool],
    should_stop: Callable[[], bool],
) -> MemberResult:
    import ray.train

    from jobs.custom.parent import train_custom
    from jobs.teacher_training import train_teacher
    from jobs.train import train_member

    num_workers = _num_workers(plan)
    several = num_workers > 1
    leads = not several or ray.train.get_context().get_world_rank() == 0
    self_reported = isinstance(plan, MemberPlan) and plan.custom is not None
    heading = f"{config['run']}, node {_node_id()}, host {socket.gethostname()}"
    # Ray Train repeats every report at the level INFO; the log has them in a line each.
    logger = logging.getLogger("ray.train")
    if logger.level != logging.WARNING:  # setting it makes all loggers forget what they know
        logger.setLevel(logging.WARNING)
    if several:
        heading += f", the first of {num_workers} workers"
    with member_log(config["log"] if leads else None, heading) as log:
        images_ref, *others = config["inputs"]
        images = _images(images_ref)
        other = ray.get(others[0]) if others else None

        def report(epoch: EpochReport) -> None:
            if not several:  # it would wait for the other workers, which report nothing
                ray.train.report(epoch.model_dump())
            log.epoch(epoch, plan.epochs, self_reported)
            if progress(epoch):
                raise Stopped

        if isinstance(plan, TeacherPlan):
            return train_teacher(plan, images, other, report, should_stop)
        checkpoint = where(config["checkpoint"]) if config["checkpoint"] else None
        if self_reported:
            rules = SandboxRules.model_validate_json(config["sandbox"] or "{}")
            return train_custom(
                plan, images, report, should_stop, other, checkpoint, log.say, rules, log.output
            )
        return train_member(plan, images, report, should_stop, other, checkpoint, log.say)


@lru_cache(maxsize=1)
def _images(ref: Any) -> LabelledImages:
    """The images of a reference, which stay mapped for the next member: most train on the same."""
    images: LabelledImages = ray.get(ref)
    return images


def _node_id() -> str:
    return str(ray.get_runtime_context().get_node_id())[:NODE_ID_CHARS]
