"""What fits on a node and what never can, over plain values."""

from dataclasses import replace

from jobs.plan import AugmentPlan, DataPlan, DistillPlan, MemberPlan
from orchestrator.admission.cohort import Resources
from orchestrator.forecasting.capacity import Machine, fits, human_bytes, num_slots
from orchestrator.forecasting.costs import image_bytes, memory_bytes

GIB = 1 << 30
PLAN = MemberPlan(data=DataPlan(fingerprint="", classes=("n0", "n1")))
ROOMY = Machine(cpus=2, gpus=0, memory_bytes=8 * GIB)


def test_a_member_that_fits_is_not_refused() -> None:
    assert fits(PLAN, 1000, Resources(), ROOMY) is None
    assert fits(PLAN, 1000, Resources(cpus=2), ROOMY) is None


def test_what_is_short_is_named_with_what_there_is_and_what_to_lower() -> None:
    reason = fits(PLAN, 1000, Resources(cpus=4), ROOMY)
    assert reason == (
        "a member asks for 4 CPUs and the largest node has 2: lower resources.cpus in the "
        "cohort's file, or join a larger cluster"
    )
    reason = fits(PLAN, 1000, Resources(gpus=0.5), ROOMY)
    assert reason is not None
    assert "0.5 GPUs and the largest node has 0: lower resources.gpus" in reason
    reason = fits(
        MemberPlan(data=PLAN.data.model_copy(update={"image_size_px": 1024}), batch_size=256),
        1000,
        Resources(),
        ROOMY,
    )
    assert reason is not None
    assert "GiB of memory" in reason
    assert "largest node has 8.0 GiB" in reason
    assert "lower batchSize (now 256) or the image size (now 1024 px)" in reason


def test_every_shortage_is_told_at_once() -> None:
    poor = Machine(cpus=0.5, gpus=0, memory_bytes=GIB // 2)
    taught = PLAN.model_copy(update={"distill": DistillPlan(), "augment": AugmentPlan(erase_p=0.5)})
    reason = fits(taught, 1000, Resources(gpus=1), poor)
    assert reason is not None
    assert all(word in reason for word in ("1 CPUs", "1 GPUs", "512 MiB", "the teacher's size"))


def test_memory_counts_the_images_of_the_node() -> None:
    needed = memory_bytes(PLAN, 1000)
    assert fits(PLAN, 1000, Resources(), replace(ROOMY, memory_bytes=needed)) is not None
    enough = needed + image_bytes(64, 1000)
    assert fits(PLAN, 1000, Resources(), replace(ROOMY, memory_bytes=enough)) is None


def test_slots_are_counted_by_the_scarcest_resource() -> None:
    machine = Machine(cpus=8, gpus=2, memory_bytes=GIB)
    assert num_slots(Resources(cpus=3), machine) == 2
    assert num_slots(Resources(cpus=1, gpus=0.5), machine) == 4
    shared = replace(machine, cpus=400, gpus=30)
    assert num_slots(Resources(cpus=1, gpus=0.33), shared) == 90, "not 30 / 0.33"
    assert num_slots(Resources(cpus=1, gpus=2), shared) == 15
    assert num_slots(Resources(cpus=0.1), replace(machine, cpus=0.3)) == 3
    assert num_slots(Resources(cpus=16), machine) == 0
    assert num_slots(Resources(max_slots=3), machine) == 3


def test_memory_is_written_for_people() -> None:
    assert human_bytes(740 * 2**20) == "740 MiB"
    assert human_bytes(1.9 * GIB) == "1.9 GiB"
