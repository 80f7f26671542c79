"""The bare loop: `train_member` for plan after plan in one plain process per core, nothing else.

In: member plans in the order that they are to be taken in, and the decoded images. Out: what every
training took and the SHA-256 of its weights. No Ray, no store, no MLflow, no checkpoints: what is
longer than this is the price of those. Used by `end_to_end`.

Processes take plans from a folder: whoever renames a plan's file first trains it.

    python -m tests.bench.bare_loop FOLDER
"""

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jobs.images import LabelledImages
from jobs.memory import keep_freed_memory
from jobs.plan import EpochReport, MemberPlan
from jobs.train import train_member
from tests.bench.e2e_timeline import Timeline, Training
from tests.bench.turns import RunClock, Running, until_ended


def run_bare(
    folder: Path,
    plans: Sequence[MemberPlan],
    images: LabelledImages,
    images_file: Path,
    num_processes: int,
    env: Mapping[str, str],
    clock: RunClock,
) -> Running[tuple[Timeline, list[str]]]:
    """Trains all plans; returns when what was trained, and each plan's SHA-256 of its weights.

    Raises `CalledProcessError` where a process fails.
    """
    folder.mkdir()
    np.savez(folder / "labels.npz", labels=images.labels, groups=images.groups)
    (folder / "images.npy").symlink_to(images_file)
    for number, plan in enumerate(plans):
        (folder / f"{number:04}.plan").write_text(plan.model_dump_json())
    command = [sys.executable, "-m", "tests.bench.bare_loop", str(folder)]
    # Files, not pipes: nobody reads while the processes run.
    outputs = [folder / f"process-{lane}.jsonl" for lane in range(num_processes)]
    with contextlib.ExitStack() as stack:
        yield from until_ended(
            [
                stack.enter_context(
                    subprocess.Popen(
                        command, env=dict(env), stdout=stack.enter_context(output.open("wb"))
                    )
                )
                for output in outputs
            ]
        )
    makespan_s, busy_s = clock.ran_s(time.time()), clock.busy_s
    done = [
        (lane, json.loads(line))
        for lane, output in enumerate(outputs)
        for line in output.read_text().splitlines()
    ]
    cpu_s = sum({lane: record["cpu_s"] for lane, record in done}.values())
    done.sort(key=lambda each: each[1]["plan"])
    trainings = tuple(
        Training(
            lane=f"process {lane}",
            started_at=clock.ran_s(record["started_at"]),
            ended_at=clock.ran_s(record["ended_at"]),
        )
        for lane, record in done
    )
    timeline = Timeline(makespan_s, trainings, cpu_s, busy_s - cpu_s)
    return timeline, [record["sha256"] for _, record in done]


def taken_plans(folder: Path) -> Iterator[tuple[int, MemberPlan]]:
    """Plans that no other process has taken, in order, until there are none left."""
    for path in sorted(folder.glob("*.plan")):
        mine = path.with_suffix(".taken")
        try:
            path.rename(mine)
        except FileNotFoundError:
            continue
        yield int(path.stem), MemberPlan.model_validate_json(mine.read_bytes())


def main() -> None:
    """One process: images into memory, then plan after plan."""
    folder = Path(sys.argv[1])
    known = np.load(folder / "labels.npz")
    data = LabelledImages(np.load(folder / "images.npy"), known["labels"], known["groups"])
    keep_freed_memory()
    for number, plan in taken_plans(folder):
        reports: list[EpochReport] = []
        times: list[float] = []

        def report(epoch: EpochReport, into: list[EpochReport] = reports, at: list[float] = times
                   ) -> None:  # fmt: skip
            into.append(epoch)
            at.append(time.time())

        result = train_member(plan, data, report)
        record = {
            "plan": number,
            "started_at": times[0] - reports[0].seconds,
            "ended_at": times[-1],
            "cpu_s": time.process_time(),
            "sha256": hashlib.sha256(result.weights).hexdigest(),
        }
        sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
