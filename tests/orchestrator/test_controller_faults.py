"""What goes wrong while a cohort runs: the store, the cluster, the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import DataError
from jobs.plan import MemberPlan
from orchestrator.artifacts import Artifacts
from orchestrator.cluster.updates import Failed, Update
from orchestrator.errors import InputsFailed, StoreError, StoreUnavailable
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.schedule import SlotState
from orchestrator.state import Job, MemberKey
from orchestrator.store import Ledger, Store, TrainedWeights
from tests.orchestrator.cohorts import new_job
from tests.orchestrator.pretended import LOST, Clock, PretendedSlots, Run, hand_in, trains


def test_what_slots_told_while_the_store_was_away_is_not_lost(
    store: Store, run: Run, tmp_path: Path
) -> None:
    hand_in(store, new_job("a", num_members=2), new_job("b"))

    class Flaky(Ledger):
        """A ledger whose database does not answer for a while."""

        calls = 0

        def succeed(self, *given: object) -> Job:
            Flaky.calls += 1
            if Flaky.calls in (1, 2, 5):
                raise StoreUnavailable("the store did not answer")
            return super().succeed(*given)

    ledger = store.acquire("small", "test", 1000.0, 1e9)
    flaky = Flaky(**{name.lstrip("_"): value for name, value in vars(ledger).items()})
    trouble: list[str] = []
    pool = PretendedSlots()
    jobs = run(pool, flaky, on_trouble=trouble.append)
    assert [job.phase for job in jobs] == [Phase.SUCCEEDED] * 2
    assert len(trouble) == 3
    assert len(pool.started) == 3  # nothing was trained twice
    assert [m.epoch for job in jobs for m in job.members] == [2, 2, 2]
    assert all(len(store.epochs(*key, 1)) == 2 for key in ((1, 0), (1, 1), (2, 0)))


def test_a_store_that_refuses_is_not_asked_for_ever(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))

    class Refusing(Ledger):
        """A ledger whose database does not take a member's end, now or later."""

        def succeed(self, *_given: object) -> Job:
            raise StoreError("the store refused: no such column")

    ledger = store.acquire("small", "test", 1000.0, 1e9)
    refusing = Refusing(**{name.lstrip("_"): value for name, value in vars(ledger).items()})
    with pytest.raises(StoreError, match="no such column"):
        run(PretendedSlots(), refusing)
    assert store.job(1).members[0].phase is Phase.PENDING  # for a controller of a mended release


def test_members_that_fit_nowhere_are_given_up_once_no_node_is_waited_for(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"))
    pool = PretendedSlots(names=())
    asked: list[int] = []

    def unfit(_: object) -> str:
        asked.append(pool.polls)
        return "no node has a CPU"

    (job,) = run(pool, unfit=unfit, nodes_may_come=lambda: pool.polls < 5)
    assert asked == [5]
    assert (job.phase, job.reason) == (Phase.FAILED, Reason.UNSCHEDULABLE)
    assert (job.message, job.blame) == ("no node has a CPU", Blame.CLUSTER)


def test_members_are_given_up_where_nodes_go_away_later_and_none_comes(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"), new_job("b"))

    class Leaving(PretendedSlots):
        """The only node trains nobody and leaves; then others are waited for in vain."""

        def states(self) -> list[SlotState]:
            return []

    pool = Leaving()
    jobs = run(
        pool,
        unfit=lambda _: "no node has a CPU" if pool.polls > 3 else None,
        nodes_may_come=lambda: 3 < pool.polls < 9,
    )
    assert [(job.phase, job.reason) for job in jobs] == [(Phase.FAILED, Reason.UNSCHEDULABLE)] * 2
    assert pool.polls == 9


def test_members_that_fit_a_node_that_came_late_train_there(store: Store, run: Run) -> None:
    hand_in(store, new_job("a"))

    class Late(PretendedSlots):
        def states(self) -> list[SlotState]:
            return super().states() if self.polls > 4 else []

    pool = Late()
    (job,) = run(pool, unfit=lambda _: None, nodes_may_come=lambda: pool.polls < 5)
    assert job.phase is Phase.SUCCEEDED


def test_checkpoints_are_kept_between_attempts_and_dropped_at_the_end(
    store: Store, run: Run, tmp_path: Path
) -> None:
    hand_in(store, new_job("a"))
    written: list[Path] = []

    class Checkpointing(PretendedSlots):
        def start(self, slot: str, *given: object) -> None:
            super().start(slot, *given)
            path = Path(self.places[-1].checkpoint)
            assert path.exists() == bool(written)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"state")
            written.append(path)

    def outcome(key: MemberKey, attempt: int) -> Update:
        return Failed(key, attempt, LOST) if attempt == 1 else trains(key, attempt)

    pool = Checkpointing(outcome=outcome)
    run(pool)
    assert len(written) == 2
    assert written[0] == written[1]
    assert not written[0].exists()
    assert pool.places[0].log != pool.places[1].log


@pytest.mark.parametrize("error", [OSError("the disk is away"), InputsFailed("no memory")])
def test_results_that_cannot_be_read_for_a_moment_are_combined_later(
    store: Store, run: Run, tmp_path: Path, error: Exception
) -> None:
    hand_in(store, new_job("a"))
    trouble: list[str] = []

    class Blinking(Artifacts):
        def val_probs(self, *given: object) -> object:
            if len(trouble) < 2:
                raise error
            return super().val_probs(*given)

    pool, clock = PretendedSlots(), Clock()

    def say(text: str) -> None:
        trouble.append(text)
        clock.now -= 3600.0  # somebody sets it right, and waits are over all the same

    (job,) = run(pool, artifacts=Blinking(tmp_path), on_trouble=say, clock=clock)
    assert (job.phase, job.val_accuracy) == (Phase.SUCCEEDED, 1.0)
    assert len(trouble) == 2
    assert len(pool.started) == 1


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b"torn"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK\x03\x04"),  # numpy takes it for an archive
        lambda path: np.save(path, np.load(path) * np.nan),
    ],
)
def test_a_member_whose_results_are_gone_is_trained_again(
    store: Store, run: Run, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    hand_in(store, new_job("a", num_members=2))

    class Losing(Artifacts):
        def save(self, job: Job, index: int, *given: Any) -> TrainedWeights:
            saved = super().save(job, index, *given)
            if (index, len(pool.started)) == (1, 2):
                damage(self.path(saved.val_probs))
            return saved

    pool = PretendedSlots()
    (job,) = run(pool, artifacts=Losing(tmp_path))
    assert (job.phase, job.reason) == (Phase.SUCCEEDED, Reason.COMPLETED)
    assert [key.index for key, _ in pool.started] == [0, 1, 1]
    (warning,) = [e for e in store.events("small") if e.reason == Reason.STORAGE]
    assert "it is trained again" in warning.message


def test_what_takes_long_to_fetch_is_fetched_before_the_teams_time_begins(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("a"), retry={"clusterRetries": 1})

    class Slow(PretendedSlots):
        def prepare(self, plan: MemberPlan) -> None:
            super().prepare(plan)
            (job,) = store.jobs("small")
            active.append(job.active_since)
            if len(self.prepared) == 1:
                raise DataError("the teacher is away")

    active: list[float | None] = []
    (job,) = run(pool := Slow())
    assert (job.phase, job.members[0].attempt) == (Phase.SUCCEEDED, 2)
    assert active == [None, None]
    assert [attempt for _, attempt in pool.started] == [2]
    why = "its images or its teacher cannot be read: the teacher is away"
    assert [why in event.message for event in store.events("small")].count(True) == 1


@pytest.mark.parametrize("retries", [0, 1, 2, 4])
def test_results_that_are_lost_every_time_end_the_job(
    retries: int, store: Store, run: Run, tmp_path: Path
) -> None:
    hand_in(store, new_job("a", num_members=2), retry={"clusterRetries": retries})

    class Leaky(Artifacts):
        def save(self, job: Job, index: int, *given: Any) -> TrainedWeights:
            saved = super().save(job, index, *given)
            if index == 1:
                self.path(saved.val_probs).unlink()
            return saved

    pool = PretendedSlots()
    (job,) = run(pool, artifacts=Leaky(tmp_path))
    assert (job.phase, job.reason, job.blame) == (Phase.FAILED, Reason.STORAGE, Blame.CLUSTER)
    assert "its results are gone" in job.message
    assert len(pool.started) == 2 + retries
    # Asked for, that member is trained again, and no other.
    store.retry("small", "a", 2000.0)
    again = PretendedSlots()
    (job,) = run(again, artifacts=Artifacts(tmp_path))
    assert job.phase is Phase.SUCCEEDED
    assert [key.index for key, _ in again.started] == [1]


def test_a_job_that_was_refused_is_held_against_the_nodes_again_when_it_is_retried(
    store: Store, run: Run
) -> None:
    hand_in(store, new_job("big", epochs=99), new_job("small"))
    calls = {3: lambda: store.retry("small", "big", 1100.0)}
    pool = PretendedSlots(
        outcome=lambda key, attempt: trains(key, attempt) if pool.polls > 6 else None,
        on_poll=lambda n: calls.get(n, lambda: None)(),
    )
    big, _ = run(pool, unfit=lambda plan: "memory: too big" if plan.epochs == 99 else None)
    assert (big.phase, big.reason) == (Phase.FAILED, Reason.UNSCHEDULABLE)
    assert pool.started == [(MemberKey(2, 0), 1)]
