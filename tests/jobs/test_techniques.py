"""What a training does with its techniques: optimizer, mixup, class weights, a teacher.

Each technique's own arithmetic is tested beside its module; here it is that `train_member` applies
it to the right numbers.
"""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from jobs.errors import DataError
from jobs.images import LabelledImages
from jobs.mixup import draw
from jobs.monkeynet import MonkeyNet, build_model
from jobs.plan import (
    AugmentPlan,
    DistillPlan,
    EpochReport,
    LossPlan,
    MemberPlan,
    ModelPlan,
    OptimizerPlan,
    TeacherSpec,
)
from jobs.reproducible import seeds
from jobs.split import split_images
from jobs.teacher import TeacherNet, Teaching, teacher_logits
from jobs.train import MemberResult, train_member


def _train(
    plan: MemberPlan, data: LabelledImages, teaching: Teaching | None = None
) -> tuple[MemberResult, list[EpochReport]]:
    reports: list[EpochReport] = []
    return train_member(plan, data, reports.append, teaching=teaching), reports


@pytest.fixture
def one_batch(plan: MemberPlan) -> MemberPlan:
    """A single step over everything, with plain gradient descent: easily computed by hand."""
    return plan.model_copy(
        update={"epochs": 1, "batch_size": 1000, "optimizer": OptimizerPlan(learning_rate=0.05)}
    )


def _start(plan: MemberPlan, data: LabelledImages) -> tuple[MonkeyNet, Tensor, Tensor, np.ndarray]:
    """The initial network, and the images, labels and rows of a plan's first batch."""
    init_seed, shuffle_seed, *_ = seeds(plan.seed)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(init_seed)
        model = build_model(plan.model, 3, 16)
    train = split_images(data.labels, data.groups, plan.data).train
    shuffling = torch.Generator().manual_seed(shuffle_seed)
    rows = train[torch.randperm(len(train), generator=shuffling).numpy()][: plan.batch_size]
    images = torch.from_numpy(np.ascontiguousarray(data.images[rows])).float() / 255
    return model, images, torch.from_numpy(data.labels[rows]), rows


def _assert_one_step(
    plan: MemberPlan, model: MonkeyNet, loss: Tensor, result: MemberResult
) -> None:
    loss.backward()
    trained = safetensors.torch.load(result.weights)
    for name, parameter in model.named_parameters():
        expected = parameter - plan.optimizer.learning_rate * parameter.grad
        torch.testing.assert_close(trained[name], expected.detach(), atol=1e-6, rtol=1e-5)


# --- optimizer -----------------------------------------------------------------------------------


def test_each_members_optimizer_holds_its_own_parameters_only(plan, labelled):
    """The original game gives its third optimizer the first network's parameters."""
    trained: list[tuple[set[int], set[int]]] = []  # parameters of a network, of its optimizer
    networks: list[MonkeyNet] = []
    optimizers: list[torch.optim.Optimizer] = []  # kept, so that no id is used again

    def forward(module: nn.Module, _: object) -> None:
        if isinstance(module, MonkeyNet) and module.training and module not in networks:
            networks.append(module)

    def step(optimizer: torch.optim.Optimizer, *_: object) -> None:
        if optimizer not in optimizers:
            optimizers.append(optimizer)
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            trained.append(({id(p) for p in networks[-1].parameters()}, held))

    handles = [register_module_forward_pre_hook(forward), register_optimizer_step_pre_hook(step)]
    try:
        for seed in range(3):
            _train(plan.model_copy(update={"seed": seed}), labelled)
    finally:
        for handle in handles:
            handle.remove()
    assert len(trained) == 3
    for of_network, of_optimizer in trained:
        assert of_network == of_optimizer
    assert len(set.union(*(held for _, held in trained))) == sum(len(held) for _, held in trained)


# --- labels and losses ---------------------------------------------------------------------------


def test_mixup_trains_on_blended_images_and_labels(one_batch, labelled):
    plan = one_batch.model_copy(update={"augment": AugmentPlan(mixup_alpha=0.8)})
    result, reports = _train(plan, labelled)

    model, images, labels, rows = _start(plan, labelled)
    mixing = np.random.Generator(np.random.PCG64(seeds(plan.seed)[3]))
    shares, partners = draw(0.8, len(rows), mixing)
    mixed = torch.stack(
        [s * images[i] + (1 - s) * images[j] for i, (s, j) in enumerate(zip(shares, partners))]  # noqa: B905
    )
    log_probs = functional.log_softmax(model(mixed), dim=1)
    own = log_probs[torch.arange(len(rows)), labels]
    partners_own = log_probs[torch.arange(len(rows)), labels[partners]]
    loss = -(shares * own + (1 - shares) * partners_own).mean()
    assert reports[0].train_loss == pytest.approx(loss.item(), rel=1e-5)

    heavier = torch.where(shares > 0.5, labels, labels[partners])
    correct = (log_probs.argmax(dim=1) == heavier).float().mean().item()
    assert reports[0].train_accuracy == pytest.approx(correct)
    _assert_one_step(plan, model, loss, result)


def test_a_focused_class_counts_more_in_training_and_not_in_validation(one_batch, labelled):
    plan = one_batch.model_copy(update={"loss": LossPlan(focus_class="b", focus_weight=5)})
    result, reports = _train(plan, labelled)
    model, images, labels, _ = _start(plan, labelled)
    weights = torch.tensor([1.0, 5.0, 1.0])
    loss = functional.cross_entropy(model(images), labels, weight=weights)
    assert reports[0].train_loss == pytest.approx(loss.item(), rel=1e-5)
    _assert_one_step(plan, model, loss, result)

    val_labels = labelled.labels[
        split_images(labelled.labels, labelled.groups, plan.data).validation
    ]
    plain = -np.log(result.val_probs[np.arange(len(val_labels)), val_labels]).mean()
    assert reports[0].val_loss == pytest.approx(plain, rel=1e-4)


def test_a_focus_on_an_unknown_class_names_the_known_ones(plan, labelled):
    unknown = plan.model_copy(update={"loss": LossPlan(focus_class="monkey", focus_weight=5)})
    with pytest.raises(DataError, match=r"'monkey', which the data does not have; .* a, b, c"):
        _train(unknown, labelled)


def test_bf16_loses_precision_in_the_network_only(one_batch, labelled):
    plan = one_batch.model_copy(update={"precision": "bf16"})
    _, reports = _train(plan, labelled)
    model, images, labels, _ = _start(plan, labelled)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    assert logits.dtype == torch.bfloat16
    loss = functional.cross_entropy(logits.float(), labels)
    assert reports[0].train_loss == pytest.approx(loss.item(), rel=1e-6)


# --- a teacher -----------------------------------------------------------------------------------

SPEC = TeacherSpec(sha256="0" * 64, image_size_px=32)
DISTILL = DistillPlan(temperature=4, alpha=0.3, teacher=SPEC)


@pytest.fixture(scope="module")
def teaching() -> Teaching:
    """A teacher that knows nothing, but says it with confidence."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = TeacherNet(SPEC, 3)
    with torch.no_grad():
        net.network.fc.weight *= 10
    state = {name: value.contiguous() for name, value in net.network.state_dict().items()}
    return Teaching(SPEC, safetensors.torch.save(state))


def _teacher(teaching: Teaching) -> TeacherNet:
    net = TeacherNet(teaching.spec, 3).eval()
    net.network.load_state_dict(safetensors.torch.load(teaching.weights))
    return net


def test_a_student_learns_from_labels_and_teacher(one_batch, labelled, teaching):
    plan = one_batch.model_copy(update={"distill": DISTILL})
    result, reports = _train(plan, labelled, teaching)
    model, images, labels, _ = _start(plan, labelled)
    logits = model(images)
    with torch.no_grad():
        target = torch.softmax(_teacher(teaching)(images) / 4, dim=1)
    log_probs = torch.log_softmax(logits / 4, dim=1)
    divergence = (target * (target.log() - log_probs)).sum() / len(labels)
    assert divergence > 1e-3
    loss = 0.3 * functional.cross_entropy(logits, labels) + 0.7 * 16 * divergence
    assert reports[0].train_loss == pytest.approx(loss.item(), rel=1e-4)
    _assert_one_step(plan, model, loss, result)


def test_known_logits_are_those_of_the_batchs_images(plan, labelled, teaching):
    """Looked up or computed, with the same dropout: the teacher takes no random number."""
    plan = plan.model_copy(update={"distill": DISTILL, "model": ModelPlan(dropout=0.3)})
    known = teacher_logits(teaching, np.ascontiguousarray(labelled.images), 3, threads=1)
    looked_up, _ = _train(plan, labelled, Teaching(SPEC, teaching.weights, known))
    computed, _ = _train(plan, labelled, teaching)
    np.testing.assert_allclose(looked_up.val_probs, computed.val_probs, atol=1e-4)

    shuffled = Teaching(SPEC, teaching.weights, known[::-1].copy())
    elsewhere, _ = _train(plan, labelled, shuffled)
    assert np.abs(elsewhere.val_probs - computed.val_probs).max() > 1e-3


def test_the_teacher_sees_the_very_batch_of_the_student(plan, labelled, teaching):
    augment = AugmentPlan(
        rotate_degrees=15, blur_strength=2, erase_p=0.5, mixup_alpha=1, flip_horizontal_p=0.5
    )
    plan = plan.model_copy(update={"distill": DISTILL, "augment": augment})
    shown: dict[type, list[Tensor]] = {MonkeyNet: [], TeacherNet: []}

    def forward(module: nn.Module, args: tuple[Tensor]) -> None:
        for kind, images in shown.items():
            if isinstance(module, kind) and (module.training or kind is TeacherNet):
                images.append(args[0].clone())

    handle = register_module_forward_pre_hook(forward)
    try:
        _train(plan, labelled, teaching)
    finally:
        handle.remove()
    students, teachers = shown[MonkeyNet], shown[TeacherNet]
    assert len(students) == len(teachers) == 3 * 6
    assert all(torch.equal(s, t) for s, t in zip(students, teachers, strict=True))


def test_a_plan_that_distils_needs_its_own_teacher(plan, labelled, teaching):
    plan = plan.model_copy(update={"distill": DISTILL})
    with pytest.raises(ValueError, match="distils from a teacher, and none was given"):
        _train(plan, labelled)
    other = Teaching(SPEC.model_copy(update={"sha256": "1" * 64}), teaching.weights)
    with pytest.raises(ValueError, match="the plan names sha256='000"):
        _train(plan, labelled, other)
    short = Teaching(SPEC, teaching.weights, np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="3 rows of logits for 75 images"):
        _train(plan, labelled, short)
    augmented = plan.model_copy(update={"augment": AugmentPlan(mixup_alpha=1)})
    known = Teaching(SPEC, teaching.weights, np.zeros((75, 3), np.float32))
    with pytest.raises(ValueError, match="must see augmented images itself"):
        _train(augmented, labelled, known)


def test_a_teacher_without_a_plan_to_distil_changes_nothing(plan, labelled, teaching):
    assert _train(plan, labelled, teaching)[0].weights == _train(plan, labelled)[0].weights
