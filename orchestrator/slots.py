"""Slots: the pool of warm Ray actors, and what they have to tell.

In: member plans, started by `controller` on a slot of its choice. Out: news (epochs, results,
failures), fetched with `poll`. Next on the path: `controller`, which writes them to the store.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from jobs.errors import Diverged
from jobs.images import LabelledImages
from jobs.plan import MemberPlan
from jobs.teacher import Teaching
from jobs.train import MemberResult
from orchestrator.cohort import Resources
from orchestrator.errors import ClusterError
from orchestrator.news import Failed, Halted, News, Progress, TimedReport, Trained
from orchestrator.phases import Blame, Reason
from orchestrator.schedule import SlotState
from orchestrator.slot import Raised, Slot
from orchestrator.state import MemberKey
from orchestrator.teachings import TeachingKey, teaching_key

STARTS_IN_A_ROW = 3
"""After so many slots that died before they were ready the cluster is taken to be broken."""


@dataclass
class _Handle:
    """The pool's side of a slot."""

    name: str
    actor: Any
    starting: Any
    node: str = ""
    key: MemberKey | None = None
    attempt: int = 0
    training: Any = None
    draining: Any = None

    @property
    def run(self) -> str:
        assert self.key is not None
        return f"{self.key.job_id}/{self.key.index}/{self.attempt}"


@dataclass
class RaySlots:
    """A fixed number of slots on the connected Ray cluster; one that dies is replaced.

    `data` holds the training images by size in pixels, `teachings` what students are given of their
    teachers; both are put into the object store once and mapped by every slot of a node.
    """

    num_slots: int
    resources: Resources
    data: Mapping[int, LabelledImages]
    teachings: Mapping[TeachingKey, Teaching] = field(default_factory=dict)
    _slots: dict[str, _Handle] = field(default_factory=dict)
    _refs: dict[int, Any] = field(default_factory=dict)
    _teaching_refs: dict[TeachingKey, Any] = field(default_factory=dict)
    _num_made: int = 0
    _failed_starts: int = 0

    def __post_init__(self) -> None:
        # asarray: the images are a memory-mapped file, which other nodes do not have.
        self._refs = {
            size_px: ray.put(replace(images, images=np.asarray(images.images)))
            for size_px, images in self.data.items()
        }
        self._teaching_refs = {key: ray.put(value) for key, value in self.teachings.items()}
        for _ in range(self.num_slots):
            self._add()

    def states(self) -> list[SlotState]:
        """The slots that can train, and what they are busy with."""
        return [SlotState(s.name, s.key) for s in self._slots.values() if s.starting is None]

    def node(self, slot: str) -> str:
        """The id of the node that a slot is on."""
        return self._slots[slot].node

    def start(self, slot: str, key: MemberKey, attempt: int, plan: MemberPlan) -> None:
        """Starts an attempt on a free slot."""
        handle = self._slots[slot]
        assert handle.key is None, f"{slot} is busy with {handle.key}"
        handle.key, handle.attempt = key, attempt
        workers = None
        if self.resources.trainer == "workers":
            workers = {"CPU": self.resources.cpus, "GPU": self.resources.gpus}
        inputs = [self._refs[plan.data.image_size_px]]
        key_of_teaching = teaching_key(plan)
        if key_of_teaching is not None:
            inputs.append(self._teaching_refs[key_of_teaching])
        handle.training = handle.actor.train.remote(
            handle.run, "member", plan.model_dump_json(), inputs, workers
        )

    def stop(self, slot: str) -> None:
        """Asks the slot to stop its member; `poll` tells when it has."""
        self._slots[slot].actor.stop.remote(self._slots[slot].run)

    def poll(self, timeout_s: float) -> list[News]:
        """What happened since the last call; waits up to `timeout_s` for a member to end.

        Raises `ClusterError` where slots die as soon as they are started.
        """
        waits = [ref for s in self._slots.values() for ref in (s.starting, s.training) if ref]
        if waits:
            ray.wait(waits, timeout=timeout_s, fetch_local=False)
        else:
            time.sleep(timeout_s)
        news: list[News] = []
        for handle in list(self._slots.values()):
            try:
                news.extend(self._news_of(handle))
            except RayActorError as error:
                news.extend(self._replace(handle, error))
        return news

    def close(self) -> None:
        """Ends all slots, whatever they are doing."""
        for handle in self._slots.values():
            ray.kill(handle.actor)
        self._slots.clear()

    def _add(self) -> None:
        # With a worker group the slot only waits for it: the group holds the resources.
        trains_here = self.resources.trainer == "local"
        name = f"slot-{self._num_made}"
        self._num_made += 1
        actor = (
            ray.remote(Slot)
            .options(
                num_cpus=self.resources.cpus if trains_here else 0,
                num_gpus=self.resources.gpus if trains_here else 0,
                max_concurrency=3,
                max_restarts=0,
            )
            .remote()
        )
        self._slots[name] = _Handle(name, actor, actor.ready.remote())

    def _news_of(self, handle: _Handle) -> list[News]:
        if handle.starting is not None:
            if _is_ready(handle.starting):
                handle.node = ray.get(handle.starting)
                handle.starting = None
                self._failed_starts = 0
            return []
        if handle.key is None:
            return []
        key, attempt = handle.key, handle.attempt
        if _is_ready(handle.training):
            # The last reports come with the result, or with the drain that was under way.
            reports = ray.get(handle.draining) if handle.draining is not None else []
            ended, rest = _result(key, attempt, handle.training)
            handle.key = handle.training = handle.draining = None
            reports += rest
            return [Progress(key, attempt, tuple(reports)), ended] if reports else [ended]
        if handle.draining is None:
            handle.draining = handle.actor.drain.remote()
        elif _is_ready(handle.draining):
            reports, handle.draining = ray.get(handle.draining), None
            if reports:
                return [Progress(key, attempt, tuple(reports))]
        return []

    def _replace(self, handle: _Handle, error: RayActorError) -> list[News]:
        del self._slots[handle.name]
        if handle.starting is not None:
            self._failed_starts += 1
            if self._failed_starts >= STARTS_IN_A_ROW:
                raise ClusterError(
                    f"{self._failed_starts} slots in a row died before they were ready: "
                    f"{_first_line(error)}"
                )
        self._add()
        if handle.key is None:
            return []
        message = f"{handle.name} was lost: its process ended"
        return [Failed(handle.key, handle.attempt, Reason.SLOT_LOST, message, Blame.CLUSTER)]


def _is_ready(ref: Any) -> bool:
    return bool(ray.wait([ref], timeout=0, fetch_local=False)[0])


def _result(key: MemberKey, attempt: int, training: Any) -> tuple[News, list[TimedReport]]:
    """How an attempt ended, and its last reports; raises `RayActorError` for a dead slot."""
    try:
        outcome, reports = ray.get(training)
    except RayTaskError as error:
        # The slot lives, but Ray Train could not run the member in it: its worker group was lost,
        # say. (Looked at first: the error of a task may pass for the error of its actor.)
        message = f"{type(error.cause).__name__}: {_first_line(error.cause)}"
        return Failed(key, attempt, Reason.TRAINER_FAILED, message, Blame.CLUSTER), []
    except RayActorError:
        raise
    except RayError as error:
        return Failed(key, attempt, Reason.SLOT_LOST, _first_line(error), Blame.CLUSTER), []
    return _ended(key, attempt, outcome), reports


def _ended(key: MemberKey, attempt: int, outcome: MemberResult | Raised | None) -> News:
    if outcome is None:
        return Halted(key, attempt)
    if isinstance(outcome, MemberResult):
        return Trained(key, attempt, outcome.weights, outcome.val_probs)
    if outcome.kind == Diverged.__name__:
        return Failed(key, attempt, Reason.DIVERGED, outcome.message, Blame.TEAM)
    message = f"{outcome.kind}: {outcome.message} ({outcome.where})"
    return Failed(key, attempt, Reason.ERROR, message, Blame.TEAM)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
