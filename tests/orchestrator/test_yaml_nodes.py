"""The YAML reader: YAML 1.2's values, their places, and what is refused before it can do harm."""

import pytest

from orchestrator.admission.yaml_nodes import parse, resolve


def codes(text: str) -> list[tuple[int, int, str]]:
    return [
        (problem.place.line, problem.place.column, problem.code) for problem in parse(text).problems
    ]


def test_values_and_their_places() -> None:
    document = parse("a: 1\nb:\n  - {c: 'true'}\n  - |\n    x\n")
    assert document.root == {"a": 1, "b": [{"c": "true"}, "x\n"]}
    assert document.problems == []
    place = document.place(("b", 0, "c"))
    assert (place.line, place.column, place.text) == (3, 9, "true")


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    assert codes("\n".join(lines)) == [(1, 5, "alias")]
    assert codes("a: &a\n  b: *a\n") == [(1, 4, "alias")]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? - ", "a:\n"])
def test_no_nesting_is_too_deep_to_be_refused(opening: str) -> None:
    num_levels = 60_000 // len(opening)
    text = opening * num_levels
    if opening == "a:\n":
        text = "".join(" " * level + opening for level in range(200))
    (problem,) = parse(text).problems
    assert problem.code in ("too-deep", "not-yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("~", None), ("", None), ("NULL", None), ("true", True), ("False", False),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("12:30", "12:30"),
        ("2026-11-23", "2026-11-23"), ("1_000", "1_000"), ("017", 17), ("0o17", 15),
        ("0x1F", 31), ("+3", 3), (".5", 0.5), ("1.", 1.0), ("-.5e-3", -0.0005), ("1e3", 1000.0),
        (".inf", float("inf")), ("-.INF", float("-inf")), ("<<", "<<"), ("0b1", "0b1"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_the_place_of_a_missing_thing_is_what_should_hold_it() -> None:
    document = parse("a:\n  b: {c: 1}\n")
    assert (document.place(("a", "b", "nope")).line, document.place(("x",)).line) == (2, 1)
