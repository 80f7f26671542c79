"""A member that trains in a process of its own, to be killed there or to meet a full disk.

`python -m tests.jobs.member_process FOLDER MODE` trains the plan in FOLDER/plan.json on
FOLDER/data.npz with the checkpoint FOLDER/kept/0.checkpoint; a line of JSON a training comes out.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from jobs.errors import CheckpointError
from jobs.images import LabelledImages
from jobs.plan import EpochReport, MemberPlan
from jobs.train import train_member
from tests.jobs.attempts import digest, history

# The most that a file may hold where a disk is to be full: less than any checkpoint.
SMALL_BYTES = 10_000


def limit_file_size(_: EpochReport) -> None:
    """From now on, no file of this process may be as large as a checkpoint."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_BYTES, resource.RLIM_INFINITY))


def main(folder: Path, mode: str) -> None:
    plan = MemberPlan.model_validate_json((folder / "plan.json").read_bytes())
    data = LabelledImages(**np.load(folder / "data.npz"))
    path = folder / "kept" / "0.checkpoint"
    filler = path.with_name("filler")

    def train(
        on_epoch: Callable[[EpochReport], None] = lambda _: None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        reports: list[EpochReport] = []
        lines: list[str] = []

        def report(epoch: EpochReport) -> None:
            reports.append(epoch)
            on_epoch(epoch)

        outcome = {"lines": lines}
        try:
            result = train_member(
                plan, data, report, should_stop, checkpoint=path, say=lines.append
            )
            outcome |= {"digest": digest(result)}
        except CheckpointError as error:
            outcome |= {"error": str(error)}
        outcome |= {
            "history": history(reports),
            "files": sorted(file.name for file in path.parent.iterdir()),
        }
        sys.stdout.write(json.dumps(outcome) + "\n")

    def fill_disk(_: EpochReport) -> None:
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    match mode:
        case "train":
            train()
        case "killed in an epoch":
            num_batches = iter(range(1_000_000))

            def kill_late() -> bool:
                if next(num_batches) == 8:
                    os.kill(os.getpid(), signal.SIGKILL)
                return False

            train(should_stop=kill_late)
        case "killed in a write":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            train(limit_file_size)
        case "file too large":
            train(limit_file_size)
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            train()
        case "full disk":
            train(fill_disk)
            filler.unlink()
            train()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
