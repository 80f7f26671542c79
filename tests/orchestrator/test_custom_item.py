"""The item `custom`: what a cohort allows, what it costs, and what makes no sense beside it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from jobs.plan import SandboxRules
from orchestrator.admission.admit import admit
from orchestrator.admission.cohort import Cohort, CustomLimits
from orchestrator.admission.files import read_paths
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.receipt import receipt_of
from tests.orchestrator.custom_code import ALLOWED, BUILD, code, with_code
from tests.orchestrator.test_admission import cohort, found

WriteCohort = Callable[..., Path]


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
