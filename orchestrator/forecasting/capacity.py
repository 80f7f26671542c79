"""Whether a member can ever run on a cluster: what it asks for, held against the largest node.

In: a plan, a cohort's resources and a `Machine`. Out: None, or a sentence that names the resource.
Pure. Ray would retry what fits nowhere for ever, so it must be refused before it is queued. Memory
is held against the largest node of now: one that joins later helps only jobs handed in by then.
Next on the path: `gamectl plan` and `gamectl submit` refuse with the sentence.
"""

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.plan import MemberPlan, SandboxRules
from orchestrator.admission.cohort import Resources
from orchestrator.forecasting.costs import asks_teacher, image_bytes, memory_bytes

CGROUP_CPUS = Path("/sys/fs/cgroup/cpu.max")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")

TINY = 1e-9
"""So that the rounding of sums of fractions refuses nothing."""


@dataclass(frozen=True)
class Machine:
    """What a node has in all, busy or free."""

    cpus: float
    gpus: float
    memory_bytes: int
    alone: bool = False
    """There is no other node for a member's other workers."""


def fits(
    plan: MemberPlan,
    num_training_images: int,
    resources: Resources,
    machine: Machine,
    rules: SandboxRules | None = None,
) -> str | None:
    """None if the machine, a cluster's largest node, can run the member; otherwise why it can't.

    The sentence tells what is asked, what there is, and what to lower. Memory counts the slot and
    the training images, which the node holds once, and for a team's own code what the cohort's
    `rules` let it use.
    """
    lacks: list[str] = []
    workers = plan.workers if machine.alone else 1
    if plan.workers > resources.workers_per_member:  # the cohort's file was changed since
        lacks.append(
            f"the member was submitted with {plan.workers} workers, for which the cohort has no "
            f"room set aside any more (resources.workersPerMember is "
            f"{resources.workers_per_member}): submit it again"
        )
    for name, each, has in (
        ("CPUs", resources.cpus, machine.cpus),
        ("GPUs", resources.gpus, machine.gpus),
    ):
        if (asked := each * workers) > has + TINY:
            of_workers = f" for its {workers} workers" if workers > 1 else ""
            fewer = " or resources.workersPerMember" if workers > 1 else ""
            lacks.append(
                f"a member asks for {asked:g} {name}{of_workers} and the largest node has {has:g}: "
                f"lower resources.{name.lower()}{fewer} in the cohort's file, or join a larger "
                "cluster"
            )
    images = image_bytes(plan.data.image_size_px, num_training_images)
    asked_bytes = memory_bytes(plan, num_training_images, rules, workers) + images
    if asked_bytes > machine.memory_bytes:
        lacks.append(
            f"a member needs about {human_bytes(asked_bytes)} of memory, with the images, and the "
            f"largest node has {human_bytes(machine.memory_bytes)}: lower {_to_lower(plan)}"
        )
    return "; ".join(lacks) or None


def num_slots(resources: Resources, machine: Machine) -> int:
    """How many members a machine trains at the same time, by its CPUs and GPUs."""
    fit = num_that_fit(machine, resources.cpus, resources.gpus) // resources.workers_per_member
    return fit if resources.max_slots is None else min(fit, resources.max_slots)


def num_that_fit(node: Machine, cpus: float, gpus: float) -> int:
    """How many processes that ask for so many CPUs and GPUs a node has room for at a time.

    A share of a GPU is one of a single GPU: what is left of two makes no further one.
    """
    room = [int(node.cpus / cpus + TINY)] if cpus > 0 else []
    if 0 < gpus < 1:
        room.append(int(node.gpus + TINY) * int(1 / gpus + TINY))
    elif gpus > 0:
        room.append(int(node.gpus / gpus + TINY))
    return min(room)


def this_machine(cpus: int | None, resources: Resources) -> Machine:
    """What this machine has; `cpus` count instead of its own."""
    gpus = 0
    if resources.gpus > 0:
        import torch  # a second that only members with GPUs should wait for

        gpus = torch.cuda.device_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # not in a container, or one without a limit: "max"
        memory = min(memory, int(CGROUP_LIMIT.read_text()))
    return Machine(float(cpus or _num_cpus()), float(gpus), memory, alone=True)


def _num_cpus() -> int:
    """The CPUs of this machine, or of this container, as Ray counts them."""
    num_cpus = os.cpu_count() or 1
    with suppress(OSError, ValueError):  # not in a container, or one without a limit: "max"
        quota, period = CGROUP_CPUS.read_text().split()
        num_cpus = min(num_cpus, max(1, math.ceil(int(quota) / int(period))))
    return num_cpus


def human_bytes(num_bytes: float) -> str:
    """Memory for people: 740 MiB, 1.9 GiB."""
    mib = num_bytes / (1 << 20)
    return f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def _to_lower(plan: MemberPlan) -> str:
    """The settings of a plan that its memory grows with, the cheapest to give up first."""
    if plan.custom is not None:
        return "customLimits.memoryMib in the cohort's file, or join a larger cluster"
    settings = [f"batchSize (now {plan.batch_size})"] if plan.batch_size > 1 else []
    settings.append(f"the image size (now {plan.data.image_size_px} px)")
    if plan.model.turbo_blocks > 0:
        settings.append(f"the blocks of neural-turbo-boost (now {plan.model.turbo_blocks})")
    if asks_teacher(plan):
        settings.append("the teacher's size")
    return " or ".join(filter(None, [", ".join(settings[:-1]), settings[-1]]))
