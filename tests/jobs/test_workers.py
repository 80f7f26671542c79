"""One member trained by two processes: the numbers of one, the same bits every time."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from jobs.images import LabelledImages
from jobs.plan import (
    AugmentPlan,
    DistillPlan,
    LossPlan,
    MemberPlan,
    ModelPlan,
    OptimizerPlan,
    SchedulePlan,
    TeacherSpec,
)
from jobs.teacher import Teaching, build_classifier
from jobs.train import train_member
from tests.jobs.attempts import history
from tests.jobs.worker_process import NUM_WORKERS

REPOSITORY = Path(__file__).parents[2]
SPEC = TeacherSpec(sha256="0" * 64, image_size_px=16)
CHANGED = AugmentPlan(
    rotate_degrees=15, shift_fraction=0.1, flip_horizontal_p=0.2, blur_strength=2, erase_p=0.5
)
FOCUSED = LossPlan(focus_class="b", focus_weight=5)
TECHNIQUES: dict[str, dict[str, Any]] = {
    # 42 images: the last batch has one, so one of the workers has none.
    "plain": {"batch_size": 41},
    "focused": {"batch_size": 7, "loss": FOCUSED},
    "looked up": {"batch_size": 5, "distill": DistillPlan(teacher=SPEC), "loss": FOCUSED},
    "everything": {
        "batch_size": 9,
        "augment": CHANGED.model_copy(update={"mixup_alpha": 0.4}),
        "model": ModelPlan(turbo_blocks=1, attention=True),
        "schedule": SchedulePlan(kind="plateau", patience_epochs=0),
        "loss": FOCUSED,
        "optimizer": OptimizerPlan(learning_rate=0.02, momentum=0.9, weight_decay=1e-4),
        "distill": DistillPlan(teacher=SPEC),
    },
}
DROPPED: dict[str, Any] = {"augment": CHANGED, "model": ModelPlan(turbo_blocks=1, dropout=0.3)}


def train_together(
    folder: Path, data: LabelledImages, cases: list[dict[str, Any]]
) -> tuple[list[int], list[list[dict[str, Any]]]]:
    """The workers' exit statuses, and what each said of each case."""
    folder.mkdir()
    (folder / "cases.json").write_text(json.dumps(cases))
    np.savez(folder / "data.npz", images=data.images, labels=data.labels, groups=data.groups)
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.worker_process", str(folder), str(rank)],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(NUM_WORKERS)
    ]  # fmt: skip
    outputs = [worker.communicate() for worker in workers]
    for worker, (_, complaint) in zip(workers, outputs, strict=True):
        assert worker.returncode <= 0, complaint
    said = [[json.loads(line) for line in output.splitlines()] for output, _ in outputs]
    return [worker.returncode for worker in workers], said


def shared(plan: MemberPlan, **changes: object) -> MemberPlan:
    return plan.model_copy(update={**changes, "workers": NUM_WORKERS})


@pytest.fixture
def teachings(labelled: LabelledImages, tmp_path: Path) -> dict[str, tuple[Teaching, str]]:
    """A teacher that looks at every batch, and one whose answers are known; with their files."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = safetensors.torch.save(build_classifier("resnet18", 3).state_dict())
    logits = np.random.default_rng(0).normal(size=(len(labelled.labels), 3)).astype(np.float32)
    (tmp_path / "teacher.safetensors").write_bytes(weights)
    np.save(tmp_path / "logits.npy", logits)
    return {
        "everything": (Teaching(SPEC, weights), str(tmp_path / "teacher.safetensors")),
        "looked up": (Teaching(SPEC, b"", logits), str(tmp_path / "logits.npy")),
    }


@pytest.mark.slow
def test_two_workers_give_what_one_gives_and_the_same_bits_every_time(
    plan, labelled, teachings, tmp_path
):
    kept, blocked = tmp_path / "kept" / "0.checkpoint", tmp_path / "blocked"
    blocked.touch()
    dropped = shared(plan, **DROPPED).model_dump(mode="json")

    # A worker dies in the second epoch: the other one does not wait for it.
    dying = {"name": "dies", "plan": dropped, "checkpoint": str(kept), "dies": [1, 8]}
    statuses, [[lost], nothing] = train_together(tmp_path / "lost", labelled, [dying])
    assert (statuses, nothing) == ([0, -signal.SIGKILL], [])
    assert lost["error"] == "WorkerLost"
    assert lost["message"].startswith(
        "worker 0 of the 2 that train the member together lost touch with the others: "
    )
    assert [report["epoch"] for report in lost["history"]] == [1]

    cases = [
        {"name": name, "plan": shared(plan, **changes).model_dump(mode="json")}
        | ({"teacher": teachings[name][1]} if name in teachings else {})
        for name, changes in TECHNIQUES.items()
    ]
    cases += [
        {"name": "whole", "plan": dropped},
        {"name": "resumed", "plan": dropped, "checkpoint": str(kept)},
        {"name": "over", "plan": dropped, "checkpoint": str(kept)},
        {"name": "again", "plan": dropped},
        {"name": "stopped", "plan": dropped, "stops": [1, 3]},
        {
            "name": "wild",
            "plan": shared(plan, optimizer=OptimizerPlan(learning_rate=1e30)).model_dump(
                mode="json"
            ),
        },
        {"name": "blocked", "plan": dropped, "checkpoint": str(blocked / "0.checkpoint")},
        {"name": "three", "plan": {**dropped, "workers": 3}},
    ]
    statuses, [first, second] = train_together(tmp_path / "trained", labelled, cases)
    assert statuses == [0, 0]
    names = [case["name"] for case in cases]
    said = dict(zip(names, first, strict=True))

    # All workers end alike; the first one alone reports.
    for name, mine, other in zip(names, first, second, strict=True):
        assert other["history"] == other["lines"] == [], name
        ends = ("digest", "error", "message")
        assert [mine.get(end) for end in ends] == [other.get(end) for end in ends], name

    # 1. Up to rounding, what one worker gives.
    for name, changes in TECHNIQUES.items():
        reports: list[Any] = []
        teaching = teachings[name][0] if name in teachings else None
        alone = train_member(
            plan.model_copy(update=changes), labelled, reports.append, None, teaching
        )
        expected = safetensors.torch.load(alone.weights)
        weights = safetensors.torch.load(
            (tmp_path / "trained" / f"{name}.safetensors").read_bytes()
        )
        for key, value in expected.items():
            torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5)
        for mine, report in zip(said[name]["history"], history(reports), strict=True):
            assert mine == pytest.approx(report, rel=1e-3), name

    # 2. With masks of each worker's own: the same bits, resumed or not, or only evaluated.
    assert said["resumed"]["lines"] == ["resumed after epoch 1 from the checkpoint"]
    for name in ("resumed", "over", "again"):
        assert said[name]["digest"] == said["whole"]["digest"], name
        assert said[name]["history"] == said["whole"]["history"], name

    # 3. What ends one worker ends all.
    assert [said[name].get("error") for name in ("stopped", "wild", "blocked", "three")] == [
        "Stopped", "Diverged", "CheckpointError", "ValueError",
    ]  # fmt: skip
    assert said["three"]["message"] == (
        "the plan's number of workers is 3, and the process group's is 2: start as many processes "
        "as the plan says"
    )


def test_a_plan_of_several_workers_is_not_trained_by_one(plan, labelled):
    with pytest.raises(ValueError, match="is 2, and the process group's is 1: start as many"):
        train_member(shared(plan), labelled, lambda _: None)


def test_a_plan_of_one_worker_is_written_as_before_there_were_several(plan):
    assert "workers" not in plan.document()
    assert shared(plan).document()["workers"] == NUM_WORKERS
    written = plan.model_dump_json(exclude={"workers"})
    assert MemberPlan.model_validate_json(written) == plan
