"""`make servers`: cohorts at once on real servers, which are killed in the middle.

PostgreSQL holds the store and MLflow's tables, `mlflow server` with passwords and proxied artifacts
stands in front, and one Ray that was started before is joined by a controller for each cohort. Once
all of them train, MLflow shows it and a quarter is trained, both servers are killed; they come back
after epochs that could be told to neither. Afterwards nothing may be missing, and nothing may be
there twice.

    python -m tests.bench.servers --cohorts 8

In: the number of cohorts. Out: a line of JSON with figures; exit code 1 where something is wrong.
Next on the path: `cluster_page`, which starts the servers, and `servers_check`, which looks.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click
import pytest

from orchestrator.control.attend import interruptible
from orchestrator.errors import StoreError, TrackingError
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.terminal.lookup import lease_of
from orchestrator.tracking.client import KEY_TAG, mlflow_errors
from tests.bench import processes
from tests.bench.cluster_page import ROOT, Servers, add_team, page_servers
from tests.bench.servers_check import Check
from tests.conftest import write_photos

GAMECTL = (sys.executable, "-m", "orchestrator")
EPOCHS = 400
KILLED_AT = 0.25
"""When the servers are killed: once this part of all epochs is trained, or later."""
WAIT_S = 1200.0
LOOK_EVERY_S = 1.0
RUNS = "/api/2.0/mlflow/experiments/search?max_results=1"
TEAM_LOOKS = """
import mlflow

client = mlflow.MlflowClient()
(experiment,) = client.search_experiments()
try:
    client.create_run(experiment.experiment_id)
except mlflow.exceptions.MlflowException as error:
    assert "Permission denied" in str(error), error
else:
    raise SystemExit("it wrote")
"""
SPEC = {
    "budget": 1000,
    "limits": {"epochs": 10_000},
    "data": {"source": "../data"},
    "resources": {"maxSlots": 1},
}
TEAMS: dict[str, list[dict[str, Any]]] = {
    "alone": [],
    "pair": [{"item": "ensemble-enchanter", "members": [{}, {"learningRate": 0.02}]}],
}


class Failed(Exception):
    """Something did not come to pass, or was not as promised."""


def play(num_cohorts: int, epochs: int, folder: Path) -> dict[str, Any]:
    """Plays the cohorts, killing both servers in the middle; returns figures.

    Raises `Failed` with all that is wrong.
    """
    began_s = time.monotonic()
    # Short epochs, of which slots have more to tell than to train.
    write_photos(folder / "data", num_training=8)
    names = [f"class-{number}" for number in range(num_cohorts)]
    for number, name in enumerate(names):
        write_cohort(folder / name, name, epochs, seed=number)
    with (
        page_servers(folder, num_cpus=num_cohorts) as servers,
        pytest.MonkeyPatch.context() as set_,
    ):
        for variable, value in servers.env.items():
            set_.setenv(variable, value)
        settings = Settings()
        if servers.mlflow.status_of(RUNS) != HTTPStatus.UNAUTHORIZED:
            raise Failed("MLflow answers somebody without a password")
        looks_only = subprocess.run([sys.executable, "-c", TEAM_LOOKS], env=add_team(servers))
        if looks_only.returncode != 0:
            raise Failed("a team's user of MLflow cannot look, or can write")
        store = Store(settings.store_url)
        try:
            figures = _play(names, servers, store, settings, folder)
            played_s = time.monotonic() - began_s
            check = Check(store, settings)
            for name in names:
                check.cohort(name, len(TEAMS))
        finally:
            store.close()
    took_s = {"played_s": round(played_s, 1), "took_s": round(time.monotonic() - began_s, 1)}
    all_figures = {"cohorts": num_cohorts, **check.figures, **figures, **took_s}
    if check.problems:
        raise Failed("\n".join([*check.problems, json.dumps(all_figures)]))
    return all_figures


def write_cohort(folder: Path, name: str, epochs: int, seed: int) -> None:
    """A cohort of two teams and three members, of which one is like no other cohort's."""
    folder.mkdir()
    head = {"apiVersion": "game/v1", "kind": "Cohort", "metadata": {"name": name}, "spec": SPEC}
    (folder / "cohort.yaml").write_text(json.dumps(head))
    for team, purchases in TEAMS.items():
        document = {
            "apiVersion": "game/v1",
            "kind": "Loadout",
            "metadata": {"team": team},
            "spec": {
                "epochs": epochs,
                "batchSize": 8,
                "seed": seed if team == "alone" else 0,
                "purchases": purchases,
            },
        }
        (folder / f"{team}.yaml").write_text(json.dumps(document))


def _play(
    names: Sequence[str], servers: Servers, store: Store, settings: Settings, folder: Path
) -> dict[str, Any]:
    """From cohorts' folders to cohorts that are over."""
    controllers: set[int] = set()
    try:
        # 1. All cohorts are handed in at once, each to a controller of its own.
        _submit(names, folder)
        # 2. All of them train, MLflow has heard of each, and a good part is done.
        until(lambda: all(_trains(store, name) for name in names), "not all cohorts trained")
        tracked = _Tracked(settings, names)
        until(lambda: tracked.num_cohorts() == len(names), "MLflow never showed all cohorts")
        until(lambda: _trained(store, names) >= KILLED_AT, "it took too long to train a part")
        controllers |= {pid for name in names if (pid := _controller(store, name)) is not None}
        # 3. Both servers are lost in the middle of everything.
        figures = _restart(names, servers, store, folder / "artifacts")
        late = [name for name in names if _is_left(store, name)]
        # 4. Every job ends, and a controller ends once MLflow has everything.
        until(lambda: all(_is_over(store, name) for name in names), "cohorts did not end")
        # 5. One that ended while MLflow was away has told the organizer to do this.
        ended_early = sorted({*names} - {*late})
        for name in ended_early:
            subprocess.run([*GAMECTL, "resume", "--cohort", name], cwd=ROOT, check=True)
        return {**figures, "ended_while_mlflow_was_away": len(ended_early)}
    finally:
        with suppress(StoreError):
            controllers |= {pid for name in names if (pid := _controller(store, name)) is not None}
        processes.kill([pid for pid in controllers if "controller" in processes.title(pid)])


def _submit(names: Sequence[str], folder: Path) -> None:
    submitting = [
        subprocess.Popen(
            [*GAMECTL, "submit", str(folder / name), "--detach"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for name in names
    ]  # fmt: skip
    said = [process.communicate()[0] for process in submitting]
    if any(process.returncode != 0 for process in submitting):
        raise Failed("\n".join(said))


def _restart(
    names: Sequence[str], servers: Servers, store: Store, artifacts: Path
) -> dict[str, Any]:
    """Kills both servers while every cohort trains, and starts them once training has gone on."""
    ended = [name for name in names if not _is_left(store, name)]
    if ended:
        raise Failed(
            f"{', '.join(ended)} ended before the servers were killed: ask for more epochs"
        )
    trained = _trained(store, names)
    killed_s = time.monotonic()
    servers.mlflow.kill()
    servers.database.abandon()
    said = _length_of_logs(artifacts)
    until(lambda: _length_of_logs(artifacts) > said, "nothing was trained without the servers")
    servers.database.start()
    database_s = time.monotonic() - killed_s
    servers.mlflow.start()
    return {
        "trained_when_killed": round(trained, 2),
        "postgres_away_s": round(database_s, 1),
        "mlflow_away_s": round(time.monotonic() - killed_s, 1),
    }


class _Tracked:
    """What MLflow shows of the cohorts, asked as anybody would who knows the password."""

    def __init__(self, settings: Settings, names: Sequence[str]) -> None:
        import mlflow

        self._client = mlflow.MlflowClient(settings.tracking_uri)
        self._names = names
        self._seen: set[str] = set()

    def num_cohorts(self) -> int:
        """Of how many an epoch has been seen."""
        self._seen |= {n for n in self._names if n not in self._seen and self._has_epochs(n)}
        return len(self._seen)

    def _has_epochs(self, name: str) -> bool:
        """Whether it says so; a server that many ask at once may be too busy to answer in time."""
        try:
            with mlflow_errors():
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    return False
                runs = self._client.search_runs(
                    [experiment.experiment_id], filter_string=f"tags.`{KEY_TAG}` LIKE '%/m%'"
                )
        except TrackingError:
            return False
        return any("val_loss" in run.data.metrics for run in runs)


def _length_of_logs(artifacts: Path) -> int:
    """How much members have said; they say every epoch."""
    return sum(log.stat().st_size for log in artifacts.rglob("*.log"))


def _controller(store: Store, name: str) -> int | None:
    """The process that holds a cohort's lease."""
    lease = lease_of(store, name)
    return None if lease is None else int(lease.holder.rpartition(":")[2])


def _trains(store: Store, name: str) -> bool:
    """Whether it has trained for an epoch."""
    return any(member.epoch > 0 for job in store.jobs(name) for member in job.members)


def _trained(store: Store, names: Sequence[str]) -> float:
    """Which part of all epochs is trained."""
    members = [member for name in names for job in store.jobs(name) for member in job.members]
    return sum(member.epoch for member in members) / sum(member.epochs for member in members)


def _is_left(store: Store, name: str) -> bool:
    return any(job.is_left for job in store.jobs(name))


def _is_over(store: Store, name: str) -> bool:
    return _controller(store, name) is None and not _is_left(store, name)


def until(reached: Callable[[], bool], otherwise: str) -> None:
    """Waits for something that other processes do."""
    deadline = time.monotonic() + WAIT_S
    while not reached():
        if time.monotonic() > deadline:
            raise Failed(f"{otherwise}, in {WAIT_S:.0f} s")
        time.sleep(LOOK_EVERY_S)


@click.command()
@click.option("--cohorts", default=8, show_default=True, type=click.IntRange(min=1))
@click.option("--epochs", default=EPOCHS, show_default=True, help="Of each of three members.")
def main(cohorts: int, epochs: int) -> None:
    """Play cohorts on servers that are killed in the middle; exit code 1 if anything is off."""
    with (
        interruptible(lambda: "stopped, and what was started is ended"),
        tempfile.TemporaryDirectory(prefix="servers-", ignore_cleanup_errors=True) as made,
    ):
        try:
            figures = play(cohorts, epochs, Path(made))
        except Failed as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)
    click.echo(json.dumps(figures))


if __name__ == "__main__":
    main()
