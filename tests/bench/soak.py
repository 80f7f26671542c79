"""`make soak`: random kills over a small cohort, and the weights compared byte by byte.

A cohort is run undisturbed once. Then it is run again and again while slots, the controller and the
whole Ray are killed at random moments, until enough kills are done. Every run must end with the
weights and the leaderboard of the undisturbed one.

    python -m tests.bench.soak --kills 60 --seed 1

The seed decides what is killed, and when after training has gone on from the last kill; where it
stands at that moment is up to the machine: a replay repeats the pattern, not the very instruction.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.bench import processes
from tests.conftest import write_photos

GAMECTL = (sys.executable, "-m", "orchestrator")
PATIENCE_S = 600
# A slot starts in seconds, Ray in ten.
KINDS = ("slot",) * 7 + ("controller",) * 2 + ("ray",)
SPEC = {
    "budget": 1000,
    "limits": {"epochs": 1000, "members": 3},
    "data": {"source": "../data"},
    "resources": {"cpus": 1},
    "retry": {"clusterRetries": 1000},
}
LOADOUTS: dict[str, list[dict[str, Any]]] = {
    "plain": [],
    "wild": [
        {"item": "speed-boost"},
        {"item": "mixup-mixer"},
        {"item": "whirl-and-swirl"},
        {"item": "flip-trick"},
    ],
    "trio": [
        {"item": "speed-boost"},
        {"item": "ensemble-enchanter", "members": [{}, {"learningRate": 0.02}, {"seed": 9}]},
    ],
}


class Failed(Exception):
    """A run did not end as the undisturbed one did."""


class Run:
    """One run of the cohort in a home folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._cohort = folder / "cohort"
        self.home = folder / name
        self._env = {**os.environ, "GAME_HOME": str(self.home), "OMP_NUM_THREADS": "1"}

    def gamectl(self, *words: str) -> str:
        """What a command prints; raises `Failed` where it fails."""
        done = subprocess.run(
            [*GAMECTL, *words], env=self._env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Failed(f"gamectl {' '.join(words)}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def submit(self) -> None:
        """Submits the cohort to a controller of its own."""
        self.gamectl("submit", str(self._cohort), "--detach", "--cpus", "2")

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs as `gamectl get jobs` has them."""
        jobs: list[dict[str, Any]] = json.loads(self.gamectl("get", "jobs", "-o", "json"))["jobs"]
        return jobs

    def controller(self) -> int | None:
        """The process that holds the lease, if it is there."""
        cohorts = json.loads(self.gamectl("get", "cohorts", "-o", "json"))["cohorts"]
        holder = cohorts[0]["controller"]
        pid = int(holder.rpartition(":")[2]) if holder else None
        return pid if pid is not None and processes.alive(pid) else None

    def over(self) -> bool:
        """Whether every job has ended."""
        return all(job["ended_at"] is not None for job in self.jobs())

    def wait(self) -> None:
        """Waits until every job has ended and the controller is gone."""
        deadline = time.monotonic() + PATIENCE_S
        while not (self.over() and self.controller() is None):
            if time.monotonic() > deadline:
                raise Failed(f"not over after {PATIENCE_S} s: {self.gamectl('get', 'jobs')}")
            time.sleep(0.5)

    def outcome(self) -> dict[str, str]:
        """What must not depend on accidents: each member's weights, and the leaderboard."""
        phases = {job["team"]: job["phase"] for job in self.jobs()}
        if set(phases.values()) != {"Succeeded"}:
            raise Failed(f"not all jobs succeeded: {self.gamectl('get', 'jobs')}")
        store = Store(Settings(GAME_HOME=self.home).store_url)
        try:
            found = {
                f"{job.team}/{index}": self._sha256(trained.weights)
                for job in store.jobs("soak")
                for index, trained in store.weights(job.id).items()
            }
        finally:
            store.close()
        self.gamectl("score")
        board = json.loads(self.gamectl("leaderboard", "-o", "json"))
        found["leaderboard"] = json.dumps(
            [(row["rank"], row["team"], row["accuracy"]) for row in board["rows"]]
        )
        return found

    def _sha256(self, weights: str) -> str:
        """Of the file itself, not what the store says of it."""
        return hashlib.sha256((self.home / "artifacts" / weights).read_bytes()).hexdigest()


def write_cohort(folder: Path, epochs: int) -> None:
    """Writes the cohort and its photos; JSON is YAML, too."""
    write_photos(folder / "data", num_training=40)
    write_loadouts(folder / "cohort", LOADOUTS, epochs)


def write_loadouts(folder: Path, teams: dict[str, list[dict[str, Any]]], epochs: int) -> None:
    """Writes a cohort file and a loadout a team, from what each buys."""
    folder.mkdir()
    head = {"apiVersion": "game/v1", "kind": "Cohort", "metadata": {"name": "soak"}, "spec": SPEC}
    (folder / "cohort.yaml").write_text(json.dumps(head))
    for seed, (team, purchases) in enumerate(teams.items()):
        document = {
            "apiVersion": "game/v1",
            "kind": "Loadout",
            "metadata": {"team": team},
            "spec": {"epochs": epochs, "seed": seed, "purchases": purchases},
        }
        (folder / f"{team}.yaml").write_text(json.dumps(document))


def disturb(run: Run, chance: random.Random, kills_left: int) -> Counter[str]:
    """Runs the cohort to its end, killing as it goes; returns what was killed."""
    done: Counter[str] = Counter()
    come_to = 0
    run.submit()
    deadline = time.monotonic() + PATIENCE_S
    while not run.over():
        if time.monotonic() > deadline:
            raise Failed(f"nothing new for {PATIENCE_S} s: {run.gamectl('get', 'jobs')}")
        time.sleep(chance.uniform(0.2, 2.0))
        controller = run.controller()
        if controller is None:
            if not run.over():
                run.gamectl("resume", "--detach", "--cpus", "2")
            continue
        # Whoever is killed before it is an epoch further only learns to wait for longer.
        epochs = sum(member["epoch"] for job in run.jobs() for member in job["members"])
        if epochs <= come_to:
            continue
        deadline = time.monotonic() + PATIENCE_S
        if done.total() >= kills_left:
            continue
        come_to = epochs
        kind = chance.choice(KINDS)
        if kind == "controller":
            processes.kill([controller])
        else:
            victims = processes.slots(controller)
            if not victims:
                continue
            processes.kill([chance.choice(victims)] if kind == "slot"
                           else processes.ray(controller))  # fmt: skip
        done[kind] += 1
    run.wait()
    return done


def _outcome_of(run: Run, chance: random.Random, kills_left: int) -> tuple[Counter[str], Any]:
    """What was killed in a run, and how it ended; a controller that is left over is ended, too."""
    try:
        return disturb(run, chance, kills_left), run.outcome()
    finally:
        controller = run.controller()
        if controller is not None:
            processes.kill([*processes.ray(controller), controller])


@click.command()
@click.option("--kills", default=60, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", default=1, show_default=True, help="Decides what is killed, and when.")
@click.option("--epochs", default=300, show_default=True, help="Of each member.")
def main(kills: int, seed: int, epochs: int) -> None:
    """Kill at random until enough was killed; exit code 1 where a run ended differently."""
    chance = random.Random(seed)  # noqa: S311  # a pattern that can be repeated, no secret
    total: Counter[str] = Counter()
    runs = 0
    with tempfile.TemporaryDirectory(prefix="soak-") as made:
        folder = Path(made)
        write_cohort(folder, epochs)
        undisturbed = Run(folder, "undisturbed")
        undisturbed.submit()
        undisturbed.wait()
        expected = undisturbed.outcome()
        click.echo(f"undisturbed: {len(expected) - 1} members", err=True)
        while total.total() < kills:
            run = Run(folder, f"run-{runs}")
            try:
                killed, outcome = _outcome_of(run, chance, kills - total.total())
            except Failed as error:
                click.echo(f"error: seed {seed}, run {runs + 1}: {error}", err=True)
                sys.exit(1)
            total += killed
            runs += 1
            different = sorted(k for k in expected if outcome.get(k) != expected[k])
            click.echo(f"run {runs}: {dict(killed)}, {len(different)} differences", err=True)
            if different or outcome.keys() != expected.keys():
                click.echo(f"error: seed {seed}, run {runs} differs in {different}", err=True)
                sys.exit(1)
    result = {"kills": total.total(), "by_kind": dict(total), "runs": runs, "seed": seed,
              "members_compared": runs * (len(expected) - 1), "differences": 0}  # fmt: skip
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
