"""The cohort of `end_to_end`, fixed here, and how it is run through `gamectl submit`.

In: a folder of photos, and a number of epochs. Out: a `CohortRun`, read from the store and from
/proc: who was trained when, with which weights, and which processes used the processor. Next on the
path: `bare_loop`, which trains the same plans again.
"""

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.plan import MemberPlan
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.bench import processes
from tests.bench.e2e_timeline import Timeline, Training
from tests.bench.turns import TICKS_A_SECOND, RunClock, Running, until_ended

NUM_SLOTS = 2

Purchases = list[dict[str, Any]]
BOOST: dict[str, Any] = {"item": "neural-turbo-boost", "blocks": 1}
MOMENTUM: dict[str, Any] = {"item": "speed-boost"}
TURNED: Purchases = [
    {"item": "whirl-and-swirl"},
    {"item": "tokyo-data-drift"},
    {"item": "flip-trick"},
]
HIDDEN: Purchases = [{"item": "cutout-chaos"}, {"item": "drop-shield", "rate": 0.2}]
BLENDED: Purchases = [
    {"item": "mixup-mixer"},
    {"item": "flip-trick", "horizontal": 0.5, "vertical": 0},
]


def _ensemble(*members: dict[str, Any], combine: str = "mean") -> dict[str, Any]:
    return {"item": "ensemble-enchanter", "combine": combine, "members": list(members)}


TWO = _ensemble({}, {"learningRate": 0.005})
THREE = _ensemble({}, {"learningRate": 0.005}, {"seed": 99}, combine="vote")
STACKED = _ensemble({}, {"learningRate": 0.005}, combine="stacking")
TEAMS: dict[str, Purchases] = {
    "boosted-pair": [BOOST, TWO],
    "boosted-turned": [BOOST, *TURNED],
    "plain": [],
    "plain-quick": [MOMENTUM],
    "plain-pair": [TWO],
    "plain-three": [THREE, MOMENTUM],
    "turned": [*TURNED],
    "turned-pair": [STACKED, *TURNED],
    "turned-three": [THREE, *TURNED],
    "hidden": [*HIDDEN],
    "hidden-pair": [TWO, *HIDDEN],
    "blended": [*BLENDED, MOMENTUM],
}
FIRST_TEAMS: dict[str, Purchases] = {
    "plain": [],
    "pair": [TWO],
    "three": [THREE],
    "stacked": [STACKED],
    "boosted": [BOOST],
    "boosted-pair": [BOOST, TWO],
}
"""Of the cohort before it, which finds no cache: a team of every architecture in `TEAMS`."""
QUICK_TEAMS = {team: TEAMS[team] for team in ("boosted-turned", "plain-pair", "turned", "blended")}
QUICK_FIRST = {team: FIRST_TEAMS[team] for team in ("plain", "pair", "boosted")}
"""Both of a quick run."""


class Different(Exception):
    """Both sides were to do the same, and have not."""


@dataclass(frozen=True)
class Member:
    """A member that was trained, and where its weights are."""

    plan: MemberPlan
    sha256: str
    slot_seconds: float
    """Of its attempt."""

    @property
    def boosted(self) -> bool:
        """Whether it has turbo boosts."""
        return self.plan.model.turbo_blocks > 0


@dataclass(frozen=True)
class CohortRun:
    """What became of a cohort. Members and trainings in the order in which they were started."""

    timeline: Timeline
    """Ends with the last job."""
    members: tuple[Member, ...]
    exited_s: float
    cpu_s: dict[str, float]
    """CPU seconds by kind of process."""
    tracking: tuple[tuple[float, float], ...]
    """(seconds since the launch, CPU seconds of tracking until then)."""

    def share(self, boosted: bool) -> float:
        """A part's share of all slot-seconds."""
        of_part = sum(each.slot_seconds for each in self.members if each.boosted is boosted)
        return of_part / sum(each.slot_seconds for each in self.members)


def clean_env(home: Path) -> dict[str, str]:
    """The environment of both sides: a home of its own, no settings of the user's."""
    ours = ("GAME_HOME", "GAME_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "GAME_HOME": str(home), "OMP_NUM_THREADS": "1"}


def write_cohort(
    folder: Path, name: str, teams: dict[str, Purchases], epochs: int, source: str
) -> Path:
    """Writes a cohort file and a loadout a team; JSON is YAML, too."""
    folder.mkdir()
    spec = {
        "budget": 1000,
        "data": {"source": source},
        "resources": {"cpus": 1, "threads": 1},
        # What is left to the end is short then, and so is the wait for the other slot.
        "queue": {"policy": "longest-first"},
    }
    head = {"apiVersion": "game/v1", "kind": "Cohort", "metadata": {"name": name}, "spec": spec}
    (folder / "cohort.yaml").write_text(json.dumps(head))
    for seed, (team, purchases) in enumerate(teams.items()):
        document = {
            "apiVersion": "game/v1",
            "kind": "Loadout",
            "metadata": {"team": team},
            "spec": {"epochs": epochs, "batchSize": 8, "seed": 10 * seed, "purchases": purchases},
        }
        (folder / f"{team}.yaml").write_text(json.dumps(document))
    return folder


def run_cohort(
    name: str, folder: Path, home: Path, env: dict[str, str], clock: RunClock
) -> Running[CohortRun]:
    """Runs `gamectl submit` to its end; raises `Different` where not all went well at once."""
    record = folder / "tracking.json"
    command = [sys.executable, "-m", "tests.bench.e2e_watched", str(record), "submit", str(folder),
               "--cpus", str(NUM_SLOTS)]  # fmt: skip
    cpu: dict[int, tuple[str, float]] = {}
    with subprocess.Popen(command, env=env, stdout=sys.stderr) as process:
        yield from until_ended([process], lambda: _look(process.pid, cpu))
    exited_s, busy_s = clock.ran_s(time.time()), clock.busy_s
    by_kind: dict[str, float] = defaultdict(float)
    for kind, used_s in cpu.values():
        by_kind[kind] += used_s
    used_s = sum(by_kind.values())
    trainings, members, ended_s = _read(name, home, clock)
    return CohortRun(
        timeline=Timeline(ended_s, trainings, used_s, busy_s - used_s),
        members=members,
        exited_s=exited_s,
        cpu_s=dict(by_kind),
        tracking=tuple(
            (clock.ran_s(at), spent_s) for at, spent_s in json.loads(record.read_text())
        ),
    )


def _read(
    name: str, home: Path, clock: RunClock
) -> tuple[tuple[Training, ...], tuple[Member, ...], float]:
    """All members in the order of their starts, and when the last job ended."""
    store = Store(Settings(GAME_HOME=home).store_url)
    try:
        jobs = store.jobs(name)
        found: list[tuple[Training, Member]] = []
        for job in jobs:
            attempts, plans, weights = (
                store.attempts(job.id),
                store.plans(job.id),
                store.weights(job.id),
            )
            if job.phase is not Phase.SUCCEEDED or len(attempts) != len(plans):
                raise Different(f"{job.team}: {job.phase}, {len(attempts)} attempts: {job.message}")
            for attempt in attempts:
                index = attempt.key.index
                epochs = store.epochs(job.id, index, attempt.number)
                first_at, first = epochs[0]
                assert attempt.ended_at is not None
                training = Training(
                    attempt.slot, clock.ran_s(first_at - first.seconds), clock.ran_s(epochs[-1][0])
                )
                member = Member(
                    plans[index],
                    weights[index].weights_sha256,
                    clock.ran_s(attempt.ended_at) - clock.ran_s(attempt.started_at),
                )
                found.append((training, member))
        found.sort(key=lambda each: each[0].started_at)
        ended = [job.ended_at for job in jobs if job.ended_at is not None]
        trainings, members = zip(*found, strict=True)
        return trainings, members, clock.ran_s(max(ended))
    finally:
        store.close()


def _look(controller: int, cpu: dict[int, tuple[str, float]]) -> None:
    """Notes the CPU seconds of the controller and of every process below it."""
    for pid in [controller, *processes.descendants(controller)]:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        used_s = (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND
        if used_s > 0:
            cpu[pid] = ("controller" if pid == controller else _kind(pid), used_s)


def _kind(pid: int) -> str:
    """What a process below the controller is."""
    title = processes.title(pid)
    if title.startswith("ray::Slot"):
        return "slots"
    return next((kind for kind in ("raylet", "gcs_server") if kind in title), "other of Ray's")
