"""The shop: prices, what an item writes into a plan, and what follows from an item's class."""

import json

import pytest
from click.testing import CliRunner

from jobs.plan import DataPlan, MemberPlan
from orchestrator.cli import main
from orchestrator.enchanter import MEMBER_ITEMS, MemberItems
from orchestrator.shop import CATALOG, nearest, unit_price_bnn

PLAN = MemberPlan(data=DataPlan(fingerprint="f", classes=("a", "b")))
PRICES_BNN = {
    "info-infusion": 20,
    "speed-boost": 0,
    "weight-decay": 20,
    "whirl-and-swirl": 10,
    "flip-trick": 10,
    "tokyo-data-drift": 5,
    "neural-turbo-boost": 20,
    "ensemble-enchanter": 60,
}


def changes(key: str, **parameters: object) -> dict[str, object]:
    """Return what an item changes in a plan, as {"section.field": value}."""
    plan = CATALOG[key].from_file({"item": key, **parameters}).apply(PLAN)
    before, after = PLAN.model_dump(), plan.model_dump()
    return {
        f"{section}.{name}": after[section][name]
        for section in ("data", "model", "augment", "optimizer")
        for name in after[section]
        if after[section][name] != before[section][name]
    } | {name: after[name] for name in ("seed", "epochs") if after[name] != before[name]}


def test_prices_are_the_rule_books() -> None:
    assert {key: item.price_bnn for key, item in CATALOG.items()} == PRICES_BNN


def test_a_cohorts_price_comes_before_the_catalogs() -> None:
    assert unit_price_bnn("speed-boost", {"speed-boost": 7}) == 7
    assert unit_price_bnn("weight-decay", {"speed-boost": 7}) == 20


@pytest.mark.parametrize(
    ("key", "parameters", "changed"),
    [
        ("info-infusion", {}, {"data.train_fraction": 1.0}),
        ("speed-boost", {}, {"optimizer.momentum": 0.9}),
        ("weight-decay", {}, {"optimizer.weight_decay": 1e-4}),
        ("whirl-and-swirl", {}, {"augment.rotate_degrees": 15}),
        ("whirl-and-swirl", {"degrees": 30}, {"augment.rotate_degrees": 30}),
        ("flip-trick", {}, {"augment.flip_horizontal_p": 0.2, "augment.flip_vertical_p": 0.2}),
        ("flip-trick", {"horizontal": 1, "vertical": 0}, {"augment.flip_horizontal_p": 1}),
        ("tokyo-data-drift", {}, {"augment.shift_fraction": 0.1}),
        ("neural-turbo-boost", {"blocks": 3}, {"model.turbo_blocks": 3}),
        ("ensemble-enchanter", {"members": [{}, {}]}, {}),
    ],
)
def test_an_item_writes_its_technique_into_the_plan(
    key: str, parameters: dict[str, object], changed: dict[str, object]
) -> None:
    assert changes(key, **parameters) == changed


def test_no_two_items_write_the_same_field() -> None:
    written = [field for item in MEMBER_ITEMS for field in changes(item.key())]
    assert len(written) == len(set(written))


def test_members_may_differ_in_what_carries_no_price() -> None:
    tunable = {field.alias for field in MemberItems.model_fields.values()}
    assert tunable == {
        "speed-boost", "weight-decay", "whirl-and-swirl", "flip-trick", "tokyo-data-drift"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("flp-trick", "flip-trick"),
        ("Flip Trick", "flip-trick"),
        ("turbo-boost", "neural-turbo-boost"),
        ("ensemble", "ensemble-enchanter"),
    ],
)
def test_the_nearest_item_is_found(word: str, meant: str) -> None:
    assert nearest(word, CATALOG) == f"; did you mean {meant}?"


def test_nothing_is_near_to_nonsense() -> None:
    assert nearest("qqqq", CATALOG) == ""


def test_shop_prints_a_table_that_fits_80_columns() -> None:
    result = CliRunner().invoke(main, ["shop"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    for key, price_bnn in PRICES_BNN.items():
        line = next(line for line in result.stdout.splitlines() if line.startswith(f"{key} "))
        assert str(price_bnn) in line.split()
        assert len(line) <= 80


def test_shop_gives_one_item_with_its_parameters() -> None:
    result = CliRunner().invoke(main, ["shop", "whirl-and-swirl", "-o", "json"])
    (item,) = json.loads(result.stdout)["items"]
    assert (item["item"], item["price_bnn"], item["on_the_shelf"]) == ("whirl-and-swirl", 10, True)
    degrees = item["parameters"]["degrees"]
    assert (degrees["default"], degrees["exclusiveMinimum"], degrees["maximum"]) == (15, 0, 180)


@pytest.mark.parametrize("key", CATALOG)
def test_the_example_of_an_item_can_be_bought(key: str, tmp_path) -> None:
    shown = CliRunner().invoke(main, ["shop", key]).stdout
    example = shown.partition("In a loadout:\n")[2]
    head = "apiVersion: game/v1\nkind: Loadout\nmetadata: {team: a}\nspec:\n"
    (tmp_path / "a.yaml").write_text(head + example)
    result = CliRunner().invoke(main, ["validate", str(tmp_path)])
    assert result.exit_code == 0, result.stdout


def test_shop_shows_a_cohorts_prices(tmp_path) -> None:
    cohort = tmp_path / "cohort.yaml"
    cohort.write_text(
        "apiVersion: game/v1\nkind: Cohort\n"
        "spec: {prices: {speed-boost: 5}, offTheShelf: [flip-trick]}\n"
    )
    result = CliRunner().invoke(main, ["shop", "--cohort-file", str(cohort), "-o", "json"])
    items = {item["item"]: item for item in json.loads(result.stdout)["items"]}
    assert items["speed-boost"]["price_bnn"] == 5
    assert not items["flip-trick"]["on_the_shelf"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["neural-turbo-boost"], "Neural Turbo Boost: 20 B NN each\n"),
        (["flip-trick"], "Flip Trick: 10 B NN\n"),
        (["ensemble-enchanter"], "        - learningRate: 0.05"),
        (["ensemble-enchanter"], "            whirl-and-swirl:\n              degrees: 30\n"),
        (["Data Potion"], "the shop has no item 'Data Potion'; did you mean info-infusion?"),
    ],
)
def test_shop_says_how_an_item_is_sold_and_written(words: list[str], said: str) -> None:
    assert said in CliRunner().invoke(main, ["shop", *words]).output


def test_shop_refuses_what_it_does_not_know(tmp_path) -> None:
    result = CliRunner().invoke(main, ["shop", "flip-trik"])
    assert result.exit_code == 2
    assert "did you mean flip-trick?" in result.stderr
    result = CliRunner().invoke(main, ["shop", "--cohort-file", str(tmp_path / "nope.yaml")])
    assert result.exit_code == 1
    assert "unreadable" in result.stderr
    assert result.stdout == ""
