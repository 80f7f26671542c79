"""What the shop teaches: every item has a lesson, help for its parameters, and a true example."""

import json
from pathlib import Path
from shutil import copy

import pytest
import yaml
from click.testing import CliRunner
from pydantic import ValidationError

from orchestrator.admission.loadout import Loadout
from orchestrator.admission.purchase import Purchase
from orchestrator.admission.shop import CATALOG
from orchestrator.cli import main

LOADOUTS = Path(__file__).parents[2] / "loadouts"
HEAD = "apiVersion: game/v1\nkind: Loadout\nmetadata: {team: a}\nspec:\n"


def shown(key: str, columns: int = 80) -> str:
    result = CliRunner().invoke(main, ["shop", key], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    return result.stdout


def example(key: str) -> str:
    return HEAD + shown(key).partition("In a loadout:\n")[2]


@pytest.mark.parametrize("key", CATALOG)
def test_a_lesson_is_a_few_sentences(key: str) -> None:
    item = CATALOG[key]
    assert 40 <= len(item.lesson().split()) <= 160
    assert item.blurb().count(".") == 1
    assert item.blurb().endswith(".")


def test_no_two_lessons_are_equal() -> None:
    assert len({item.lesson() for item in CATALOG.values()}) == len(CATALOG)
    assert len({item.blurb() for item in CATALOG.values()}) == len(CATALOG)


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("key", CATALOG)
def test_a_page_fits_the_terminal_and_holds_all_that_is_known(key: str, columns: int) -> None:
    page, item = shown(key, columns), CATALOG[key]
    assert max(map(len, page.splitlines())) <= columns
    words = " ".join(page.split())
    for text in (item.title, *item.also_called, item.blurb(), *item.lesson().split("\n\n")):
        assert text in words
    for name in item.parameters():
        field = item.model_fields[name]
        assert field.description
        assert f"{field.alias or name} {field.description}" in words


@pytest.mark.parametrize("key", CATALOG)
def test_json_holds_the_lesson_and_what_members_may_differ_in(key: str) -> None:
    result = CliRunner().invoke(main, ["shop", key, "-o", "json"])
    (item,) = json.loads(result.stdout)["items"]
    assert item["lesson"] == CATALOG[key].lesson()
    assert item["description"] == CATALOG[key].blurb()
    assert set(item["members_may_differ_in"]) <= item["parameters"].keys()


@pytest.mark.parametrize("key", CATALOG)
def test_the_schema_describes_an_item_in_one_line(key: str) -> None:
    assert CATALOG[key].json_schema()["description"] == CATALOG[key].blurb()


@pytest.mark.parametrize("key", CATALOG)
def test_the_example_of_an_item_can_be_bought(key: str, tmp_path) -> None:
    (tmp_path / "a.yaml").write_text(example(key))
    if key == "custom":
        rules = "apiVersion: game/v1\nkind: Cohort\nspec: {allowCustomCode: true}\n"
        (tmp_path / "cohort.yaml").write_text(rules)
        copy(LOADOUTS / "demo" / "residual.py", tmp_path)
    result = CliRunner().invoke(main, ["validate", str(tmp_path)])
    assert result.exit_code == 0, result.stdout


@pytest.mark.parametrize("key", CATALOG)
def test_the_example_of_an_item_names_it_and_real_parameters(key: str) -> None:
    first, *_ = yaml.safe_load(example(key))["spec"]["purchases"]
    assert first.pop("item") == key
    fields = CATALOG[key].model_fields
    assert first.keys() <= {field.alias or name for name, field in fields.items()}


def test_every_schedule_can_be_bought_with_its_own_parameters(tmp_path) -> None:
    parameters = {
        "cosine": "",
        "step": "every: 2, factor: 0.1",
        "plateau": "patience: 0, factor: 0.1",
        "one-cycle": "warmup: 0.1",
    }
    for schedule, others in parameters.items():
        text = f"  purchases: [{{item: rate-rollercoaster, schedule: {schedule}, {others}}}]\n"
        (tmp_path / f"{schedule}.yaml").write_text(HEAD.replace("a}", f"{schedule}}}") + text)
    result = CliRunner().invoke(main, ["validate", str(tmp_path)])
    assert result.exit_code == 0, result.stdout


def test_a_new_item_needs_no_more_than_its_class() -> None:
    class Banana(Purchase):
        """One sentence
        on two lines.

        A lesson.

        And its end.
        """

        title = "Banana"

    assert (Banana.blurb(), Banana.lesson()) == (
        "One sentence on two lines.", "A lesson.\n\nAnd its end."
    )  # fmt: skip
    assert Banana.tunable() == ()


def test_a_loadout_still_needs_the_key_itself() -> None:
    value = yaml.safe_load(HEAD + "  purchases: [{item: dropout}]\n")
    with pytest.raises(ValidationError):
        Loadout.from_file(value)
