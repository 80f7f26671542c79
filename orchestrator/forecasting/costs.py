"""What a member costs, time and memory, predicted from its plan before anything is trained.

In: a `MemberPlan` and the number of training images. Out: expected seconds on a reference core, the
label of plans of one speed, and the memory of a slot that trains it. Pure arithmetic over amounts
(numbers moved, multiply-adds, steps) and their measured prices: one core of an AMD EPYC, 2026-11,
torch 2.15.0, one thread, float32. Another machine, device or precision differs by a factor, which
`speeds` measures. Next on the path: `speeds`, `capacity` (does it fit a node?) and `schedule`.
"""

import math

from jobs.plan import AugmentPlan, Device, MemberPlan, SandboxRules, TeacherSpec
from orchestrator.forecasting.architectures import architecture
from orchestrator.forecasting.network_sizes import model_of, network, tiled

MIB = 1 << 20
FLOAT_BYTES = 4
VALIDATED_AT_ONCE = 16  # as `jobs.evaluation` has it, which needs torch

PRICES_NS: dict[str, float] = {
    "attended": 11,
    "attention_step": 5e04,
    "augmented_step": 6e04,
    "base_output": 1.89,
    "blurred": 4.85,
    "deep_mac": 0.0461,
    "distilled_step": 5e04,
    "dropped": 0.2,
    "epoch": 2e6,
    "erased": 1.21,
    "flipped": 2.09,
    "mixed": 1.42,
    "paged_output": 0.286,
    "step": 4.55e05,
    "teacher_activation": 1.36,
    "teacher_mac": 0.0183,
    "teacher_parameter": 0.783,
    "tiled_mac": 0.0134,
    "tiled_step": 1.06e06,
    "tiled_weight": 18.9,
    "turbo_output": 8.06,
    "validated_attended": 3.22,
    "validated_base_output": 1.17,
    "validated_deep_mac": 0.016,
    "validated_tiled_mac": 0.00558,
    "validated_turbo_output": 3.93,
    "warped": 2.53,
}
"""Nanoseconds of each amount that `amounts` counts, fitted by `tests.bench.prices` to trainings of
165 plans: of nine in ten they foretell 0.87 to 1.09 of what these took. The steps' shares of
augmentation, attention and distillation, dropout and `epoch` are too small for that: theirs were
set by hand. What members were measured to take corrects all of it (`speeds`)."""

THREADS_EXPONENT = 0.7
"""Assumed, not measured: only large operations are shared, so two threads save 40 % at most."""

PAGED_BYTES = 64 * MIB
"""Larger tensors are given back to the system after use (see `jobs.memory`), and clearing them anew
costs time. So are those from 32 MiB on, glibc's largest threshold, but there it hardly shows."""

SLOT_BYTES = 840 * MIB
"""A warm slot after its first member, without what depends on the plan."""
LIBRARY_BYTES = 380 * MIB
"""Of these, the code of libraries, which all slots of a machine share."""
NODE_BYTES = 900 * MIB
"""The controller with MLflow, and Ray's own processes, on the machine that runs everything."""

FIRST_OUTPUTS_KEPT, DEEP_OUTPUTS_KEPT, IMAGES_KEPT = 3.1, 1.6, 4
"""How many tensors of a size are alive at the peak of a training step."""
TILED_INPUTS_KEPT = 4.3
"""Of a boost's layers, whose inputs are kept as Fourier transforms (`jobs.spectral`), besides
`TILED_BYTES` of what lies between two steps of a transform."""
TILED_BYTES = 24 * MIB
ATTENDED_KEPT, DROPPED_KEPT = 2.0, 0.7
WEIGHTS_KEPT = 13
"""Weights, gradients, momentum, the copies that are reported, and the layouts that oneDNN wants."""
TEACHER_WEIGHTS_KEPT, TEACHER_FLOATS_PER_PIXEL = 3.2, 80
"""Chosen on the high side: a slot with a resnet18 was measured 10 % below the prediction."""

KIND_DIGITS = 8
"""Of the SHA-256 of a team's own code, enough to tell the codes of a cohort apart."""


def work(plan: MemberPlan, num_training_images: int) -> float:
    """Expected seconds of the whole training on a reference core, validation included.

    `num_training_images` are those of the data's training folder, of which the plan takes a part.
    """
    per_epoch_ns = sum(
        amount * PRICES_NS[name] for name, amount in amounts(plan, num_training_images).items()
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


def device_of(kind: str) -> Device:
    """The device of members of a kind."""
    return "cuda" if "cuda" in kind.split() else "cpu"


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


def amounts(plan: MemberPlan, num_training_images: int) -> dict[str, float]:
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
    deep_macs, trained = sum(layer.macs for layer in net.deep), tiled(plan, batch)
    at_once = min(num_validation, VALIDATED_AT_ONCE)
    validated_macs = sum(layer.macs for layer in tiled(plan, at_once))
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
        "augmented_step": steps * sum(changes.values()),
        "base_output": num_train * (0 if turbo else first),
        "turbo_output": num_train * (sum(net.outputs) if turbo else 0),
        "deep_mac": num_train * (deep_macs - sum(layer.macs for layer in trained)),
        "tiled_mac": num_train * sum(layer.macs for layer in trained),
        "tiled_step": steps * len(trained),
        "tiled_weight": steps * sum(layer.num_weights for layer in trained),
        "paged_output": num_train * paged,
        "attended": num_train * attended,
        "attention_step": steps * model.attention,
        "dropped": num_train * (sum(net.outputs) if model.dropout > 0 else 0),
        "validated_attended": num_validation * attended,
        "validated_base_output": num_validation * (0 if turbo else first),
        "validated_turbo_output": num_validation * (sum(net.outputs) if turbo else 0),
        "validated_deep_mac": num_validation * (deep_macs - validated_macs),
        "validated_tiled_mac": num_validation * validated_macs,
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
        if rules is None:
            return SLOT_BYTES + given
        return SLOT_BYTES + given + (rules.memory_mib + rules.state_mib) * MIB
    num_train, num_validation = num_images(plan, num_training_images)
    batch = min(math.ceil(plan.batch_size / plan.workers), num_train)
    net, side = network(plan), plan.data.image_size_px
    last = net.outputs[-1]
    transformed = tiled(plan, batch)
    for_backward = (
        FIRST_OUTPUTS_KEPT * net.outputs[0]
        + DEEP_OUTPUTS_KEPT * sum(net.outputs[1:])
        + TILED_INPUTS_KEPT * sum(layer.num_inputs for layer in transformed)
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
    each += TILED_BYTES * bool(transformed)
    return each * num_workers + (SLOT_BYTES if plan.workers > 1 else 0)


def image_bytes(image_size_px: int, num_images: int) -> int:
    """Memory of decoded images, which every node holds once: three bytes a pixel."""
    return num_images * 3 * image_size_px**2


def _paging(tensor_bytes: int) -> float:
    """How much a tensor suffers from being paged in anew: nothing up to a size, then its log."""
    return math.log2(2 * tensor_bytes / PAGED_BYTES) if tensor_bytes > PAGED_BYTES else 0.0
