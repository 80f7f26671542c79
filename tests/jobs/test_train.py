import json
import pickle
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from jobs.errors import CheckpointError, Diverged, JobsError, Stopped
from jobs.evaluation import predict
from jobs.image_folder import scan
from jobs.images import LabelledImages
from jobs.monkeynet import build_model
from jobs.plan import (
    AugmentPlan,
    EpochReport,
    LossPlan,
    MemberPlan,
    ModelPlan,
    OptimizerPlan,
    SchedulePlan,
)
from jobs.split import split_images
from jobs.train import MemberResult, main, train_member

AUGMENTED = AugmentPlan(
    rotate_degrees=15, shift_fraction=0.1, flip_horizontal_p=0.2, flip_vertical_p=0.2
)


def _train(plan: MemberPlan, data: LabelledImages) -> tuple[MemberResult, list[EpochReport]]:
    reports: list[EpochReport] = []
    return train_member(plan, data, reports.append), reports


# --- what training does --------------------------------------------------------------------------


def test_a_member_learns_and_reports_every_epoch(plan, labelled):
    plan = plan.model_copy(update={"epochs": 15})
    result, reports = _train(plan, labelled)
    assert [report.epoch for report in reports] == list(range(1, 16))
    assert reports[-1].train_loss < 0.2 < reports[0].train_loss
    assert reports[-1].val_accuracy == 1
    assert reports[-1].learning_rate == 0.05
    assert all(report.images_per_second > 0 for report in reports)

    split = split_images(labelled.labels, labelled.groups, plan.data)
    val_labels = labelled.labels[split.validation]
    assert result.val_probs.dtype == np.float32
    assert result.val_probs.shape == (len(val_labels), 3)
    np.testing.assert_allclose(result.val_probs.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(result.val_probs.argmax(axis=1) == val_labels) == reports[-1].val_accuracy
    loss = -np.log(result.val_probs[np.arange(len(val_labels)), val_labels]).mean()
    assert loss == pytest.approx(reports[-1].val_loss, rel=1e-4)


def test_the_weights_reproduce_the_predictions(plan, labelled):
    result, _ = _train(plan, labelled)
    model = build_model(plan.model, 3, 16)
    model.load_state_dict(safetensors.torch.load(result.weights))
    split = split_images(labelled.labels, labelled.groups, plan.data)
    logits = predict(model, labelled.images[split.validation])
    probs = functional.softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(probs, result.val_probs, atol=1e-6)


def test_one_epoch_equals_plain_gradient_descent(plan, labelled):
    """One batch that holds everything: a single step, computed here by hand."""
    plan = plan.model_copy(
        update={"epochs": 1, "batch_size": 1000, "optimizer": OptimizerPlan(weight_decay=0.1)}
    )
    split = split_images(labelled.labels, labelled.groups, plan.data)
    initial = _initial_weights(plan, labelled)
    model = build_model(plan.model, 3, 16)
    model.load_state_dict(initial)
    images = torch.from_numpy(labelled.images[split.train]).float() / 255
    labels = torch.from_numpy(labelled.labels[split.train])
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()

    result, reports = _train(plan, labelled)
    trained = safetensors.torch.load(result.weights)
    assert reports[0].train_loss == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        expected = parameter - 0.01 * (parameter.grad + 0.1 * parameter)
        torch.testing.assert_close(trained[name], expected.detach(), atol=1e-6, rtol=1e-5)


def _initial_weights(plan: MemberPlan, data: LabelledImages) -> dict[str, torch.Tensor]:
    """The weights that a plan starts from: those of a step too small to change a float32."""
    still = plan.model_copy(update={"optimizer": OptimizerPlan(learning_rate=1e-30)})
    return safetensors.torch.load(_train(still, data)[0].weights)


def test_the_last_short_batch_is_used(plan, labelled):
    split = split_images(labelled.labels, labelled.groups, plan.data)
    batches: list[None] = []

    def count() -> bool:
        batches.append(None)
        return False

    plan = plan.model_copy(update={"epochs": 1, "batch_size": len(split.train) - 1})
    train_member(plan, labelled, lambda _: None, should_stop=count)
    assert len(batches) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 8},
        {"batch_size": 9},
        {"augment": AUGMENTED},
        {"model": ModelPlan(turbo_blocks=1)},
        {"optimizer": OptimizerPlan(learning_rate=0.05, momentum=0.8)},
        {"precision": "bf16"},
        {"augment": AugmentPlan(blur_strength=1)},
        {"augment": AugmentPlan(erase_p=0.5)},
        {"augment": AugmentPlan(mixup_alpha=0.2)},
        {"model": ModelPlan(dropout=0.1)},
        {"model": ModelPlan(attention=True)},
        {"schedule": SchedulePlan(decay=0.9)},
        {"schedule": SchedulePlan(kind="cosine")},
        {"schedule": SchedulePlan(kind="step", every_epochs=1)},
        {"schedule": SchedulePlan(kind="one-cycle")},
        {"loss": LossPlan(focus_class="c", focus_weight=5)},
    ],
    ids=str,
)
def test_every_setting_matters_and_trains(plan, labelled, change):
    result, reports = _train(plan.model_copy(update=change), labelled)
    assert result.weights != _train(plan, labelled)[0].weights
    assert reports[-1].train_loss < reports[0].train_loss
    weights = safetensors.torch.load(result.weights)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_seeds_that_share_their_low_bits_differ(plan, labelled):
    far = plan.model_copy(update={"seed": plan.seed + 2**40})
    assert _train(far, labelled)[0].weights != _train(plan, labelled)[0].weights


def test_an_epochs_seconds_cover_all_of_it(plan, labelled):
    started_s = time.perf_counter()
    _, reports = _train(plan, labelled)
    elapsed_s = time.perf_counter() - started_s
    num_train = len(split_images(labelled.labels, labelled.groups, plan.data).train)
    assert all(report.seconds * report.images_per_second > num_train for report in reports)
    assert sum(report.seconds for report in reports) < elapsed_s


# --- ends before the last epoch ------------------------------------------------------------------


def test_report_can_stop_a_member(plan, labelled):
    seen: list[int] = []

    def report(epoch: EpochReport) -> None:
        seen.append(epoch.epoch)
        if epoch.epoch == 2:
            raise Stopped("enough")

    with pytest.raises(Stopped, match="enough"):
        train_member(plan, labelled, report)
    assert seen == [1, 2]


def test_a_member_can_be_stopped_between_batches(plan, labelled):
    answers = iter([False, False, True])
    reports: list[EpochReport] = []
    with pytest.raises(Stopped, match="stopped in epoch 1"):
        train_member(plan, labelled, reports.append, should_stop=lambda: next(answers))
    assert reports == []


def test_a_loss_that_is_no_number_names_epoch_and_step(plan, labelled):
    wild = plan.model_copy(update={"optimizer": OptimizerPlan(learning_rate=1e30)})
    with pytest.raises(Diverged, match=r"epoch 1, step [2-6] .* is probably too large: try 0\.01"):
        _train(wild, labelled)


def test_a_diverging_member_stops_at_that_very_step(plan, labelled):
    """All batches of the epoch are counted, and all but a few are left."""
    wild = plan.model_copy(update={"optimizer": OptimizerPlan(learning_rate=1e30), "batch_size": 1})
    batches: list[None] = []

    def count() -> bool:
        batches.append(None)
        return False

    with pytest.raises(Diverged) as diverged:
        train_member(wild, labelled, lambda _: None, should_stop=count)
    assert diverged.value.step == len(batches) < 10


def test_a_last_step_that_breaks_the_weights_is_noticed(plan, labelled):
    wild = plan.model_copy(
        update={
            "optimizer": OptimizerPlan(learning_rate=3e38),
            "epochs": 1,
            "batch_size": 1000,
        }
    )
    with pytest.raises(Diverged, match="epoch 1, step 1 on"):
        _train(wild, labelled)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stopped("why"),
        lambda: Diverged(2, 3, 0.5),
        lambda: CheckpointError("/full/0.checkpoint", "No space left on device"),
        lambda: JobsError("what"),
    ],
)
def test_errors_cross_process_boundaries(make: Callable[[], JobsError]):
    error = make()
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_images_of_another_size_are_refused(plan, labelled):
    wrong = replace(labelled, images=labelled.images[:, :, :8, :8])
    with pytest.raises(ValueError, match=r"\(3, 8, 8\); the plan needs \(3, 16, 16\)"):
        _train(plan, wrong)


# --- alone ---------------------------------------------------------------------------------------


def test_a_plan_file_trains_on_a_folder(draw_folder, plan, tmp_path, capsys):
    root = draw_folder()
    folder = scan(root)
    data = plan.data.model_copy(
        update={"fingerprint": folder.fingerprint, "classes": folder.classes}
    )
    path = tmp_path / "plan.json"
    path.write_text(plan.model_copy(update={"data": data}).model_dump_json())
    assert main([str(path), str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]

    path.write_text(plan.model_dump_json())
    assert main([str(path), str(root)]) == 1
    assert f"has the fingerprint {folder.fingerprint}" in capsys.readouterr().err
    assert main([]) == 2
