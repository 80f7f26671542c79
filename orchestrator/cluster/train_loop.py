"""What Ray Train runs in a slot, or in its group of workers: the training of a member or teacher.

In: the plan, references to what it trains on, and how to report. Out: a result, a failure in words,
or None where it was stopped, alike in both trainer modes. Next on the path: `jobs.train`.

What needs torch is imported in the functions that train: the controller imports this module, too.
"""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Literal

import ray
from ray.exceptions import RayError

from jobs.errors import Stopped
from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.places import where
from jobs.plan import EpochReport, MemberPlan, SandboxRules, TeacherPlan
from jobs.values import MemberResult
from orchestrator.cluster.faults import MemberFailed, Seen, seen
from orchestrator.cluster.member_log import member_log

Trainee = Literal["member", "teacher"]
Outcome = MemberResult | Seen | None
"""A result, a failure in words, or None: it was stopped."""
NODE_ID_CHARS = 12
"""As many of a node's id name it."""


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


def train_loop(
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
        plan = plan_of(config["trainee"], config["plan"])
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
        if workers_of(plan) > 1:
            raise MemberFailed(what) from error
        return what


def plan_of(trainee: Trainee, plan_json: str) -> MemberPlan | TeacherPlan:
    """The plan in its JSON form."""
    model = MemberPlan if trainee == "member" else TeacherPlan
    return model.model_validate_json(plan_json)


def workers_of(plan: MemberPlan | TeacherPlan) -> int:
    """How many processes train it together."""
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

    num_workers = workers_of(plan)
    several = num_workers > 1
    leads = not several or ray.train.get_context().get_world_rank() == 0
    self_reported = isinstance(plan, MemberPlan) and plan.custom is not None
    heading = f"{config['run']}, node {node_id()}, host {socket.gethostname()}"
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


def node_id() -> str:
    """The node that this process is on."""
    return str(ray.get_runtime_context().get_node_id())[:NODE_ID_CHARS]
