"""Same plan and data, same bits: whatever ran before, in whichever thread or process."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from jobs.errors import Stopped
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
from jobs.reproducible import seeds
from jobs.teacher import Teaching, build_classifier
from jobs.train import train_member

REPOSITORY = Path(__file__).parents[2]
AUGMENTED = AugmentPlan(
    rotate_degrees=15, shift_fraction=0.1, flip_horizontal_p=0.2, flip_vertical_p=0.2
)


def _digest(plan: MemberPlan, data: LabelledImages, teaching: Teaching | None = None) -> str:
    result = train_member(plan, data, lambda _: None, teaching=teaching)
    return hashlib.sha256(result.weights + result.val_probs.tobytes()).hexdigest()


def _settings() -> tuple[object, ...]:
    return (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@contextmanager
def _other_process_settings() -> Iterator[None]:
    """Global settings as an earlier user of the process could have left them."""
    threads, dtype, matmul, *_ = _settings()
    try:
        torch.set_num_threads(threads + 1)
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(matmul)


def test_the_same_bits_whatever_happened_before(plan, labelled):
    plan = plan.model_copy(update={"augment": AUGMENTED, "model": ModelPlan(turbo_blocks=1)})
    expected = _digest(plan, labelled)

    _digest(plan.model_copy(update={"threads": 2, "seed": 99}), labelled)
    assert _digest(plan, labelled) == expected

    torch.rand(1000)
    np.random.default_rng().random(1000)
    with _other_process_settings():
        assert _digest(plan, labelled) == expected


EVERYTHING = AUGMENTED.model_copy(update={"blur_strength": 2, "erase_p": 0.5, "mixup_alpha": 0.4})
SPEC = TeacherSpec(sha256="0" * 64, image_size_px=16)


def test_the_same_bits_with_every_technique(plan, labelled):
    """Twice the same, in the order 1 to n and back again, so after other trainings each time."""
    with torch.random.fork_rng():
        state = build_classifier("resnet18", 3).state_dict()
    teaching = Teaching(SPEC, safetensors.torch.save(state))
    together = {
        "augment": EVERYTHING,
        "model": ModelPlan(turbo_blocks=1, dropout=0.3, attention=True),
        "schedule": SchedulePlan(kind="one-cycle", decay=0.9),
        "loss": LossPlan(focus_class="b", focus_weight=5),
        "optimizer": OptimizerPlan(learning_rate=0.05, momentum=0.9, weight_decay=1e-4),
        "distill": DistillPlan(teacher=SPEC),
    }
    alone = [{key: value} for key, value in together.items()]
    techniques = [together, *alone, {"schedule": SchedulePlan(kind="plateau", patience_epochs=0)}]
    plans = [plan.model_copy(update=technique) for technique in techniques]
    there = [_digest(plan, labelled, teaching) for plan in plans]
    assert len(set(there)) == len(plans)
    with _other_process_settings():
        back = [_digest(plan, labelled, teaching) for plan in reversed(plans)]
    assert back[::-1] == there


def test_a_fourth_seed_leaves_the_first_three():
    state = np.random.SeedSequence(7).generate_state(3, np.uint64)
    assert seeds(7)[:3] == state.tolist()
    assert len(set(seeds(7) + seeds(8))) == 8


def test_the_same_bits_in_any_thread(plan, labelled):
    expected = _digest(plan, labelled)
    digests: list[str] = []

    def work() -> None:
        torch.rand(10)
        digests.append(_digest(plan, labelled))

    with _other_process_settings():
        for _ in range(2):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    assert digests == [expected] * 2


def test_the_same_bits_in_another_process(plan, labelled, tmp_path):
    np.savez(
        tmp_path / "data.npz",
        images=labelled.images, labels=labelled.labels, groups=labelled.groups,
    )  # fmt: skip
    (tmp_path / "plan.json").write_text(plan.model_dump_json())
    code = """
import hashlib, sys
import numpy as np
from jobs.images import LabelledImages
from jobs.plan import MemberPlan
from jobs.train import train_member
data = LabelledImages(**np.load(sys.argv[1] + "/data.npz"))
plan = MemberPlan.model_validate_json(open(sys.argv[1] + "/plan.json").read())
result = train_member(plan, data, lambda report: None)
print(hashlib.sha256(result.weights + result.val_probs.tobytes()).hexdigest())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == _digest(plan, labelled)


def test_the_same_bits_for_any_memory_layout(plan, labelled, tmp_path):
    """Channels first, channels last, and mapped from a file without the right to write."""
    assert not labelled.images.flags.c_contiguous
    np.save(tmp_path / "images.npy", np.ascontiguousarray(labelled.images))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    digests = {
        _digest(plan, replace(labelled, images=images))
        for images in (labelled.images, np.ascontiguousarray(labelled.images), mapped)
    }
    assert len(digests) == 1


def test_nothing_leaks_into_the_process(plan, labelled):
    with _other_process_settings():
        before, random_state = _settings(), torch.random.get_rng_state()
        _digest(plan, labelled)
        with pytest.raises(Stopped):
            train_member(plan, labelled, lambda _: None, should_stop=lambda: True)
        assert _settings() == before
        assert torch.equal(torch.random.get_rng_state(), random_state)
