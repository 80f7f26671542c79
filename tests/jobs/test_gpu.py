"""Training on a GPU, as far as it shows without one: where tensors lie, and who waits for whom.

The GPU is `tests.jobs.pretended_gpu`. Numbers, speed and determinism of a real one are in
`tests.bench.gpu`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from jobs import train
from jobs.errors import Stopped
from jobs.images import LabelledImages
from jobs.plan import EpochReport, MemberPlan, TeacherPlan
from jobs.teacher_training import train_teacher
from jobs.train import train_member
from jobs.values import MemberResult
from tests.bench.techniques import Between, a_teacher, taught, techniques
from tests.jobs.pretended_gpu import pretended_gpu

SIZE_PX = 32
ARCHITECTURE = "mobilenet_v3_small"


@pytest.mark.parametrize("changed", techniques("a").values(), ids=techniques("a"))
def test_no_batch_waits_and_a_member_is_the_same_as_on_a_cpu(
    plan: MemberPlan,
    labelled: LabelledImages,
    changed: Mapping[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train, "fuse", lambda *_: None)  # a GPU computes a network as it is built
    plan = plan.model_copy(update={"epochs": 2, "batch_size": 8, **changed})
    given = taught(plan, a_teacher(3, SIZE_PX, ARCHITECTURE), len(labelled.labels))
    expected = train_member(plan, labelled, lambda _: None, teaching=given)
    with pretended_gpu() as gpu:
        there = plan.model_copy(update={"device": "cuda"})
        between = Between(lambda: len(gpu.waits))
        found = train_member(there, labelled, between.report, between.before_batch, given)
    first, *_, last = between.counts
    assert gpu.waits[first:last] == []
    assert gpu.waits  # its end is waited for, and so is every epoch's
    assert _bits(found) == _bits(expected)


def test_a_teachers_batches_do_not_wait_either(labelled: LabelledImages, plan: MemberPlan) -> None:
    teacher = TeacherPlan(
        data=plan.data, architecture=ARCHITECTURE, normalize="imagenet", epochs=2, batch_size=8
    )
    with pretended_gpu() as gpu:
        # Within, as torch's backward passes add up in another order where they are watched.
        expected = train_teacher(teacher, labelled, None, lambda _: None)
        assert gpu.waits == []
        between = Between(lambda: len(gpu.waits))
        there = teacher.model_copy(update={"device": "cuda"})
        found = train_teacher(there, labelled, None, between.report, between.before_batch)
    first, *_, last = between.counts
    assert gpu.waits[first:last] == []
    assert _bits(found) == _bits(expected)


def test_a_member_goes_on_from_its_checkpoint(plan, labelled, tmp_path) -> None:
    plan = plan.model_copy(update={"epochs": 3, "batch_size": 8, "device": "cuda"})
    checkpoint = tmp_path / "checkpoint"
    seen: list[EpochReport] = []
    lines: list[str] = []

    def stop_after_one(report: EpochReport) -> None:
        seen.append(report)
        if len(seen) == 1:
            raise Stopped

    with pretended_gpu():
        expected = train_member(plan, labelled, lambda _: None)
        with pytest.raises(Stopped):
            train_member(plan, labelled, stop_after_one, checkpoint=checkpoint)
        found = train_member(plan, labelled, seen.append, checkpoint=checkpoint, say=lines.append)
    assert len(seen) == 1 + 3
    assert "epoch 1" in lines[0]
    assert _bits(found) == _bits(expected)


def test_a_checkpoint_of_another_processor_beside_the_same_gpu_is_not_used(
    plan: MemberPlan,
    labelled: LabelledImages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan.model_copy(update={"epochs": 1, "batch_size": 8, "device": "cuda"})
    lines: list[str] = []
    with pretended_gpu():
        train_member(plan, labelled, lambda _: None, checkpoint=tmp_path / "checkpoint")
        monkeypatch.setattr("jobs.checkpoint.processor", lambda: "of another make")
        train_member(
            plan, labelled, lambda _: None, checkpoint=tmp_path / "checkpoint", say=lines.append
        )
    assert "of another make: starting anew" in lines[0]


# --- the pretended GPU itself ---------------------------------------------------------------------


def _two() -> torch.Tensor:
    return torch.tensor([1.0, 2.0])


WAITING: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda there: there.sum().item(),
    "float": lambda there: float(there[0]),
    "if": lambda there: bool(there[0] > 0),
    "cpu": lambda there: there.cpu(),
    "to cpu": lambda there: there.to("cpu"),
    "nonzero": torch.nonzero,
    "mask": lambda there: there[there > 1],
    "new_tensor": lambda there: there.new_tensor([1.0]),
    "tensor": lambda _: torch.tensor([1.0], device="cuda"),
    "pageable": lambda _: _two().to("cuda", non_blocking=True),
    "blocking": lambda _: _two().pin_memory().to("cuda"),
    "copy_": lambda there: there.copy_(_two()),
}


@pytest.mark.parametrize("wait", WAITING.values(), ids=WAITING)
def test_what_waits_is_seen(wait: Callable[[torch.Tensor], object]) -> None:
    with pretended_gpu() as gpu:
        there = torch.ones(2, device="cuda")
        assert gpu.waits == []
        wait(there)
        assert len(gpu.waits) == 1


def test_what_does_not_wait_is_not() -> None:
    with pretended_gpu() as gpu:
        sent = _two().pin_memory().to("cuda", non_blocking=True)
        layer = nn.Linear(2, 2)
        before = len(gpu.waits)
        assert sent.device.type == "cuda"
        assert layer.weight.device.type == "cpu"
        ((sent * 2 + torch.tensor(1.0)).sum() + torch.zeros(2, device="cuda")).relu()
        assert len(gpu.waits) == before == 0


def test_tensors_of_both_places_do_not_meet() -> None:
    with pretended_gpu():
        there = torch.ones(2, device="cuda", requires_grad=True)
        with pytest.raises(RuntimeError, match="same device"):
            there + _two()
        layer = nn.Linear(2, 1).to("cuda")
        with pytest.raises(RuntimeError, match="same device"):
            layer(_two())
        loss = layer(there * 2).sum()
        loss.backward()
        assert there.grad is not None
        assert there.grad.device.type == "cuda"
        with pytest.raises(TypeError, match="numpy"):
            there.detach().numpy()


def _bits(result: MemberResult) -> tuple[bytes, bytes]:
    return result.weights, result.val_probs.tobytes()
