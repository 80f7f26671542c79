"""From a command to the first training step, beside what Ray and torch take by themselves.

In: nothing. Out: a row of seconds from starting `gamectl submit` to the beginning of the first
epoch, less those from starting a plain script to an actor of it that has imported torch. Store,
MLflow's database and image cache are there already; each time a team hands in its next revision.

Both processes are started anew, in turns. The first epoch tells when it began: it is reported with
its duration.
"""

import contextlib
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.rows import Row, at_most, figure, print_rows

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "monkeys"
NUM_CPUS = 2
PATIENCE_S = 120.0
LOOK_EVERY_S = 0.1
BARE = f"""
import time
import ray

ray.init(num_cpus={NUM_CPUS}, include_dashboard=False)

@ray.remote
class Actor:
    def __init__(self):
        import torch

    def ready(self):
        return time.time()

print(ray.get(Actor.remote().ready.remote()))
"""


def rows(quick: bool) -> Iterator[Row]:
    """The difference, and both times."""
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        game = Game(Path(made))
        game.first_step_s(0)  # makes store, databases and image cache
        for turn in range(1, 2 if quick else 6):
            theirs.append(bare_actor_s())
            ours.append(game.first_step_s(turn))
    took_s, bare_s = statistics.median(ours), statistics.median(theirs)
    more_s = statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
    beside = "ray.init and an actor that imports torch"
    yield at_most("first step after gamectl submit, more", more_s, "s", 2.0, None, beside)
    yield figure("first step after gamectl submit", took_s, "s", bare_s, beside)


class Game:
    """A cohort of one team in a home folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "cohort"
        self._folder.mkdir()
        self._store = folder / "home" / "store.db"
        self._env = {**os.environ, "GAME_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
        photos = str(PHOTOS) if PHOTOS.is_dir() else "drawn"
        document = {
            "apiVersion": "game/v1",
            "kind": "Cohort",
            "metadata": {"name": "bench"},
            "spec": {"limits": {"epochs": 100}, "data": {"source": photos}},
        }
        (self._folder / "cohort.yaml").write_text(json.dumps(document))  # JSON is YAML, too

    def first_step_s(self, turn: int) -> float:
        """Seconds to the first step of another revision; the command is then interrupted."""
        loadout = {
            "apiVersion": "game/v1",
            "kind": "Loadout",
            "metadata": {"team": "team"},
            "spec": {"learningRate": 0.01 + turn / 1000},
        }
        (self._folder / "team.yaml").write_text(json.dumps(loadout))
        words = [sys.executable, "-m", "orchestrator", "submit", str(self._folder)]
        started_at = time.time()
        with subprocess.Popen(
            [*words, "--cpus", str(NUM_CPUS)], env=self._env, stdout=sys.stderr
        ) as process:
            try:
                began_at = self._first_epoch_after(started_at)
            finally:
                process.send_signal(signal.SIGINT)
        return began_at - started_at

    def _first_epoch_after(self, started_at: float) -> float:
        query = "SELECT min(at - seconds) FROM epochs WHERE epoch = 1 AND at > ?"
        while time.time() < started_at + PATIENCE_S:
            time.sleep(LOOK_EVERY_S)
            # Looking must not make what the command is about to make.
            if not self._store.exists():
                continue
            with (
                contextlib.closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True)) as db,
                contextlib.suppress(sqlite3.OperationalError),
            ):
                (began_at,) = db.execute(query, (started_at,)).fetchone()
                if began_at is not None:
                    return float(began_at)
        raise TimeoutError(f"nothing was trained within {PATIENCE_S:g} s")


def bare_actor_s() -> float:
    """Seconds to an actor that has imported torch."""
    started_at = time.time()
    done = subprocess.run(
        [sys.executable, "-c", BARE], check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout.split()[-1]) - started_at


if __name__ == "__main__":
    print_rows(rows, "The first training step after gamectl submit, beside Ray and torch alone.")
