"""Stopped, killed or out of disk space and resumed: the same bits as in one go."""

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from jobs.atomic import remove
from jobs.checkpoint import FORMAT, resume, save_checkpoint
from jobs.errors import CheckpointError
from jobs.images import LabelledImages
from jobs.plan import (
    AugmentPlan,
    DistillPlan,
    EpochReport,
    LossPlan,
    MemberPlan,
    ModelPlan,
    OptimizerPlan,
    SchedulePlan,
    TeacherSpec,
)
from jobs.teacher import Teaching, build_classifier
from jobs.train import train_member
from jobs.training_state import TrainingState
from tests.jobs.attempts import Attempts, digest, history

REPOSITORY = Path(__file__).parents[2]
SPEC = TeacherSpec(sha256="0" * 64, image_size_px=16)
EVERY_AUGMENTATION = AugmentPlan(
    rotate_degrees=15,
    shift_fraction=0.1,
    flip_horizontal_p=0.2,
    flip_vertical_p=0.2,
    blur_strength=2,
    erase_p=0.5,
)
MIXED = EVERY_AUGMENTATION.model_copy(update={"mixup_alpha": 0.4})
SGD = OptimizerPlan(learning_rate=0.05, momentum=0.9, weight_decay=1e-3)


@pytest.fixture(scope="module")
def teaching() -> Teaching:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(3)
        state = build_classifier("resnet18", 3).state_dict()
    return Teaching(SPEC, safetensors.torch.save(state))


# --- the same bits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": OptimizerPlan(learning_rate=0.05), "batch_size": 7},
        {"optimizer": SGD, "batch_size": 5},
        {"model": ModelPlan(dropout=0.3)},
        {"model": ModelPlan(turbo_blocks=1, attention=True)},
        {"augment": EVERY_AUGMENTATION},
        {"augment": AugmentPlan(mixup_alpha=0.4), "batch_size": 9},
        {"schedule": SchedulePlan(kind="one-cycle")},
        {  # so fast that the second epoch is worse than the first
            "schedule": SchedulePlan(kind="plateau", patience_epochs=0),
            "optimizer": OptimizerPlan(learning_rate=0.5),
        },
        {"schedule": SchedulePlan(kind="cosine")},
        {"schedule": SchedulePlan(kind="step", every_epochs=2, decay=0.9)},
        {"loss": LossPlan(focus_class="b", focus_weight=5), "augment": MIXED},
        {"distill": DistillPlan(teacher=SPEC)},
        {"precision": "bf16"},
        {"threads": 2, "augment": MIXED},
        {
            "augment": MIXED,
            "model": ModelPlan(turbo_blocks=1, dropout=0.3, attention=True),
            "schedule": SchedulePlan(kind="one-cycle", decay=0.9),
            "loss": LossPlan(focus_class="b", focus_weight=5),
            "optimizer": SGD,
            "distill": DistillPlan(teacher=SPEC),
            "batch_size": 9,
        },
    ],
    ids=str,
)
def test_stopped_in_every_epoch_and_resumed(plan, labelled, teaching, tmp_path, change):
    """Every attempt gets one epoch further, is stopped in the next, and tells of all before."""
    plan = plan.model_copy(update={"epochs": 4, **change})
    whole = Attempts(plan, labelled, None, teaching)
    expected = whole.run()
    attempts = Attempts(plan, labelled, tmp_path / "0.checkpoint", teaching)

    earlier: list[EpochReport] = []
    for num_epochs in range(1, plan.epochs):
        assert attempts.run(attempts.batches_per_epoch + 1) is None
        assert len(attempts.reports) == num_epochs
        assert attempts.reports[:-1] == earlier  # times included
        earlier = attempts.reports
    result = attempts.run()
    assert attempts.lines == ["resumed after epoch 3 from the checkpoint"]
    assert digest(result) == digest(expected)
    assert history(attempts.reports) == history(whole.reports)
    if plan.schedule.kind != "constant":  # or the test would not tell a forgotten plateau
        assert len({report.learning_rate for report in whole.reports}) > 1


def test_stopped_before_any_batch(plan, labelled, tmp_path):
    """Between the last batch and the next epoch, too, and after the last epoch."""
    whole = Attempts(plan, labelled, None, None)
    expected = whole.run()
    num_batches = plan.epochs * whole.batches_per_epoch
    for stop in range(num_batches):
        attempts = Attempts(plan, labelled, tmp_path / "0.checkpoint", None)
        assert attempts.run(stop) is None
        assert len(attempts.reports) == stop // attempts.batches_per_epoch
        result = attempts.run()
        assert digest(result) == digest(expected)
        assert history(attempts.reports) == history(whole.reports)

        again = attempts.run(0)  # trains no further batch
        assert digest(again) == digest(expected)
        assert history(attempts.reports) == history(whole.reports)
        remove(attempts.path)


def test_an_epoch_is_kept_before_it_is_reported(plan, labelled, tmp_path):
    path, num_reports = tmp_path / "new" / "0.checkpoint", 0

    def report(epoch: EpochReport) -> None:
        nonlocal num_reports
        num_reports += 1
        state = TrainingState.start(plan, 1, 2, 3)
        with torch.random.fork_rng():
            assert resume(path, plan, state) is not None
        assert state.history[-1] == epoch
        assert [file.name for file in path.parent.iterdir()] == ["0.checkpoint"]

    train_member(plan, labelled, report, checkpoint=path)
    assert num_reports == plan.epochs


# --- files that are not used ---------------------------------------------------------------------


def _saved(path: Path, plan: MemberPlan, data: LabelledImages) -> bytes:
    Attempts(plan, data, path, None).run()
    return path.read_bytes()


def _signed(content: bytes) -> bytes:
    """A whole file around changed content, with the digest of it."""
    return (
        f"member checkpoint {FORMAT} sha256 {hashlib.sha256(content).hexdigest()}\n".encode()
        + content
    )


def _changed(file: bytes, **changes: object) -> bytes:
    """The file with other keys in its line of JSON."""
    _, about, tensors = file.split(b"\n", 2)
    return _signed(json.dumps(json.loads(about) | changes).encode() + b"\n" + tensors)


class Planted:
    """What a pickle makes of it when it is read: a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


DAMAGED = "the checkpoint is damaged: starting anew"
FOREIGN = {
    "empty": (lambda _: b"", DAMAGED),
    "truncated": (lambda file: file[:-1], DAMAGED),
    "longer": (lambda file: file + b"0", DAMAGED),
    "text": (lambda _: b"hello\n", DAMAGED),
    "pickle": (lambda _: pickle.dumps(Planted(Path("planted"))), DAMAGED),
    "other format": (
        lambda file: file.replace(b"checkpoint %d" % FORMAT, b"checkpoint 12", 1),
        f"the checkpoint has format 12, this is {FORMAT}: starting anew",
    ),
    "other torch": (
        lambda file: _changed(file, made_by="torch 1.0"),
        "the checkpoint is of another version, torch 1.0; this is torch ",
    ),
    "other network": (
        lambda file: _changed(file, values={}),
        "the checkpoint does not fit the plan's network: starting anew",
    ),
    "no keys": (
        lambda _: _signed(b"[]\n"),
        "the checkpoint does not fit the plan's network: starting anew",
    ),
    "no tensors": (
        lambda file: _signed(file.split(b"\n")[1]),
        "the checkpoint does not fit the plan's network: starting anew",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_other_files_are_not_used_but_replaced(plan, labelled, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    change, line = FOREIGN[case]
    path = tmp_path / "0.checkpoint"
    path.write_bytes(change(_saved(path, plan, labelled)))
    attempts = Attempts(plan, labelled, path, None)
    result = attempts.run()
    assert len(attempts.lines) == 1
    assert attempts.lines[0].startswith(line)
    assert digest(result) == digest(Attempts(plan, labelled, None, None).run())
    assert not Path("planted").exists()

    attempts.run(0)
    assert attempts.lines == ["resumed after epoch 3 from the checkpoint"]


@pytest.mark.parametrize(
    "change", [{"seed": 8}, {"epochs": 4}, {"threads": 2}, {"optimizer": SGD}], ids=str
)
def test_another_plans_checkpoint_is_not_used(plan, labelled, tmp_path, change):
    path = tmp_path / "0.checkpoint"
    _saved(path, plan, labelled)
    other = Attempts(plan.model_copy(update=change), labelled, path, None)
    assert other.run(0) is None
    assert other.lines == ["the checkpoint is of another plan: starting anew"]
    assert other.reports == []


def test_one_flipped_bit_anywhere_is_noticed(plan, labelled, tmp_path):
    path = tmp_path / "0.checkpoint"
    file = _saved(path, plan, labelled)
    state = TrainingState.start(plan, 1, 2, 3)
    for position in [*range(100), *range(100, len(file), len(file) // 200)]:
        path.write_bytes(file[:position] + bytes([file[position] ^ 1]) + file[position + 1 :])
        line = resume(path, plan, state)
        assert line is not None
        assert line.endswith(": starting anew")
        assert state.history == []


def test_without_memory_for_the_momentum_it_starts_anew(plan, labelled, tmp_path, monkeypatch):
    path = tmp_path / "0.checkpoint"
    _saved(path, plan, labelled)
    state = TrainingState.start(plan, 1, 2, 3)
    before = state.tensors(), state.values()
    empty_like, left = torch.empty_like, iter([True, False])

    def allocated(*args, **options):
        if next(left):
            return empty_like(*args, **options)
        raise torch.OutOfMemoryError("not now")

    monkeypatch.setattr(torch, "empty_like", allocated)
    assert resume(path, plan, state).endswith(": starting anew")
    assert state.values() == before[1]
    assert all(torch.equal(value, before[0][name]) for name, value in state.tensors().items())


def test_another_networks_tensors_change_nothing(plan, labelled, tmp_path):
    """As after a change of the code that forgot to raise the format."""
    path = tmp_path / "0.checkpoint"
    larger = plan.model_copy(update={"model": ModelPlan(turbo_blocks=1)})
    save_checkpoint(path, plan, TrainingState.start(larger, 1, 2, 3))
    state = TrainingState.start(plan, 4, 5, 6)
    before = {name: value.clone() for name, value in state.tensors().items()}
    values = state.values()
    assert resume(path, plan, state) == (
        "the checkpoint does not fit the plan's network: starting anew"
    )
    after = state.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert state.values() == values


def test_a_path_that_cannot_be_written(plan, labelled, tmp_path):
    (tmp_path / "file").touch()
    attempts = Attempts(plan, labelled, tmp_path / "file" / "0.checkpoint", None)
    with pytest.raises(CheckpointError, match=r"file/0\.checkpoint cannot be written: "):
        attempts.run()
    assert attempts.lines == ["the checkpoint cannot be read (Not a directory): starting anew"]
    assert attempts.reports == []


def test_removing_takes_leftovers_and_nothing_else(tmp_path):
    for name in ("0.checkpoint", ".0.checkpoint.ab_c3456", ".0.checkpoint.x.ab_c3456", "1"):
        (tmp_path / name).touch()
    for _ in range(2):
        remove(tmp_path / "0.checkpoint")
        left = sorted(file.name for file in tmp_path.iterdir())
        assert left == [".0.checkpoint.x.ab_c3456", "1"]
