"""Plans with a team's own code: who has it, which jobs it changes, and what they should cost."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from jobs.plan import CustomPlan, DistillPlan, SandboxRules, TeacherSpec
from orchestrator.admission.cohort import Cohort, Resources
from orchestrator.admission.files import read_paths
from orchestrator.admission.member_plans import member_plans
from orchestrator.forecasting.capacity import Machine, fits
from orchestrator.forecasting.costs import MIB, kind, memory_bytes, work
from orchestrator.measuring.balance import side_cohort
from orchestrator.teaching.teachings import teaching_key
from tests.orchestrator.cohorts import new_job
from tests.orchestrator.custom_code import ALLOWED, BASE, BUILD, BUY, LOSS, code, coded, with_code
from tests.orchestrator.test_admission import cohort, loadout

WriteCohort = Callable[..., Path]


def test_every_member_has_the_teams_file_in_its_plan() -> None:
    ensemble = {"item": "ensemble-enchanter", "members": [{}, {"learningRate": 0.1}, {"epochs": 3}]}
    bring = code("augment", source="def augment(images, generator): ...")
    plans = member_plans(with_code(ensemble, bring=bring), cohort(allowCustomCode=True))
    assert [plan.custom for plan in plans] == [bring] * 3
    assert member_plans(loadout(ensemble), Cohort())[0].custom is None


def test_a_plan_without_code_is_written_down_as_before_there_was_any() -> None:
    assert "custom" not in BASE.document()
    assert coded().document()["custom"]["file"] == "ours.py"


def test_jobs_without_code_are_the_same_as_before_there_was_any() -> None:
    job = new_job("a", num_members=2)
    plans = [plan.model_dump(mode="json") for plan in job.plans]
    for plan in plans:
        assert plan.pop("custom") is None
        assert plan.pop("workers") == 1
    document = json.dumps({"combine": "mean", "plans": plans}, sort_keys=True)
    assert job.digest == hashlib.sha256(document.encode()).hexdigest()


def test_other_code_is_another_job() -> None:
    job = new_job("a")
    (plan,) = job.plans
    codes = [None, code(source="a = 1"), code(source="a = 2"), code("build_loss", source="a = 1")]
    jobs = [replace(job, plans=(plan.model_copy(update={"custom": each}),)) for each in codes]
    assert len({each.digest for each in jobs}) == len(codes)


def test_a_changed_file_is_a_changed_job_and_a_measurement_keeps_it(
    write_cohort: WriteCohort,
) -> None:
    folder = write_cohort({"a": BUY}, ALLOWED)
    (folder / "ours.py").write_text(BUILD)
    reading = read_paths([folder])
    assert reading.ok
    measured = side_cohort(reading, 2, "drawn")
    (folder / "ours.py").write_text(LOSS)
    loadouts = [file.loadout for file in measured.files if file.loadout]
    assert len(loadouts) == 2
    for each in loadouts:
        (plan,) = member_plans(each, measured.cohort)
        assert plan.custom == CustomPlan(file="ours.py", source=BUILD, defines=("build_model",))
    changed = next(file.loadout for file in read_paths([folder]).files if file.loadout)
    assert changed.code == CustomPlan(file="ours.py", source=LOSS, defines=("build_loss",))


def test_each_code_is_a_kind_of_its_own() -> None:
    plans = [BASE, coded(), coded(code(source="a = 1")), coded(code("augment", source="a = 2"))]
    kinds = [kind(plan) for plan in plans]
    assert len(set(kinds)) == len(kinds)
    assert kinds[0] == "64px"
    assert all(name.startswith("64px custom ") for name in kinds[1:])
    assert kind(coded()) == kind(coded().model_copy(update={"seed": 9, "epochs": 3}))


def test_an_own_network_is_taken_for_a_deeper_one_until_it_is_measured() -> None:
    deeper = BASE.model_copy(update={"model": BASE.model.model_copy(update={"turbo_blocks": 1})})
    assert work(coded(), 1000) == work(deeper, 1000)
    assert work(coded(code("augment", "build_loss")), 1000) == work(BASE, 1000)


def test_memory_is_what_the_cohort_lets_code_use() -> None:
    rules = SandboxRules(memory_mib=1024)
    state = 256 * MIB  # comes out of the sandbox after every epoch
    assert memory_bytes(coded(), 100, rules) - memory_bytes(coded(), 100) == 1024 * MIB + state
    assert memory_bytes(BASE, 100, rules) == memory_bytes(BASE, 100)
    machine = Machine(cpus=2, gpus=0, memory_bytes=3 << 30)
    assert fits(coded(), 100, Resources(), machine, rules) is None
    reason = fits(coded(), 100, Resources(), machine, SandboxRules(memory_mib=4096))
    assert reason is not None
    assert "lower customLimits.memoryMib in the cohort's file" in reason
    assert fits(BASE, 100, Resources(), machine, SandboxRules(memory_mib=4096)) is None


def test_a_teacher_is_asked_about_what_a_teams_own_augmentation_makes() -> None:
    distills = BASE.model_copy(update={"distill": DistillPlan(teacher=TeacherSpec(sha256="0"))})
    looked_up, asked = (
        distills.model_copy(update={"custom": code(function)})
        for function in ("build_model", "augment")
    )
    assert (looked_up.augmented, asked.augmented) == (False, True)
    assert teaching_key(looked_up) == teaching_key(distills)
    assert teaching_key(asked) == (TeacherSpec(sha256="0"), None)
