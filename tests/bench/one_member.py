"""One more member with nothing to train: what the way to a slot and back costs.

In: nothing. Out: rows of milliseconds a further member, in steady state, beside Ray Tune with
reused actors and a `TorchTrainer` of one worker, on the same local Ray and with as many at a time.

Members train for some milliseconds, on 12 images of 8 px. What the training function takes alone,
in as many plain processes, is subtracted. The first row has the real controller, slots and Ray, and
`Books` in memory for a store; the second one has the real store, artifacts and MLflow, and ends
when MLflow shows the last member. In both the last member of each job diverges, so that there is no
model to log; it is not counted.
"""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import ray
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from jobs.plan import MemberPlan
from orchestrator.admission.cohort import Resources
from orchestrator.artifacts import Artifacts
from orchestrator.cluster.connection import ray_cluster
from orchestrator.cluster.room import Room
from orchestrator.cluster.slots import RaySlots
from orchestrator.control.controller import Controller
from orchestrator.phases import Phase
from orchestrator.results.truth import validation_truth
from orchestrator.state import Job
from orchestrator.store import Ledger, NewJob, Store
from orchestrator.tracking.background import Tracker
from orchestrator.tracking.client import connect
from orchestrator.tracking.projection import Projection
from tests.bench.books import NAME, Books, NothingKept
from tests.bench.one_member_alone import TINY, few_images, training_alone_ms
from tests.bench.rows import Row, at_most, print_rows
from tests.orchestrator.cohorts import DATA, cohort

NUM_SLOTS = 2
MEMBERS_A_JOB, WARM_UP = 10, 9
PATIENCE_S = 60.0


def rows(quick: bool) -> Iterator[Row]:
    """Ours without and with the records, and the others' beside them."""
    repeats, members, trials, runs = (1, 54, 16, 1) if quick else (5, 144, 48, 3)
    taken: dict[str, list[float]] = {"alone": [], "recorded": [], "tune": [], "trainer": []}
    plain: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as made, ray_cluster(None, NUM_SLOTS):
        for turn in range(repeats):
            folder = Path(made) / str(turn)
            folder.mkdir()
            plain.append(training_alone_ms(NUM_SLOTS))
            taken["alone"].append(alone_ms(members, folder))
            taken["recorded"].append(recorded_ms(members, folder))
            taken["tune"].append(tune_ms(trials, folder))
            if turn < runs:
                taken["trainer"].append(trainer_ms(folder))
    ms = {name: statistics.median(each) for name, each in taken.items()}
    training_ms = min(plain)  # the least, so that a busy moment does not make ours look shorter
    for name in ("alone", "recorded"):
        ms[name] -= training_ms / NUM_SLOTS
    note = f"{NUM_SLOTS} slots, less the training's own {training_ms:.1f} ms"
    yield at_most(
        "one more member, controller and slot",
        ms["alone"],
        "ms",
        5.0,
        ms["tune"],
        "a trial of Ray Tune with reuse_actors",
        f"{note}; the store in memory",
    )
    yield at_most(
        "one more member, stored and tracked",
        ms["recorded"],
        "ms",
        40.0,
        ms["trainer"],
        "a run of TorchTrainer with one worker",
        f"{note}; until MLflow shows its epoch and weights",
    )


# --- ours -----------------------------------------------------------------------------------------


class Stopwatch:
    """Sees the controller's rounds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []
        """Times in seconds, and how many members were trained by then."""
        self._counted: dict[int, tuple[Job, int]] = {}

    def look(self, jobs: Sequence[Job]) -> None:
        """Called after every round, whose time it should not add to."""
        for job in jobs:
            if job.id not in self._counted or self._counted[job.id][0] is not job:
                trained = sum(member.phase is Phase.SUCCEEDED for member in job.members)
                self._counted[job.id] = job, trained
        num = sum(trained for _, trained in self._counted.values())
        if num >= WARM_UP and (not self._seen or num > self._seen[-1][1]):
            self._seen.append((time.perf_counter(), num))

    def ms(self, until_s: float | None = None) -> float:
        """A further member's share of the time up to the last one, or longer."""
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return ((until_s or last_s) - first_s) * 1e3 / (last - first)


def alone_ms(num_members: int, folder: Path) -> float:
    """A further member where nothing is kept but the jobs' state, in memory."""
    with contextlib.closing(Store(f"sqlite:///{folder / 'empty.db'}")) as store:
        hand_in(store, num_members)
        jobs = store.jobs(NAME)
        books, watch = Books(jobs, store.plans(jobs[0].id)), Stopwatch()
    run(cast(Store, books), cast(Ledger, books), NothingKept(folder / "alone"), watch)
    return watch.ms()


def recorded_ms(num_members: int, folder: Path) -> float:
    """A further member on the whole way, until MLflow shows it."""
    artifacts, watch = Artifacts(folder / "artifacts"), Stopwatch()
    with contextlib.closing(Store(f"sqlite:///{folder / 'store.db'}")) as store:
        hand_in(store, num_members)
        ledger = store.acquire(NAME, "bench", time.time(), 1e9)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        experiment = connect(uri, folder / "mlartifacts", NAME, create=True)
        with Tracker(lambda: Projection(experiment, store, artifacts, NAME, folder)) as tracker:
            run(store, ledger, artifacts, watch)
            tracker.begin_last_sync()
            while not tracker.wait(PATIENCE_S):
                pass
            until_s = time.perf_counter()
            assert tracker.error is None, tracker.error
    return watch.ms(until_s)


def hand_in(store: Store, num_members: int) -> None:
    """Jobs with so many members to be counted, and some to warm up with."""
    plans = [MemberPlan(data=TINY, epochs=1, seed=seed) for seed in range(MEMBERS_A_JOB)]
    too_fast = plans[-1].optimizer.model_copy(update={"learning_rate": 1e30})
    plans[-1] = plans[-1].model_copy(update={"optimizer": too_fast, "epochs": 3})
    each = (1.0,) * MEMBERS_A_JOB, ("base",) * MEMBERS_A_JOB
    receipt = {"lines": [], "total_bnn": 0, "budget_bnn": 100}
    jobs = [
        NewJob(f"team-{n}", "", receipt, "mean", tuple(plans), *each, min_members=MEMBERS_A_JOB)
        for n in range(1 + num_members // (MEMBERS_A_JOB - 1))
    ]
    rules = cohort().model_dump(mode="json", by_alias=True)
    store.submit(NAME, rules, DATA, jobs, time.time())


def run(store: Store, ledger: Ledger, artifacts: Artifacts, watch: Stopwatch) -> None:
    """The real controller with real slots, until all jobs are over."""
    images = few_images()
    pool = RaySlots(Room.fixed(NUM_SLOTS), Resources(cpus=1), lambda _: images, lambda _: None)
    try:
        Controller(
            cohort=NAME,
            store=store,
            ledger=ledger,
            pool=pool,
            artifacts=artifacts,
            truth=validation_truth(lambda _: images),
            clock=time.time,
            on_change=watch.look,
        ).run()
    finally:
        pool.close()


# --- theirs ---------------------------------------------------------------------------------------


class Nothing(tune.Trainable):  # type: ignore[misc]  # Ray's base classes have no types
    """A trial that has nothing to train, as Ray Tune's documentation has it for reused actors."""

    def setup(self, config: dict[str, Any]) -> None:
        """Takes its seed."""
        self._seed = config["seed"]

    def step(self) -> dict[str, Any]:
        """Its only epoch, and when it was."""
        return {"loss": float(self._seed), "done": True, "at": time.time()}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial's seed."""
        self._seed = new_config["seed"]
        return True


def tune_ms(num_trials: int, folder: Path) -> float:
    """A further trial, once every actor has had some."""
    num = WARM_UP + num_trials
    tuner = tune.Tuner(
        tune.with_resources(Nothing, {"cpu": 1}),
        param_space={"seed": tune.grid_search(list(range(num)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=NUM_SLOTS, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )
    with contextlib.redirect_stdout(sys.stderr):
        results = tuner.fit()
    assert results.num_errors == 0
    at = sorted(float((result.metrics or {})["at"]) for result in results)
    return (at[-1] - at[-1 - num_trials]) * 1e3 / num_trials


def trainer_ms(folder: Path) -> float:
    """A run of a worker group of one."""

    def loop(_config: dict[str, Any]) -> None:
        ray.train.report({"loss": 0.0})

    trainer = TorchTrainer(
        loop,
        train_loop_config={},
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="trainer", storage_path=str(folder)),
    )
    started_s = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        trainer.fit()
    return (time.perf_counter() - started_s) * 1e3


if __name__ == "__main__":
    print_rows(rows, "One more member with nothing to train, beside Ray Tune and TorchTrainer.")
