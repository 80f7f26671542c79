"""Another kind of processor: told apart by its instructions, and nothing is resumed on it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.checkpoint import resume, save_checkpoint
from jobs.plan import MemberPlan
from jobs.processor import processor
from jobs.training_state import TrainingState

OTHERS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "processor": lambda patch: patch.setattr("jobs.checkpoint.processor", lambda: "another"),
    "kernels": lambda patch: patch.setenv("MKL_CBWR", "COMPATIBLE"),
    "Pillow": lambda patch: patch.setattr("jobs.decoding.DECODE_VERSION", "another"),
}


def test_its_instructions_tell_it_apart(tmp_path: Path) -> None:
    kinds = [tmp_path / name for name in ("x86", "newer-x86", "arm")]
    for about, line in zip(kinds, ("flags\t: a b", "flags\t: a b c", "Features\t: a"), strict=True):
        about.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n{line}\n")
    assert len({processor(about) for about in (*kinds, tmp_path / "none")}) == 4


@pytest.mark.parametrize("become", OTHERS.values(), ids=OTHERS)
def test_a_training_that_another_one_began_starts_anew(
    plan: MemberPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    become: Callable[[pytest.MonkeyPatch], None],
) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, plan, TrainingState.start(plan, 1, 2, 3))
    here = resume(path, plan, TrainingState.start(plan, 1, 2, 3))
    assert here == "resumed after epoch 0 from the checkpoint"
    become(monkeypatch)
    there = resume(path, plan, TrainingState.start(plan, 1, 2, 3))
    assert there is not None
    assert there.startswith("the checkpoint is of another version, ")
