"""The shop: prices, names, and what `gamectl shop` shows. What items do is in `test_items`."""

import json

import pytest
from click.testing import CliRunner

from orchestrator.admission.shop import (
    CATALOG,
    SHELVES,
    item_called,
    nearest,
    unit_price_bnn,
    unknown_item,
)
from orchestrator.cli import main

PRICES_BNN = {
    "info-infusion": 20,
    "resolution-rocket": 5,
    "flip-trick": 10,
    "whirl-and-swirl": 10,
    "tokyo-data-drift": 5,
    "foggy-lens": 5,
    "cutout-chaos": 10,
    "mixup-mixer": 20,
    "neural-turbo-boost": 20,
    "drop-shield": 10,
    "focus-lens": 0,
    "speed-boost": 0,
    "weight-decay": 20,
    "learning-rate-decay": 5,
    "rate-rollercoaster": 10,
    "herr-nilssons-friend": 0,
    "wisdom-extractor": 0,
    "custom": 0,
    "ensemble-enchanter": 60,
}
NAMES = {
    "info-infusion": ["Info Infusion", "Data Potion", "more data"],
    "resolution-rocket": ["Resolution Rocket", "upsample", "downsample"],
    "flip-trick": ["Flip Trick", "flip"],
    "whirl-and-swirl": ["Whirl and Swirl", "rotate"],
    "tokyo-data-drift": ["Need for Shift: Tokyo Data Drift", "Need for Shift", "shift"],
    "foggy-lens": ["Foggy Lens", "blur"],
    "cutout-chaos": ["Missing Pieces", "Cutout Chaos", "Cutout Mask", "cutout", "random erasing"],
    "mixup-mixer": ["Mixup Mixer", "mixup"],
    "neural-turbo-boost": ["Neural Turbo Boost"],
    "drop-shield": ["Drop Shield", "dropout"],
    "focus-lens": ["Focus Lens", "spatial attention", "attention"],
    "speed-boost": ["Speed Boost", "momentum"],
    "weight-decay": ["Weight decay"],
    "learning-rate-decay": ["Learning rate decay"],
    "rate-rollercoaster": [
        "Rate Rollercoaster", "Speed Dial", "learning rate scheduler", "scheduler",
    ],
    "herr-nilssons-friend": ["Herr Nilsson's Friend", "focus on one class"],
    "wisdom-extractor": ["Wisdom Extractor", "knowledge distillation", "distillation"],
    "custom": ["Do Whatever You Want", "Find Out", "own code", "own network", "own loss"],
    "ensemble-enchanter": ["Ensemble Enchanter", "ensemble"],
}  # fmt: skip


def test_prices_are_the_rule_books() -> None:
    assert {key: item.price_bnn for key, item in CATALOG.items()} == PRICES_BNN


def test_every_item_lies_on_one_shelf() -> None:
    assert [item for items in SHELVES.values() for item in items] == list(CATALOG.values())


@pytest.mark.parametrize("key", CATALOG)
def test_an_item_is_found_by_every_name(key: str) -> None:
    for name in [key, *NAMES[key]]:
        assert item_called(name) is CATALOG[key]
        assert item_called(name.upper()) is CATALOG[key]
        if name != key:
            assert unknown_item(f"'{name}'").endswith(f"; did you mean {key}?")


def test_no_name_is_two_items() -> None:
    for item in CATALOG.values():
        for name in (item.title, *item.also_called, *item.plain_words):
            assert item_called(name) is item


def test_two_items_in_one_entry_are_told_apart_from_one_with_a_long_name() -> None:
    assert unknown_item("'dropout and mixup'").endswith("one item a line: `- item: ...`")
    assert unknown_item("'upsample, downsample'").endswith("did you mean resolution-rocket?")


def test_a_cohorts_price_comes_before_the_catalogs() -> None:
    assert unit_price_bnn("speed-boost", {"speed-boost": 7}) == 7
    assert unit_price_bnn("weight-decay", {"speed-boost": 7}) == 20


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


@pytest.mark.parametrize("columns", [60, 80])
def test_shop_prints_a_table_that_fits_the_terminal(columns: int) -> None:
    result = CliRunner().invoke(main, ["shop"], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for key, price_bnn in PRICES_BNN.items():
        line = next(line for line in lines if line.startswith(f"{key} "))
        assert ("not sold" if key == "custom" else str(price_bnn)) in line
    assert max(map(len, lines)) <= columns
    assert [line.strip() for line in lines if line.strip().lower() in SHELVES] == [
        shelf.upper() for shelf in SHELVES
    ]


def test_shop_gives_one_item_with_its_parameters() -> None:
    result = CliRunner().invoke(main, ["shop", "whirl-and-swirl", "-o", "json"])
    (item,) = json.loads(result.stdout)["items"]
    assert (item["item"], item["price_bnn"], item["on_the_shelf"]) == ("whirl-and-swirl", 10, True)
    degrees = item["parameters"]["degrees"]
    assert (degrees["default"], degrees["exclusiveMinimum"], degrees["maximum"]) == (15, 0, 180)


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
    assert not items["custom"]["on_the_shelf"]
    cohort.write_text("apiVersion: game/v1\nkind: Cohort\nspec: {allowCustomCode: true}\n")
    result = CliRunner().invoke(main, ["shop", "own code", "--cohort-file", str(cohort)])
    assert result.stdout.startswith("Do Whatever You Want or Find Out (own code): 0 B NN\n")


def test_shop_says_whose_rules_it_shows(tmp_path) -> None:
    default = CliRunner().invoke(main, ["shop"]).stderr
    assert default.startswith("By default a team has 100 B NN; at most 40 epochs, ")
    assert "; a cohort's file may say otherwise (--cohort-file)." in default
    cohort = tmp_path / "cohort.yaml"
    cohort.write_text("apiVersion: game/v1\nkind: Cohort\nspec: {limits: {epochs: 20}}\n")
    own = CliRunner().invoke(main, ["shop", "--cohort-file", str(cohort)]).stderr
    assert own.startswith("A team has 100 B NN; at most 20 epochs, ")
    assert "otherwise" not in own


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["neural-turbo-boost"], "Neural Turbo Boost (deeper network): 20 B NN each\n"),
        (["Data Potion"], "Info Infusion or Data Potion (more data): 20 B NN\n"),
        (["dropout"], "    - item: drop-shield\n      rate: 0.5\n"),
        (["rate-rollercoaster"], "      schedule: step  # or cosine, one-cycle, plateau\n"),
        (["ensemble-enchanter"], "        - learningRate: 0.05"),
        (["ensemble-enchanter"], "default\n              optional; at least 1\n"),
        (["ensemble-enchanter"], "            whirl-and-swirl:\n              degrees: 30\n"),
        (["Data Pution"], "the shop has no item 'Data Pution'; did you mean info-infusion?"),
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
