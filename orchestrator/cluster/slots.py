"""Slots: the pool of warm Ray actors, and what they have to tell.

In: member plans, started by `controller` on a slot of its choice. Out: updates (epochs, results,
failures), fetched with `poll`. How many slots there are follows `room`; what failed is judged by
the rules of `faults`. Next on the path: `controller`, which writes the updates to the store.
"""

import time
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from jobs.images import LabelledImages
from jobs.plan import DataPlan, MemberPlan
from jobs.values import MemberResult, Place, Teaching
from orchestrator.admission.cohort import Resources
from orchestrator.cluster.faults import RAY_LOST, Seen, is_tainted, judge, seen
from orchestrator.cluster.liveness import LivenessProbe, node_is_gone
from orchestrator.cluster.placement import remove_groups
from orchestrator.cluster.room import KEEP_IDLE_S, Room, num_at_a_time, surplus
from orchestrator.cluster.shared_inputs import SharedInputs
from orchestrator.cluster.slot import Slot
from orchestrator.cluster.slot_handle import Handle, get, is_ready
from orchestrator.cluster.train_loop import Outcome
from orchestrator.cluster.updates import Failed, Halted, Progress, TimedReport, Trained, Update
from orchestrator.errors import ClusterError, ClusterLost, first_line
from orchestrator.phases import Reason
from orchestrator.schedule import SlotState
from orchestrator.state import MemberKey

STARTS_IN_A_ROW = 3
"""After so many slots that died before they were ready the cluster is taken to be broken, unless
others are at work: then it is a node, or a GPU."""
STARTS_WITHIN_S = 300.0
"""A slot that is not ready by then hangs: in a GPU's driver, say, or in files that do not come."""
STOPS_WITHIN_S = 30.0
"""A member that has not stopped by then loses its slot: it waits for workers that do not come, or
its code hangs. What it trained up to its last checkpoint is kept."""
DRAIN_EVERY_S = 1.0
"""How often a slot is asked for its epochs. An answer interrupts its training, and the store takes
some milliseconds for what comes; those of a member that has ended come with its end."""


@dataclass
class RaySlots:
    """Slots on the connected Ray cluster, as many as it has `room` for; one that dies is replaced.

    `images` gives the training images that a plan names, `teaching` what a student is given of its
    teacher. Both are asked when the first member needs them; then they are in the object store, and
    every slot of a node maps them.
    """

    room: Room
    resources: Resources
    images: Callable[[DataPlan], LabelledImages]
    teaching: Callable[[MemberPlan], Teaching | None]
    _probe: LivenessProbe = field(default_factory=LivenessProbe.of_connection)
    keep_idle_s: float = KEEP_IDLE_S
    starts_within_s: float = STARTS_WITHIN_S
    stops_within_s: float = STOPS_WITHIN_S
    _slots: dict[str, Handle] = field(default_factory=dict)
    _untold: list[Update] = field(default_factory=list)
    """Kept here until it is returned: one slot's end must not be lost with another's error."""
    _inputs: SharedInputs = field(init=False)
    _num_made: int = 0
    _failed_starts: int = 0
    _litter: bool = False
    """Whether a slot was killed whose worker group may still hold CPUs or GPUs."""
    _just_killed: bool = False

    def __post_init__(self) -> None:
        probe = partial(self._probe.check, now=True)
        self._inputs = SharedInputs(self.images, self.teaching, before_put=probe)

    def want(self, num_slots: int) -> None:
        """Says how many slots there is work for.

        Where nodes may join, some wait for room; where others may need it, what is too much is
        given back. Raises `ClusterLost` where Ray is gone.
        """
        if self.room.grows:
            self._probe.check()
            self.room.look()
        num_slots = min(num_slots, self.room.most_slots)
        if self.room.grows and len(self._slots) > num_slots:
            held = [handle.held for handle in self._slots.values()]
            for name in surplus(held, num_slots, time.monotonic(), self.keep_idle_s):
                ray.kill(self._slots.pop(name).actor)
        while len(self._slots) < num_slots:
            self._add()

    @property
    def num_at_a_time(self) -> int:
        """How many members train at a time, as far as it shows now."""
        held = [handle.held for handle in self._slots.values()]
        return num_at_a_time(held, self.room.fits, time.monotonic())

    def states(self) -> list[SlotState]:
        """The slots that can train, and what they are busy with."""
        up = [slot for slot in self._slots.values() if slot.starting is None]
        return [SlotState(slot.name, slot.key, not slot.waits) for slot in up]

    def node(self, slot: str) -> str:
        """The id of the node that a slot is on."""
        return self._slots[slot].node

    def prepare(self, plan: MemberPlan) -> None:
        """Puts the plan's images and teaching into the object store, where they are not there yet.

        Raises what `images` and `teaching` raise, `ClusterError` where they don't fit, and
        `ClusterLost`.
        """
        self._inputs.of(plan)

    def start(
        self, slot: str, key: MemberKey, attempt: int, plan: MemberPlan, place: Place
    ) -> None:
        """Starts an attempt on a free slot; its plan was prepared, or is now as by `prepare`."""
        handle = self._slots[slot]
        assert handle.key is None, f"{slot} is busy with {handle.key}"
        workers = None
        if self.resources.in_worker_group:
            workers = {"CPU": self.resources.cpus, "GPU": self.resources.gpus}
        inputs = self._inputs.of(plan)
        handle.key, handle.attempt, handle.stop_by = key, attempt, None
        handle.drain_at = time.monotonic() + DRAIN_EVERY_S
        handle.training = handle.actor.train.remote(
            handle.run, "member", plan.model_dump_json(), inputs, workers, place
        )
        handle.waits, handle.group = workers is not None, ""

    def stop(self, slot: str) -> None:
        """Asks the slot to stop its member; `poll` tells when it has, or when it was made to."""
        handle = self._slots[slot]
        if handle.stop_by is None:
            handle.stop_by = time.monotonic() + self.stops_within_s
        handle.actor.stop.remote(handle.run)

    def poll(self, timeout_s: float) -> list[Update]:
        """What happened since the last call; waits up to `timeout_s` for a member to end.

        Raises `ClusterLost` where Ray is gone (`abandon` then tells the rest), and `ClusterError`
        where slots die as soon as they are started.
        """
        waits = [slot.waits_for for slot in self._slots.values()]
        ready: set[Any] = set()
        if waits:
            # Something ready may be the first sign of a lost cluster.
            self._probe.check(now=bool(ray.wait(waits, timeout=timeout_s, fetch_local=False)[0]))
            ready.update(ray.wait(waits, num_returns=len(waits), timeout=0, fetch_local=False)[0])
        else:
            time.sleep(timeout_s)
            self._probe.check()
        for handle in list(self._slots.values()):
            try:
                self._untold.extend(self._updates_of(handle, ready))
            except RayError as error:
                self._untold.extend(self._lose(handle, error))
        if self._litter:
            with suppress(RayError):  # then at the next poll, if Ray is still there
                self._tidy_up()
        return self._tell()

    def abandon(self) -> list[Update]:
        """The end of everything that was on slots of a cluster that is gone, without asking it."""
        handles = list(self._slots.values())
        self._slots.clear()
        lost = [Failed(h.key, h.attempt, RAY_LOST) for h in handles if h.key is not None]
        return [*self._tell(), *lost]

    def _tell(self) -> list[Update]:
        told, self._untold = self._untold, []
        return told

    def close(self) -> None:
        """Ends all slots, whatever they are doing."""
        try:
            self._probe.check(now=True)
        except ClusterLost:
            self._slots.clear()
        for handle in self._slots.values():
            ray.kill(handle.actor)
        self._slots.clear()
        self._probe.close()

    def _add(self) -> None:
        # With a worker group the slot only waits for it: the group holds the resources.
        trains_here = not self.resources.in_worker_group
        name = f"slot-{self._num_made}"
        self._num_made += 1
        actor = (
            ray.remote(Slot)
            .options(
                num_cpus=self.resources.cpus if trains_here else 0,
                num_gpus=self.resources.gpus if trains_here else 0,
                max_concurrency=4,
                max_restarts=0,
            )
            .remote()
        )
        self._slots[name] = Handle(name, actor, actor.ready.remote(), time.monotonic())

    def _updates_of(self, handle: Handle, ready: Container[Any]) -> list[Update]:
        if handle.starting is not None:
            if handle.starting in ready:
                handle.node = get(handle.starting)
                handle.starting, handle.since = None, time.monotonic()
                handle.death = handle.actor.wait_for_death.remote()
                self._failed_starts = 0
            elif not self.room.grows and time.monotonic() >= handle.since + self.starts_within_s:
                raise GetTimeoutError(f"not ready after {self.starts_within_s:g} s")
            return []
        if handle.key is None:
            if handle.death in ready:
                get(handle.death)
            return []
        key, attempt = handle.key, handle.attempt
        if handle.training in ready:
            # The last reports come with the result, or with the drain that was under way.
            reports = get(handle.draining) if handle.draining is not None else []
            outcome, rest = self._outcome(handle.training)
            handle.key = handle.training = handle.draining = handle.asking = None
            handle.waits = False
            handle.since = time.monotonic()
            if isinstance(outcome, Seen) and is_tainted(outcome):
                self._renew(handle)
            ended = _ended(key, attempt, outcome)
            reports += rest
            return [Progress(key, attempt, tuple(reports)), ended] if reports else [ended]
        handle.ask_whether_begun()
        if handle.stop_by is not None and time.monotonic() >= handle.stop_by:
            self._renew(handle)
            return [Halted(key, attempt)]
        if handle.draining is None:
            if time.monotonic() >= handle.drain_at:
                handle.draining = handle.actor.drain.remote()
                handle.drain_at = time.monotonic() + DRAIN_EVERY_S
        elif is_ready(handle.draining):
            reports, handle.draining = get(handle.draining), None
            if reports:
                return [Progress(key, attempt, tuple(reports))]
        return []

    def _outcome(self, training: Any) -> tuple[Outcome, list[TimedReport]]:
        """How an attempt ended, and its last reports; raises `RayError` for a dead slot."""
        try:
            outcome, reports = get(training)
        except RayTaskError as error:
            # The slot lives, but Ray Train could not run the member in it: its worker group was
            # lost, say. (The error of a task may pass for the error of its actor.)
            return seen("trainer", error.cause), []
        return outcome, reports

    def _lose(self, handle: Handle, error: RayError) -> list[Update]:
        self._probe.check(now=True)
        gone = bool(handle.node) and node_is_gone(handle.node)
        fault = judge(seen("ray", error, node_gone=gone))
        if handle.starting is not None and fault.reason is not Reason.NODE_LOST:
            self._failed_starts += 1
            ready = any(slot.starting is None for slot in self._slots.values())
            if self._failed_starts >= STARTS_IN_A_ROW and not ready:
                cause = error.cause if isinstance(error, RayTaskError) else error
                raise ClusterError(
                    f"{self._failed_starts} slots in a row died before they were ready: "
                    f"{first_line(cause)}; `gamectl doctor --deep` looks for the reason"
                )
        self._renew(handle)
        return [Failed(handle.key, handle.attempt, fault)] if handle.key is not None else []

    def _renew(self, handle: Handle) -> None:
        """A new slot for one that is dead, or that no one should train in any more."""
        del self._slots[handle.name]
        ray.kill(handle.actor)  # it may live on where only the way to it is broken
        self._just_killed = self._litter = self.resources.in_worker_group
        self._add()

    def _tidy_up(self) -> None:
        """Frees what the worker groups of killed slots hold, or will once there is room.

        While a member waits here, whose group is not known yet, only groups without room go, and
        once: Ray Train asks for another one within a minute. The rest goes when none waits.
        """
        busy = [handle for handle in self._slots.values() if handle.key is not None]
        waiting = any(handle.waits for handle in busy)
        if self._just_killed or not waiting:
            remove_groups({handle.group for handle in busy}, only_pending=waiting)
            self._just_killed, self._litter = False, waiting


def _ended(key: MemberKey, attempt: int, outcome: Outcome) -> Update:
    if outcome is None:
        return Halted(key, attempt)
    if isinstance(outcome, MemberResult):
        return Trained(key, attempt, outcome.weights, outcome.val_probs)
    return Failed(key, attempt, judge(outcome))
