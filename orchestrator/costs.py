"""What a member costs, time and memory, predicted from its plan before anything is trained.

In: a `MemberPlan` and the number of training images. Out: expected seconds on a reference core, the
label of plans of one speed, and the memory of a slot that trains it. Pure arithmetic over amounts
(numbers moved, multiply-adds, steps) and their measured prices: one core of an AMD EPYC, 2026-11,
torch 2.15.0, one thread, float32. Another machine, device or precision differs by a factor, which
`speeds` measures. Next on the path: `speeds`, `capacity` (does it fit a node?) and `schedule`.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from jobs.plan import (
    BASE_CHANNELS,
    AugmentPlan,
    MemberPlan,
    ModelPlan,
    SandboxRules,
    TeacherSpec,
    feature_side_px,
)
from orchestrator.architectures import architecture

MIB = 1 << 20
FLOAT_BYTES = 4
HIDDEN_FEATURES = 16

PRICES_NS: dict[str, float] = {
    "attended": 8.35,
    "attention_step": 1e05,
    "augmented_step": 1.2e05,
    "base_output": 5.13,
    "blurred": 2,
    "deep_mac": 0.0431,
    "distilled_step": 1.5e05,
    "dropped": 0.4,
    "epoch": 5e6,
    "erased": 1.2,
    "flipped": 1.7,
    "mixed": 0.8,
    "paged_output": 3.45,
    "parameter": 8.3,
    "step": 2.55e05,
    "teacher_activation": 2.25,
    "teacher_mac": 0.02,
    "teacher_parameter": 0.394,
    "teacher_step": 7.19e06,
    "turbo_output": 10.4,
    "validated_base_output": 2.2,
    "validated_deep_mac": 0.022,
    "validated_turbo_output": 4.18,
    "warped": 7.5,
}
"""Nanoseconds of each amount that `_amounts` counts. Most are fitted to trainings of 216 plans.
Augmentation, mixup, dropout, distillation's loss and the steps' share of attention are too small
for that: theirs were set by hand, with rough timings of the functions alone as a guide. `epoch` is
an allowance, not measured. What members were measured to take corrects all of it (`speeds`)."""

THREADS_EXPONENT = 0.7
"""Assumed, not measured: only large operations are shared, so two threads save 40 % at most."""

PAGED_BYTES = 32 * MIB
"""Larger tensors are given back to the system after use, and clearing them anew costs time: the
largest threshold that glibc takes (see `jobs.memory`)."""

SLOT_BYTES = 840 * MIB
"""A warm slot after its first member, without what depends on the plan."""
LIBRARY_BYTES = 380 * MIB
"""Of these, the code of libraries, which all slots of a machine share."""
NODE_BYTES = 900 * MIB
"""The controller with MLflow, and Ray's own processes, on the machine that runs everything."""

FIRST_OUTPUTS_KEPT, DEEP_OUTPUTS_KEPT, IMAGES_KEPT = 3.1, 1.6, 4
"""How many tensors of a size are alive at the peak of a training step."""
DEEP_INPUTS_KEPT = 4.9
"""Of a boost's layers, whose inputs are kept as Fourier transforms (`jobs.spectral`), besides
`DEEP_BYTES` of what lies between two steps of a transform."""
DEEP_BYTES = 24 * MIB
ATTENDED_KEPT, DROPPED_KEPT = 2.0, 0.7
WEIGHTS_KEPT = 17
"""Weights, gradients, momentum, the copies that are reported, and the layouts that oneDNN wants."""
TEACHER_WEIGHTS_KEPT, TEACHER_FLOATS_PER_PIXEL = 3.2, 80
"""Chosen on the high side: a slot with a resnet18 was measured 10 % below the prediction."""

OWN_NETWORK = ModelPlan(turbo_blocks=1)
"""What a team's own network is taken for until it is measured: nobody knows what it will do."""
KIND_DIGITS = 8
"""Of the SHA-256 of a team's own code, enough to tell the codes of a cohort apart."""


def work(plan: MemberPlan, num_training_images: int) -> float:
    """Expected seconds of the whole training on a reference core, validation included.

    `num_training_images` are those of the data's training folder, of which the plan takes a part.
    """
    per_epoch_ns = sum(
        amount * PRICES_NS[name] for name, amount in _amounts(plan, num_training_images).items()
    )
    return per_epoch_ns * 1e-9 * plan.epochs / math.pow(plan.threads, THREADS_EXPONENT)


def kind(plan: MemberPlan) -> str:
    """What decides a plan's speed, in a few words: members of one kind are equally mispredicted."""
    augment = plan.augment
    words = [
        f"{plan.data.image_size_px}px",
        f"turbo{plan.model.turbo_blocks}" if plan.model.turbo_blocks else "",
        "attention" if plan.model.attention else "",
        "dropout" if plan.model.dropout > 0 else "",
        "augmented" if augment.model_copy(update={"mixup_alpha": 0}) != AugmentPlan() else "",
        "mixup" if augment.mixup_alpha > 0 else "",
    ]
    teacher = teacher_of(plan)
    if teacher is not None:
        live = f" {teacher.architecture} {teacher.image_size_px}px" if asks_teacher(plan) else ""
        words.append(f"distilled{live}")
    words += [
        f"{plan.threads}threads" if plan.threads > 1 else "",
        plan.precision if plan.precision != "fp32" else "",
        plan.device if plan.device != "cpu" else "",
        f"{plan.workers}workers" if plan.workers > 1 else "",
    ]
    if plan.custom is not None:
        words.append(f"custom {plan.custom.sha256[:KIND_DIGITS]}")
    return " ".join(filter(None, words))


def num_images(plan: MemberPlan, num_training_images: int) -> tuple[int, int]:
    """How many images a member learns from, and how many it validates on; rounding by class."""
    num_validation = round(num_training_images * plan.data.validation_fraction)
    num_train = round((num_training_images - num_validation) * plan.data.train_fraction)
    return max(num_train, 1), max(num_validation, 1)


def teacher_of(plan: MemberPlan) -> TeacherSpec | None:
    """The teacher that a plan distils from; the usual one where it is not known yet."""
    if plan.distill is None:
        return None
    return plan.distill.teacher or TeacherSpec(sha256="")


def asks_teacher(plan: MemberPlan) -> bool:
    """Whether the teacher looks at every batch; otherwise its answers are looked up."""
    return plan.distill is not None and plan.augmented


@dataclass(frozen=True)
class Network:
    """The sizes of a plan's MonkeyNET."""

    outputs: tuple[int, ...]
    """Numbers that each convolution puts out for an image."""
    deep_macs: int
    """Multiply-adds for an image, of all convolutions but the first."""
    num_parameters: int


def network(plan: MemberPlan) -> Network:
    """The sizes of the network that `jobs.monkeynet` builds, or of what stands for a team's own."""
    side, turbo = plan.data.image_size_px, model_of(plan).turbo_blocks
    channels = [3] + [BASE_CHANNELS << block for block in range(turbo + 1)]
    sides = [side >> block for block in range(turbo + 1)] if turbo else [side + 2]
    taps = 25 if turbo else 9
    outputs = tuple(width * of**2 for width, of in zip(channels[1:], sides, strict=True))
    weights = [taps * a * b for a, b in pairwise(channels)]
    head = channels[-1] * feature_side_px(side, turbo) ** 2 * HIDDEN_FEATURES
    deep_macs = sum(w * of**2 for w, of in zip(weights[1:], sides[1:], strict=True))
    return Network(outputs, deep_macs, sum(weights) + head)


def model_of(plan: MemberPlan) -> ModelPlan:
    """The network that a plan is taken to train."""
    own = plan.custom is not None and "build_model" in plan.custom.defines
    return OWN_NETWORK if own else plan.model


def _amounts(plan: MemberPlan, num_training_images: int) -> dict[str, float]:
    """What one epoch moves and computes, in the units of `PRICES_NS`."""
    num_train, num_validation = num_images(plan, num_training_images)
    steps = math.ceil(num_train / plan.batch_size)
    num_train = math.ceil(num_train / plan.workers)  # each worker's; the first one validates
    batch = min(math.ceil(plan.batch_size / plan.workers), num_train)
    net, augment = network(plan), plan.augment
    numbers = 3 * plan.data.image_size_px**2  # of an image
    model = model_of(plan)
    turbo = model.turbo_blocks > 0
    first, last = net.outputs[0], net.outputs[-1]
    attended = last if model.attention else 0
    tensors = [*net.outputs, attended]
    paged = sum(size * _paging(size * batch * FLOAT_BYTES) for size in tensors)
    warps = augment.rotate_degrees > 0 or augment.shift_fraction > 0
    flips = augment.flip_horizontal_p > 0 or augment.flip_vertical_p > 0
    changes = {
        "warped": warps,
        "flipped": flips and not warps,
        "blurred": augment.blur_strength > 0,
        "erased": augment.erase_p > 0,
        "mixed": augment.mixup_alpha > 0,
    }
    amounts: dict[str, float] = {
        "epoch": 1,
        "step": steps,
        "parameter": steps * net.num_parameters,
        "augmented_step": steps * sum(changes.values()),
        "base_output": num_train * (0 if turbo else first),
        "turbo_output": num_train * (sum(net.outputs) if turbo else 0),
        "deep_mac": num_train * net.deep_macs,
        "paged_output": num_train * paged,
        "attended": num_train * attended,
        "attention_step": steps * model.attention,
        "dropped": num_train * (sum(net.outputs) if model.dropout > 0 else 0),
        "validated_base_output": num_validation * (0 if turbo else first + attended),
        "validated_turbo_output": num_validation * (sum(net.outputs) + attended if turbo else 0),
        "validated_deep_mac": num_validation * net.deep_macs,
    }
    amounts |= {name: num_train * numbers * does for name, does in changes.items()}
    teacher = teacher_of(plan)
    if teacher is not None:
        amounts["distilled_step"] = steps
        if asks_teacher(plan):
            size, pixels = architecture(teacher.architecture), teacher.image_size_px**2
            amounts["teacher_mac"] = num_train * pixels * size.kilo_macs * 1000
            amounts["teacher_activation"] = num_train * pixels * size.activations
            amounts["teacher_parameter"] = steps * size.mega_parameters * 1e6
            amounts["teacher_step"] = steps
    return amounts


def memory_bytes(
    plan: MemberPlan,
    num_training_images: int,
    rules: SandboxRules | None = None,
    num_workers: int = 1,
) -> int:
    """Expected resident memory of the slot process that trains the plan, at its peak.

    It is what `top` shows as RES: the process with torch and Ray Train (`SLOT_BYTES`, of which
    slots of one machine share `LIBRARY_BYTES`), the network, its gradients and momentum, what a
    batch leaves for the backward pass, the validation images, and the teacher. The training images
    lie in the node's object store once, whatever the number of slots (`image_bytes`), and are not
    counted here. A team's own code runs beside the slot, and is counted with the most that the
    cohort's `rules` let it use; without rules, with nothing.

    A member of several workers has as many such processes, of which `num_workers` are counted, and
    the slot beside them.
    """
    if plan.custom is not None:  # it is given copies of the images that it may see
        given = image_bytes(plan.data.image_size_px, num_training_images)
        return SLOT_BYTES + given + (rules.memory_mib * MIB if rules is not None else 0)
    num_train, num_validation = num_images(plan, num_training_images)
    batch = min(math.ceil(plan.batch_size / plan.workers), num_train)
    net, side = network(plan), plan.data.image_size_px
    last = net.outputs[-1]
    transformed = len(net.outputs) > 1 and (plan.device, plan.precision) == ("cpu", "fp32")
    for_backward = (
        FIRST_OUTPUTS_KEPT * net.outputs[0]
        + DEEP_OUTPUTS_KEPT * sum(net.outputs[1:])
        + transformed * DEEP_INPUTS_KEPT * sum(net.outputs[:-1]) / 4  # pooled by 2 before
        + ATTENDED_KEPT * last * plan.model.attention
        + DROPPED_KEPT * sum(net.outputs) * (plan.model.dropout > 0)
        + IMAGES_KEPT * 3 * side**2
    )
    floats = batch * for_backward + WEIGHTS_KEPT * net.num_parameters
    teacher = teacher_of(plan)
    if teacher is not None and asks_teacher(plan):
        size = architecture(teacher.architecture)
        floats += TEACHER_WEIGHTS_KEPT * size.mega_parameters * 1e6
        floats += batch * TEACHER_FLOATS_PER_PIXEL * teacher.image_size_px**2
    each = SLOT_BYTES + round(FLOAT_BYTES * floats) + image_bytes(side, num_validation)
    each += DEEP_BYTES * transformed
    return each * num_workers + (SLOT_BYTES if plan.workers > 1 else 0)


def image_bytes(image_size_px: int, num_images: int) -> int:
    """Memory of decoded images, which every node holds once: three bytes a pixel."""
    return num_images * 3 * image_size_px**2


def _paging(tensor_bytes: int) -> float:
    """How much a tensor suffers from being paged in anew: nothing up to a size, then its log."""
    return math.log2(2 * tensor_bytes / PAGED_BYTES) if tensor_bytes > PAGED_BYTES else 0.0
