"""The child of a sandbox, without a sandbox: it trains, resumes and predicts with our bits."""

import random
import signal

import numpy as np
import pytest
import safetensors.torch
import torch

from jobs.custom.child import seed_others
from jobs.custom.frames import Frame
from jobs.plan import (
    AugmentPlan,
    DistillPlan,
    EpochReport,
    MemberPlan,
    ModelPlan,
    OptimizerPlan,
    SchedulePlan,
    TeacherSpec,
)
from jobs.teacher import Teaching, build_classifier, teacher_logits
from jobs.train import train_member
from tests.jobs.attempts import digest, history
from tests.jobs.custom_child import (
    MONKEY,
    RANDOM,
    ChildTraining,
    InThread,
    Process,
    train,
    with_code,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forget_team_code")]

# --- the same bits -------------------------------------------------------------------------------

SPEC = TeacherSpec(sha256="0" * 64, image_size_px=16)
MIXED = AugmentPlan(rotate_degrees=15, flip_horizontal_p=0.2, erase_p=0.5, mixup_alpha=0.4)


@pytest.fixture(scope="module")
def teaching() -> Teaching:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(3)
        state = build_classifier("resnet18", 3).state_dict()
    return Teaching(SPEC, safetensors.torch.save(state))


@pytest.mark.parametrize("change", ["nothing more", "augmented", "taught", "taught by logits"])
def test_a_file_that_builds_our_network_gives_our_bits(plan, labelled, teaching, change):
    plan = plan.model_copy(update={"model": ModelPlan(dropout=0.2), "epochs": 2})
    given = None
    if change == "augmented":
        schedule = SchedulePlan(kind="one-cycle")
        plan = plan.model_copy(update={"augment": MIXED, "schedule": schedule})
    if change.startswith("taught"):
        plan = plan.model_copy(update={"distill": DistillPlan(teacher=SPEC)})
        given = teaching
    if change == "taught by logits":
        logits = teacher_logits(teaching, labelled.images, 3, 1)
        given = Teaching(SPEC, b"", logits)
    reports: list[EpochReport] = []
    expected = train_member(plan, labelled, reports.append, teaching=given)

    told = train(with_code(plan, MONKEY), labelled, given)
    assert digest(told.result(len(expected.val_probs))) == digest(expected)
    assert told.lines == []
    for said, report in zip(told.reports, reports, strict=True):
        judged = ("val_loss", "seconds", "images_per_second")
        assert said.model_dump(exclude={*judged}) == report.model_dump(exclude={*judged})
        assert said.val_loss == pytest.approx(report.val_loss, rel=1e-5)


def test_killed_after_an_epoch_and_resumed(plan, labelled):
    """In processes of their own: with every random state, a plateau, and the judgement missing."""
    schedule = SchedulePlan(kind="plateau", patience_epochs=0)
    fast = OptimizerPlan(learning_rate=0.2, momentum=0.9)
    plan = with_code(plan, RANDOM, epochs=5, schedule=schedule, optimizer=fast)
    training = ChildTraining(plan, labelled)
    with Process(training.arrays) as child:
        training.order(child.channel, child.arrays)
        whole = training.hear(child.channel)
    rates = [report.learning_rate for report in whole.reports]
    assert rates[2] < rates[1]  # or the second epoch's judgement would decide nothing

    with Process(training.arrays) as child:
        training.order(child.channel, child.arrays)
        first = training.hear(child.channel, num_epochs=2)
        assert child.end() == -signal.SIGKILL
    with Process(training.arrays) as child:
        training.order(child.channel, child.arrays, first)
        rest = training.hear(child.channel, before=first)
    assert rest.lines == ["resumed after epoch 2 from the checkpoint"]
    assert history(first.reports + rest.reports) == history(whole.reports)
    num_val = len(training.val_labels)
    assert digest(rest.result(num_val)) == digest(whole.result(num_val))


def test_resumed_after_the_last_epoch(plan, labelled):
    training = ChildTraining(with_code(plan, MONKEY), labelled)
    whole = training.run()
    again = training.run(before=whole)
    assert (again.reports, again.lines) == ([], ["resumed after epoch 3 from the checkpoint"])
    assert again.end == whole.end


def test_the_other_random_states_are_fixed_for_every_epoch():
    drawn = []
    for seed, epoch in ((1, 0), (1, 1), (2**62, 0), (1, 0)):
        seed_others(seed, epoch)
        drawn.append((random.random(), float(np.random.rand())))  # noqa: S311
    assert drawn[0] == drawn[-1]
    assert len({value for pair in drawn for value in pair}) == 6


# --- predictions ---------------------------------------------------------------------------------


def _predicted(plan: MemberPlan, images: np.ndarray, weights: bytes) -> Frame:
    with InThread({"images": images}) as child:
        fields = {"plan": plan.model_dump(mode="json"), "arrays": child.arrays}
        child.channel.send("predict", fields, [weights])
        return child.channel.receive()


@pytest.mark.parametrize("source", [RANDOM, "def augment(images, generator): return images"])
def test_weights_predict_what_they_predicted_in_training(plan, labelled, source):
    plan = with_code(plan, source)
    training = ChildTraining(plan, labelled)
    trained = train(plan, labelled).result(len(training.val_labels))
    answer = _predicted(plan, training.arrays["val_images"], trained.weights)
    assert answer.kind == "done"
    assert answer.blobs == (trained.val_probs.tobytes(),)


@pytest.mark.parametrize("weights", [b"", b"no safetensors at all", "of another network"])
def test_weights_that_do_not_fit(plan, labelled, weights):
    if isinstance(weights, str):
        weights = train_member(plan, labelled, lambda _: None).weights
    answer = _predicted(with_code(plan, RANDOM), labelled.images[:3], weights)
    assert answer.kind == "failed"
    assert answer.fields["in"] == "build_model"
    assert "does not take the weights that it was trained to" in answer.fields["message"]
