"""One of two workers that train members together, without Ray.

`python -m tests.jobs.worker_process FOLDER RANK` trains the cases in FOLDER/cases.json on
FOLDER/data.npz, one after another; a line of JSON a case comes out, and from the first worker the
weights FOLDER/NAME.safetensors.
"""

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from torch import distributed

from jobs.errors import JobsError
from jobs.images import LabelledImages
from jobs.plan import EpochReport, MemberPlan, TeacherSpec
from jobs.teacher import Teaching
from jobs.train import train_member
from tests.jobs.attempts import digest, history

NUM_WORKERS = 2


def main(folder: Path, rank: int) -> None:
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=NUM_WORKERS,
        timeout=timedelta(seconds=120),
    )
    data = LabelledImages(**np.load(folder / "data.npz"))
    for case in json.loads((folder / "cases.json").read_text()):
        sys.stdout.write(json.dumps(outcome(case, data, folder, rank)) + "\n")
        sys.stdout.flush()
    distributed.destroy_process_group()


def outcome(case: dict[str, Any], data: LabelledImages, folder: Path, rank: int) -> dict[str, Any]:
    """How one member's training ended for this worker."""
    reports: list[EpochReport] = []
    lines: list[str] = []
    done = iter(range(10**9))

    def should_stop() -> bool:
        num_batches = next(done)
        if case.get("dies") == [rank, num_batches]:
            os.kill(os.getpid(), signal.SIGKILL)
        return case.get("stops") == [rank, num_batches]

    ending: dict[str, Any] = {}
    try:
        result = train_member(
            MemberPlan.model_validate(case["plan"]),
            data,
            reports.append,
            should_stop,
            _teaching(case),
            Path(case["checkpoint"]) if "checkpoint" in case else None,
            lines.append,
        )
        ending = {"digest": digest(result)}
        if rank == 0:
            (folder / f"{case['name']}.safetensors").write_bytes(result.weights)
    except (JobsError, ValueError) as error:
        ending = {"error": type(error).__name__, "message": str(error)}
    return {**ending, "history": history(reports), "lines": lines}


def _teaching(case: dict[str, Any]) -> Teaching | None:
    if "teacher" not in case:
        return None
    spec = TeacherSpec.model_validate(case["plan"]["distill"]["teacher"])
    given = case["teacher"]
    if given.endswith(".npy"):
        return Teaching(spec, b"", np.load(given))
    return Teaching(spec, Path(given).read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
