"""How many slots to have: counted again where nodes come and go, and what is given back."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.admission.cohort import Resources
from orchestrator.cluster.room import (
    LOOK_EVERY_S,
    MOST_WAITING,
    NODES_COME_WITHIN_S,
    PLACED_WITHIN_S,
    Held,
    Room,
    num_at_a_time,
    surplus,
)
from orchestrator.control.serve import num_ahead
from orchestrator.errors import ClusterError
from orchestrator.forecasting.capacity import Machine


@dataclass
class Nodes:
    """Nodes that hold one member each, and how often they were counted."""

    number: int = 0
    counted: int = 0
    now: float = field(default=100.0)

    def count(self) -> int:
        self.counted += 1
        if self.number == 0:
            raise ClusterError("no node has a CPU")
        return self.number

    def largest(self) -> Machine:
        return Machine(float(self.number), 0, 1)

    def room(self, **given: object) -> Room:
        return Room(self.count, self.largest, clock=lambda: self.now, **given)


def test_a_ray_of_our_own_is_counted_once_and_nothing_waits_there() -> None:
    nodes = Nodes(2)
    room = nodes.room()
    nodes.number, nodes.now = 5, 1e6
    room.look()
    assert (room.fits, room.most_slots, nodes.counted) == (2, 2, 1)
    assert not room.nodes_may_come


def test_a_ray_of_our_own_without_room_says_so_at_once() -> None:
    room = Nodes(0).room()
    assert (room.fits, room.most_slots, room.lack) == (0, 0, "no node has a CPU")
    assert not room.nodes_may_come


def test_where_nodes_come_and_go_they_are_counted_again_after_a_while() -> None:
    nodes = Nodes(2)
    room = nodes.room(grows=True)
    nodes.number = 3
    room.look()
    assert room.fits == 2
    nodes.now += LOOK_EVERY_S
    room.look()
    assert (room.fits, room.machine.cpus, room.most_slots) == (3, 3.0, 3 + MOST_WAITING)


def test_where_no_node_has_room_one_may_still_come_but_not_for_ever() -> None:
    nodes = Nodes(0)
    room = nodes.room(grows=True)
    assert room.most_slots == MOST_WAITING
    assert room.nodes_may_come
    nodes.now += NODES_COME_WITHIN_S
    room.look()
    assert not room.nodes_may_come
    assert room.lack == "no node has a CPU"
    nodes.number, nodes.now = 1, nodes.now + LOOK_EVERY_S
    room.look()
    assert (room.fits, room.lack) == (1, None)
    nodes.number, nodes.now = 0, nodes.now + NODES_COME_WITHIN_S - 1
    room.look()
    assert room.nodes_may_come, "the time counts from the last node that had room"


@pytest.mark.parametrize("grows", [False, True])
def test_max_slots_bounds_them_whatever_fits(grows: bool) -> None:
    room = Nodes(5).room(grows=grows, most=3)
    assert (room.fits, room.most_slots) == (3, 3)


@pytest.mark.parametrize("group", [{"trainer": "workers"}, {"workers_per_member": 2}])
def test_with_worker_groups_no_slot_waits_for_room(group: dict[str, Any]) -> None:
    assert num_ahead(Resources()) == MOST_WAITING
    ahead = num_ahead(Resources(**group))
    assert Nodes(5).room(grows=True, num_ahead=ahead).most_slots == 5


SLOTS = (
    Held("busy", "busy", 1.0),
    Held("older wait", "waiting", 20.0),
    Held("newer wait", "waiting", 30.0),
    Held("long idle", "idle", 10.0),
    Held("idle", "idle", 15.0),
    Held("just idle", "idle", 39.0),
)


@pytest.mark.parametrize(
    ("num_wanted", "given_back"),
    [
        (7, []),
        (6, []),
        (5, ["newer wait"]),
        (4, ["newer wait", "older wait"]),
        (3, ["newer wait", "older wait", "long idle"]),
        (1, ["newer wait", "older wait", "long idle", "idle"]),
        (0, ["newer wait", "older wait", "long idle", "idle"]),
    ],
)
def test_what_waits_is_given_back_first_then_what_is_idle_and_never_what_is_busy(
    num_wanted: int, given_back: list[str]
) -> None:
    assert surplus(SLOTS, num_wanted, now=40.0, keep_idle_s=10.0) == given_back


def test_as_many_train_at_a_time_as_fit_or_as_are_held_where_others_have_the_rest() -> None:
    slots = [Held("a", "busy", 0.0), Held("b", "waiting", 100.0), Held("c", "waiting", 100.0)]
    assert num_at_a_time(slots, 2, now=100.0 + PLACED_WITHIN_S) == 2
    assert num_at_a_time(slots, 2, now=101.0 + PLACED_WITHIN_S) == 1
    assert num_at_a_time(slots[:1], 2, now=1e6) == 2
    assert num_at_a_time(slots, 0, now=1e6) == 0
