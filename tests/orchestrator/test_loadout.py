"""The formats: what a loadout and a cohort mean, and the JSON Schema that describes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from orchestrator.admission.cohort import Cohort
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.manifest import Model

LOADOUTS = Path(__file__).parents[2] / "loadouts"
FORMATS: dict[str, type[Model]] = {"loadout": Loadout, "cohort": Cohort}
SCHEMA_SEES = [
    "missing-key", "no-value", "not-a-label", "not-allowed", "not-tunable", "out-of-range",
    "unknown-item", "unknown-key", "wrong-api-version", "wrong-kind", "wrong-type",
]  # fmt: skip


def schema(name: str) -> Draft202012Validator:
    described = json.loads((LOADOUTS / "schema" / f"{name}.json").read_text())
    Draft202012Validator.check_schema(described)
    return Draft202012Validator(described)


def value(**spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "game/v1",
        "kind": "Loadout",
        "metadata": {"team": "howling-pixels"},
        "spec": spec,
    }


def test_what_is_left_out_has_the_games_defaults() -> None:
    spec = Loadout.from_file(value()).spec
    assert (spec.learning_rate, spec.batch_size, spec.epochs, spec.seed) == (0.01, 8, 20, 0)
    assert spec.purchases == ()


def test_a_cohort_may_leave_every_section_out() -> None:
    assert Cohort.from_file({"apiVersion": "game/v1", "kind": "Cohort"}) == Cohort()


def test_files_know_camel_case_only_and_python_snake_case_too() -> None:
    with pytest.raises(ValidationError, match="learning_rate"):
        Loadout.from_file(value(learning_rate=0.1))
    assert Loadout.from_file(value(learningRate=0.1)).spec.learning_rate == 0.1


@pytest.mark.parametrize(
    "spec",
    [
        {"epochs": "20"},
        {"epochs": True},
        {"epochs": 2.5},
        {"learningRate": "0.1"},
        {"learningRate": float("nan")},
        {"learningRate": float("inf")},
        {"learningRate": 0},
        {"batchSize": 0},
        {"seed": -1},
        {"seed": 2**53},
        {"purchases": [{"item": "speed-boost", "momentum": 1}]},
        {"purchases": [{"item": "flip-trick", "horizontal": 1.1}]},
        {"purchases": [{"item": "ensemble-enchanter", "members": [{}]}]},
    ],
)
def test_numbers_are_numbers_and_bounded(spec: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Loadout.from_file(value(**spec))


@pytest.mark.parametrize("gpus", [0, 0.1, 0.166, 0.25, 0.33, 0.5, 1, 4])
def test_gpus_are_whole_or_one_kth(gpus: float) -> None:
    assert Cohort.from_file(cohort_value(gpus=gpus)).spec.resources.gpus == gpus


@pytest.mark.parametrize("gpus", [0.00001, 0.167, 0.3, 0.51, 0.75, 1.04, 1.5, -1])
def test_other_shares_of_a_gpu_are_refused(gpus: float) -> None:
    with pytest.raises(ValidationError):
        Cohort.from_file(cohort_value(gpus=gpus))


def test_a_stored_cohort_may_have_shares_of_an_earlier_release() -> None:
    stored = Cohort.from_file(cohort_value(gpus=0.166)).model_dump(mode="json", by_alias=True)
    stored["spec"]["resources"]["gpus"] = 0.167
    assert Cohort.stored(stored).spec.resources.gpus == 0.167


def test_a_share_that_is_a_little_too_large_is_told_what_to_write() -> None:
    with pytest.raises(ValidationError, match=r"rounded down: 0\.1666 for 6 members on one"):
        Cohort.from_file(cohort_value(gpus=0.167))


def test_a_member_gets_no_more_threads_than_cpus() -> None:
    assert Cohort.from_file(cohort_value(cpus=2, threads=2)).spec.resources.threads == 2
    with pytest.raises(ValidationError, match="3 threads on 2 CPUs"):
        Cohort.from_file(cohort_value(cpus=2, threads=3))


def cohort_value(**resources: object) -> dict[str, Any]:
    return {"apiVersion": "game/v1", "kind": "Cohort", "spec": {"resources": resources}}


@pytest.mark.parametrize("path", sorted((LOADOUTS / "demo").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_loadout_survives_the_way_through_json(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    model = FORMATS[values["kind"].lower()].from_file(values)
    for by_alias in (True, False):
        assert type(model).model_validate_json(model.model_dump_json(by_alias=by_alias)) == model


@pytest.mark.parametrize("name", FORMATS)
def test_the_committed_schema_is_the_formats(name: str) -> None:
    committed = json.loads((LOADOUTS / "schema" / f"{name}.json").read_text())
    assert committed == FORMATS[name].json_schema(), f"run: gamectl schema {name} > {name}.json"


@pytest.mark.parametrize("path", sorted((LOADOUTS / "demo").glob("*.yaml")), ids=lambda p: p.stem)
def test_demo_files_follow_the_schema_they_point_at(path: Path) -> None:
    text = path.read_text()
    values = yaml.safe_load(text)
    name = values["kind"].lower()
    assert text.startswith(f"# yaml-language-server: $schema=../schema/{name}.json\n")
    schema(name).validate(values)


@pytest.mark.parametrize("code", SCHEMA_SEES)
def test_an_editor_sees_what_a_schema_can_tell(code: str) -> None:
    values = yaml.safe_load((LOADOUTS / "refused" / f"{code}.yaml").read_text())
    assert not schema("loadout").is_valid(values)


def test_the_schema_tells_every_key() -> None:
    described = Loadout.json_schema()
    for part in (described, *described["$defs"].values()):
        assert part["additionalProperties"] is False
        for key, field in part["properties"].items():
            assert key in ("apiVersion", "kind", "item", "metadata", "spec") or (
                field.get("description")
            ), key
