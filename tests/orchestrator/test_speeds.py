"""Measured speeds over members that are written down, and the benchmark."""

import pytest

from orchestrator.forecasting.speeds import WORKER_GROUP_S, Speeds, factor_here
from orchestrator.phases import Phase
from orchestrator.state import Member, MemberKey


def member(
    index: int, kind: str = "a", work: float = 10.0, epoch_seconds: float | None = None,
    epoch: int = 0, phase: Phase = Phase.PENDING,
) -> Member:  # fmt: skip
    return Member(
        MemberKey(1, index), phase, "", "", None, work, kind, epochs=10,
        epoch=epoch, epoch_seconds=epoch_seconds,
    )  # fmt: skip


def test_nothing_measured_leaves_the_machines_factor() -> None:
    speeds = Speeds.of([member(0)], machine=2.0)
    assert not speeds.measured
    assert speeds.seconds(member(1)) == 20
    assert Speeds().seconds(member(1)) == 10


def test_a_kind_is_corrected_by_the_median_of_its_members() -> None:
    trained = [member(i, epoch_seconds=s) for i, s in enumerate((1.5, 50.0, 1.4))]
    speeds = Speeds.of(trained)
    assert speeds.measured
    assert speeds.seconds(member(9, work=20)) == pytest.approx(30)


def test_other_kinds_are_corrected_by_the_median_over_kinds() -> None:
    trained = [member(i, kind="a", epoch_seconds=3.0) for i in range(5)]
    trained += [member(7, kind="b", epoch_seconds=1.0), member(8, kind="c", epoch_seconds=1.2)]
    assert Speeds.of(trained, machine=7.0).seconds(member(9, kind="d")) == pytest.approx(12)


def test_a_device_that_was_not_measured_is_not_as_fast_as_another_one() -> None:
    trained = [member(0, kind="64px", epoch_seconds=3.0)]
    trained += [member(1, kind="64px augmented cuda", epoch_seconds=0.25)]
    speeds = Speeds.of(trained, machine=2.0)
    assert speeds.factor("128px") == 3.0
    assert speeds.factor("128px bf16 cuda") == 0.25
    assert Speeds.of(trained[:1], machine=0.5).factor("64px cuda") == 0.5


def test_a_members_own_epochs_count_most_and_only_the_rest_is_left() -> None:
    speeds = Speeds(machine=1.0, by_kind={"a": 5.0})
    assert speeds.seconds(member(0, epoch=4, epoch_seconds=2.0)) == 12
    assert speeds.seconds(member(0, epoch=4)) == 30
    assert speeds.seconds(member(0, epoch=10, epoch_seconds=2.0)) == 0
    assert speeds.seconds(member(0, epoch=4, phase=Phase.FAILED)) == 0


def test_members_in_worker_groups_start_slowly_each_of_them_once() -> None:
    alone = Speeds(by_kind={"a": 1.0})
    assert alone.in_worker_groups(False) == alone
    grouped = alone.in_worker_groups(True)
    assert grouped.seconds(member(0)) == WORKER_GROUP_S + 10
    assert grouped.seconds(member(0, epoch=4)) == WORKER_GROUP_S + 6
    assert grouped.seconds(member(0, phase=Phase.RUNNING)) == 10


def test_the_benchmark_gives_a_factor_of_a_machine_that_can_run_the_game() -> None:
    """The reference is a core of a few years ago; a hundredth or a hundred of it is a mistake."""
    assert 0.01 < factor_here() < 100
