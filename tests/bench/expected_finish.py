"""How far off the expected finish of waiting jobs is at half time, in a real cohort of 40 teams.

In: nothing. Out: JSON on stdout, exit code 1 where a waiting job's expected finish is off by more
than a quarter of the time from the cohort's first start to that job's end.

    python -m tests.bench.expected_finish
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from tests.bench.soak import Run, write_loadouts
from tests.conftest import write_photos

NUM_TEAMS = 40
ALLOWED = 0.25
KINDS: list[list[dict[str, Any]]] = [
    [],
    [{"item": "speed-boost"}, {"item": "drop-shield"}],
    [{"item": "whirl-and-swirl"}, {"item": "flip-trick"}, {"item": "mixup-mixer"}],
    [{"item": "ensemble-enchanter", "members": [{}, {"learningRate": 0.02}]}],
]


@click.command()
@click.option("--epochs", default=40, show_default=True, help="Of each member.")
def main(epochs: int) -> None:
    """Run the cohort, and hold what was expected at half time against what came."""
    with tempfile.TemporaryDirectory(prefix="expected-") as made:
        folder = Path(made)
        write_photos(folder / "data", num_training=40)
        # In blocks of a kind: at half time some kinds have hardly been measured.
        teams = {
            f"team-{number:02}": KINDS[number * len(KINDS) // NUM_TEAMS]
            for number in range(NUM_TEAMS)
        }
        write_loadouts(folder / "cohort", teams, epochs)
        run = Run(folder, "home")
        run.submit()
        seen: list[tuple[float, list[dict[str, Any]]]] = []
        while not run.over():
            seen.append((time.time(), run.jobs()))
            time.sleep(1)
        jobs = {job["team"]: job for job in run.jobs()}
    begun = min(job["started_at"] for job in jobs.values())
    ended = max(job["ended_at"] for job in jobs.values())
    half = (begun + ended) / 2
    at, then = min(seen, key=lambda snapshot: abs(snapshot[0] - half))
    errors = {
        job["team"]: abs(job["expected_finish"] - jobs[job["team"]]["ended_at"])
        / (jobs[job["team"]]["ended_at"] - begun)
        for job in then
        if job["phase"] == "Pending" and job["expected_finish"] is not None
    }
    result = {
        "teams": NUM_TEAMS,
        "makespan_s": round(ended - begun, 1),
        "looked_at": round((at - begun) / (ended - begun), 3),
        "waiting": len(errors),
        "median_error": round(statistics.median(errors.values()), 4),
        "largest_error": round(max(errors.values()), 4),
        "allowed": ALLOWED,
    }
    click.echo(json.dumps(result, indent=2))
    sys.exit(max(errors.values()) > ALLOWED)


if __name__ == "__main__":
    main()
