"""The item `custom`: what a cohort allows, what it does to plans, and what it should cost."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from jobs.plan import (
    CustomPlan,
    DataPlan,
    DistillPlan,
    MemberPlan,
    SandboxRules,
    TeacherSpec,
    TeamFunction,
)
from orchestrator.admission import admit
from orchestrator.balance import side_cohort
from orchestrator.capacity import Machine, fits
from orchestrator.cli.demo import LOADOUTS as DEMO
from orchestrator.cli.demo import without_code
from orchestrator.cohort import Cohort, CustomLimits, Resources
from orchestrator.costs import MIB, kind, memory_bytes, work
from orchestrator.files import read_paths
from orchestrator.loadout import Loadout
from orchestrator.member_plans import member_plans
from orchestrator.receipt import receipt_of
from orchestrator.submission import no_sandbox
from orchestrator.teachings import teaching_key
from tests.orchestrator.cohorts import new_job
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.test_admission import cohort, found, loadout

WriteCohort = Callable[..., Path]
ALLOWED = "  allowCustomCode: true\n"
BUY = "purchases: [{item: custom, file: ours.py}]"
BUILD = "def build_model(num_classes, size_px):\n    return None\n"
LOSS = "def build_loss(class_weights):\n    return None\n"
BASE = MemberPlan(data=DataPlan(fingerprint="", classes=("a", "b")))


def code(*defines: TeamFunction, source: str = "pass") -> CustomPlan:
    return CustomPlan(file="ours.py", source=source, defines=defines or ("build_model",))


def with_code(*purchases: dict[str, Any], bring: CustomPlan | None = None) -> Loadout:
    """A loadout that buys these and `custom`, its file read."""
    bought = loadout(*purchases, {"item": "custom", "file": "ours.py"})
    return bought.with_code(bring or code())


def coded(bring: CustomPlan | None = None) -> MemberPlan:
    return BASE.model_copy(update={"custom": bring or code()})


def test_code_is_refused_unless_the_cohort_allows_it() -> None:
    at = ("spec", "purchases", 0, "item")
    admission = admit(with_code(), Cohort())
    assert found(admission) == [(at, "code-not-allowed")]
    (problem,) = admission.problems
    assert "allowCustomCode: true under spec in the cohort's file" in problem.message
    assert admit(with_code(), cohort(allowCustomCode=True)).ok


def test_code_costs_what_the_organizer_says() -> None:
    assert receipt_of(with_code(), cohort()).total_bnn == 0
    assert receipt_of(with_code(), cohort(prices={"custom": 40})).total_bnn == 40
    refused = admit(with_code(), cohort(allowCustomCode=True, offTheShelf=["custom"]))
    assert [name for _, name in found(refused)] == ["off-the-shelf"]


def test_every_member_has_the_teams_file_in_its_plan() -> None:
    ensemble = {"item": "ensemble-enchanter", "members": [{}, {"learningRate": 0.1}, {"epochs": 3}]}
    bring = code("augment", source="def augment(images, generator): ...")
    plans = member_plans(with_code(ensemble, bring=bring), cohort(allowCustomCode=True))
    assert [plan.custom for plan in plans] == [bring] * 3
    assert member_plans(loadout(ensemble), Cohort())[0].custom is None


def test_members_cannot_bring_files_of_their_own(write_cohort: WriteCohort) -> None:
    text = """
purchases:
  - {item: custom, file: ours.py}
  - item: ensemble-enchanter
    members: [{}, {items: {custom: {file: other.py}}}]
"""
    folder = write_cohort({"a": text}, ALLOWED)
    (folder / "ours.py").write_text(BUILD)
    (problem,) = (problem for file in read_paths([folder]).files for problem in file.problems)
    assert problem.code == "not-tunable"
    assert "all members of a job share the team's file" in problem.message


@pytest.mark.parametrize("item", ["neural-turbo-boost", "drop-shield", "focus-lens"])
def test_parts_of_the_games_network_mean_nothing_beside_an_own_one(item: str) -> None:
    rules = cohort(allowCustomCode=True)
    at = ("spec", "purchases", 0, "item")
    admission = admit(with_code({"item": item}), rules)
    assert found(admission) == [(at, "no-effect")]
    assert "build_model in ours.py makes the whole network" in admission.problems[0].message
    assert admit(with_code({"item": item}, bring=code("build_loss", "augment")), rules).ok


def test_what_an_own_network_can_use_is_sold_beside_it() -> None:
    items = ["herr-nilssons-friend", "mixup-mixer", "whirl-and-swirl", "resolution-rocket",
             "speed-boost", "weight-decay"]  # fmt: skip
    bring = code("build_model", "build_loss", "augment")
    bought = with_code(*({"item": item} for item in items), bring=bring)
    assert admit(bought, cohort(allowCustomCode=True)).ok


@pytest.mark.parametrize(
    ("defines", "items", "refused"),
    [
        (["build_model"], [], False),
        (["build_model"], ["speed-boost"], False),
        (["build_model", "augment"], [], True),
        (["build_loss"], ["flip-trick"], True),
        (["build_loss"], ["mixup-mixer"], True),
    ],
)
def test_a_teacher_is_not_handed_to_code(
    defines: list[str], items: list[str], refused: bool
) -> None:
    bought = with_code(
        {"item": "wisdom-extractor"}, *({"item": item} for item in items), bring=code(*defines)
    )
    admitted = admit(bought, cohort(allowCustomCode=True))
    assert admitted.ok is not refused
    if refused:
        [problem] = admitted.problems
        assert problem.code == "conflict"
        assert "given the teacher itself" in problem.message


def test_a_cohorts_rules_for_code_are_the_sandboxes() -> None:
    assert Cohort().spec.sandbox_rules == SandboxRules()
    assert not Cohort().spec.allow_custom_code
    limits = {"wallSeconds": 60, "cpuSeconds": 90.5, "memoryMib": 1024, "processes": 32,
              "openFiles": 64, "temporaryMib": 8, "outputMib": 2}  # fmt: skip
    rules = cohort(customIsolation="process", customLimits=limits).spec.sandbox_rules
    assert rules == SandboxRules(
        isolation="process", wall_seconds=60, cpu_seconds=90.5, memory_mib=1024, processes=32,
        open_files=64, temporary_mib=8, output_mib=2,
    )  # fmt: skip


@pytest.mark.parametrize("name", CustomLimits.model_fields)
def test_a_limit_has_the_default_and_the_bounds_of_the_sandbox(name: str) -> None:
    field, key = CustomLimits.model_fields[name], CustomLimits.model_fields[name].alias
    assert field.default == SandboxRules.model_fields[name].default
    schema = CustomLimits.json_schema()["properties"][key]
    lowest = SandboxRules.model_json_schema()["properties"][name]
    for bound in ("minimum", "exclusiveMinimum"):
        assert schema.get(bound) == lowest.get(bound)
    too_low = schema.get("minimum", 1) - 1
    with pytest.raises(ValidationError):
        cohort(customLimits={key: too_low})
    highest = cohort(customLimits={key: schema["maximum"]}).spec.sandbox_rules
    assert getattr(highest, name) == schema["maximum"]


def test_there_is_a_sandbox_or_there_is_none() -> None:
    with pytest.raises(ValidationError, match="bubblewrap"):
        cohort(customIsolation="docker")


@pytest.mark.parametrize(("file", "good"), [("a.py", True), ("../a.py", False), ("a.txt", False)])
def test_an_editor_sees_a_name_that_is_none(file: str, good: bool) -> None:
    value = {"apiVersion": "game/v1", "kind": "Loadout", "metadata": {"team": "a"},
             "spec": {"purchases": [{"item": "custom", "file": file}]}}  # fmt: skip
    assert Draft202012Validator(Loadout.json_schema()).is_valid(value) == good


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
    assert memory_bytes(coded(), 100, rules) - memory_bytes(coded(), 100) == 1024 * MIB
    assert memory_bytes(BASE, 100, rules) == memory_bytes(BASE, 100)
    machine = Machine(cpus=2, gpus=0, memory_bytes=3 << 30)
    assert fits(coded(), 100, Resources(), machine, rules) is None
    reason = fits(coded(), 100, Resources(), machine, SandboxRules(memory_mib=4096))
    assert reason is not None
    assert "lower customLimits.memoryMib in the cohort's file" in reason
    assert fits(BASE, 100, Resources(), machine, SandboxRules(memory_mib=4096)) is None


@pytest.mark.parametrize("command", ["submit", "plan"])
def test_code_that_cannot_be_kept_apart_is_refused_before_anything_is_stored(
    write_cohort: WriteCohort, photos: Path, home: Path, command: str
) -> None:
    """On a machine without bubblewrap; in a process of its own, which must find that out."""
    folder = write_cohort({"a": BUY, "plain": "epochs: 1"}, ALLOWED)
    (folder / "ours.py").write_text(BUILD)
    program = "from orchestrator.cli import main; main()"
    words = [sys.executable, "-c", program, command, str(folder), "--data", str(photos)]
    others = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    env = {**others, "PATH": str(home / "nothing-here")}
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    said = done.stdout + done.stderr
    assert "bubblewrap is not installed" in said
    assert "customIsolation: process" in said
    assert "plain: " not in said
    assert not list(home.glob("store.db*"))


def test_a_plain_process_can_always_be_made() -> None:
    assert no_sandbox(SandboxRules(isolation="process")) is None


def test_a_preview_says_that_it_leaves_code_out(
    write_cohort: WriteCohort, photos: Path, home: Path, tmp_path: Path
) -> None:
    folder = write_cohort({"a": BUY}, ALLOWED)
    (folder / "ours.py").write_text("def augment(images, generator): return images\n")
    words = ["preview", folder / "a.yaml", "--data", photos, "-o", tmp_path / "a.png"]
    result = gamectl(*words)
    assert result.exit_code == 0, result.output
    assert "without augment of ours.py: a team's own code runs in a sandbox only" in result.stderr
    (folder / "ours.py").write_text(LOSS)
    assert "sandbox" not in gamectl(*words).output


def test_on_a_cluster_elsewhere_the_sandbox_is_its_own_affair(
    write_cohort: WriteCohort, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    folder = write_cohort({"a": BUY}, ALLOWED)
    (folder / "ours.py").write_text(BUILD)
    assert read_json("plan", folder)["refused"] == []


def test_the_demo_has_a_team_with_code_and_can_do_without_it() -> None:
    reading = read_paths([DEMO])
    left_out = {f.team for f in reading.files} - {f.team for f in without_code(reading).files}
    assert left_out == {"residual-raccoons"}


def test_a_teacher_is_asked_about_what_a_teams_own_augmentation_makes() -> None:
    distills = BASE.model_copy(update={"distill": DistillPlan(teacher=TeacherSpec(sha256="0"))})
    looked_up, asked = (
        distills.model_copy(update={"custom": code(function)})
        for function in ("build_model", "augment")
    )
    assert (looked_up.augmented, asked.augmented) == (False, True)
    assert teaching_key(looked_up) == teaching_key(distills)
    assert teaching_key(asked) == (TeacherSpec(sha256="0"), None)


def test_a_plan_without_code_is_written_down_as_before_there_was_any() -> None:
    assert "custom" not in BASE.document()
    assert coded().document()["custom"]["file"] == "ours.py"
