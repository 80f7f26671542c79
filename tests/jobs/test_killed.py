"""Members killed in a process of their own, or out of disk space: resumed, they end the same."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.images import LabelledImages
from jobs.plan import AugmentPlan, MemberPlan, ModelPlan
from tests.jobs.attempts import Attempts, digest, history

REPOSITORY = Path(__file__).parents[2]
MIXED = AugmentPlan(rotate_degrees=15, flip_horizontal_p=0.2, mixup_alpha=0.4)


@pytest.fixture
def folder(plan, labelled, tmp_path) -> Path:
    """What `member_process` reads."""
    changed = plan.model_copy(update={"augment": MIXED, "model": ModelPlan(dropout=0.2)})
    (tmp_path / "plan.json").write_text(changed.model_dump_json())
    np.savez(
        tmp_path / "data.npz",
        images=labelled.images, labels=labelled.labels, groups=labelled.groups,
    )  # fmt: skip
    return tmp_path


def _process(
    folder: Path, mode: str, before: tuple[str, ...] = ()
) -> tuple[int, list[dict[str, Any]]]:
    """Its exit status, and what each training in it came to."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "tests.jobs.member_process", str(folder), mode],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode <= 0, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def _whole(folder: Path, data: LabelledImages) -> tuple[str, list[dict[str, float]]]:
    plan = MemberPlan.model_validate_json((folder / "plan.json").read_bytes())
    whole = Attempts(plan, data, None, None)
    return digest(whole.run()), history(whole.reports)


def test_killed_in_an_epoch_and_in_a_write(folder, labelled):
    status, outcomes = _process(folder, "killed in an epoch")
    assert (status, outcomes) == (-signal.SIGKILL, [])
    assert [file.name for file in (folder / "kept").iterdir()] == ["0.checkpoint"]

    status, outcomes = _process(folder, "killed in a write")
    assert (status, outcomes) == (-signal.SIGXFSZ, [])
    assert len(list((folder / "kept").iterdir())) == 2  # the unfinished file, too

    status, [outcome] = _process(folder, "train")
    assert outcome["lines"] == ["resumed after epoch 1 from the checkpoint"]
    assert (outcome["digest"], outcome["history"]) == _whole(folder, labelled)
    assert outcome["files"] == ["0.checkpoint"]


def _check_full(
    outcomes: list[dict[str, Any]], folder: Path, reason: str, files: list[str]
) -> tuple[str, list[dict[str, float]]]:
    """One epoch, then an error that leaves the first checkpoint alone; returns the resumed bits."""
    full, resumed = outcomes
    assert full["error"] == (
        f"the checkpoint {folder}/kept/0.checkpoint cannot be written: {reason}; make room for "
        "it, or allow writing there: training then goes on from the last "
        "good checkpoint"
    )
    assert len(full["history"]) == 1
    assert full["files"] == files
    assert resumed["lines"] == ["resumed after epoch 1 from the checkpoint"]
    assert resumed["files"] == ["0.checkpoint"]
    return resumed["digest"], resumed["history"]


def test_a_checkpoint_that_grows_too_large(folder, labelled):
    _, outcomes = _process(folder, "file too large")
    after = _check_full(outcomes, folder, "File too large", ["0.checkpoint"])
    assert after == _whole(folder, labelled)


def test_a_full_disk(folder, labelled):
    """A file system of its own, in a mount namespace that ends with the process."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    (folder / "kept").mkdir()
    mount = 'mount -t tmpfs -o size=512k tmpfs "$0" && exec "$@"'
    inside = ("unshare", "--mount", "--user", "--map-root-user", "sh", "-c", mount)
    before = (*inside, str(folder / "kept"))
    if subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted here")
    _, outcomes = _process(folder, "full disk", before)
    reason = "No space left on device"
    after = _check_full(outcomes, folder, reason, ["0.checkpoint", "filler"])
    assert after == _whole(folder, labelled)
