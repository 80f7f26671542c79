"""Lines that start in the wrong column: each is held against the line that it should stand below.

Where the columns do not tell what was meant, nothing is claimed.
"""

from pathlib import Path

import pytest
import yaml

from orchestrator.admission import yaml_nodes
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.files import read_paths
from orchestrator.admission.indentation import LISTS, MAPPINGS
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.yaml_nodes import parse

COLUMN = ": keys of one block start in the same column"
ITEM = "  purchases:\n    - item: flip-trick\n"
MEMBERS = "  purchases:\n    - item: ensemble-enchanter\n      members:\n        - seed: 1\n"


@pytest.fixture(params=["libyaml", "python"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of PyYAML's parsers, which stop at the same places with other words."""
    if request.param == "python":
        monkeypatch.setattr(yaml_nodes, "_Loader", yaml.SafeLoader)


def told(text: str) -> tuple[int, int, str]:
    (problem,) = parse(text).problems
    return problem.place.line, problem.place.column, problem.message


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("block", "column", "said"),
    [
        ("  learningRate: 0.02\n   batchSize: 16", 4, "3 is indented by 3 spaces, line 2 by 2"),
        ("  seed: 1  # any\n\n  # x:\n   epochs: 3\n", 4, "5 is indented by 3 spaces, line 2 by 2"),
        ("  seed: '1'\n      epochs: 3\n", 7, "3 is indented by 6 spaces, line 2 by 2"),
        ("  seed: 1\n   purchases:\n    - item: x\n", 4, "3 is indented by 3 spaces, line 2 by 2"),
        (" learningRate: 0.02\n  epochs: 3\n", 3, "3 is indented by 2 spaces, line 2 by 1"),
        ("  learningRate: 0.02\n epochs: 3\n", 2, "3 is indented by 1 space, line 2 by 2"),
        ("  seed: 1\n  batchSize: 4\n epochs: 3\n", 2, "4 is indented by 1 space, line 3 by 2"),
        (f"{ITEM}        horizontal: 0.5\n", 9,
         "4 is indented by 8 spaces, 'item' in line 3 starts after 6"),
        (f"{ITEM}     horizontal: 0.5\n", 6,
         "4 is indented by 5 spaces, line 2 by 2 and 'item' in line 3 starts after 6"),
        (f"{ITEM}   horizontal: 0.5\n", 4,
         "4 is indented by 3 spaces, line 2 by 2 and 'item' in line 3 starts after 6"),
        ("  limits:\n    epochs: 3\n   members: 4\n", 4,
         "4 is indented by 3 spaces, line 2 by 2 and line 3 by 4"),
    ],
)  # fmt: skip
def test_a_key_out_of_its_column(block: str, column: int, said: str) -> None:
    line = int(said.partition(" ")[0])
    assert told(f"spec:\n{block}") == (line, column, f"line {said}{COLUMN}")


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("block", "column", "lines"),
    [
        (f"{ITEM}     - item: speed-boost\n", 6, "3"),
        (f"{ITEM}   - item: speed-boost\n", 4, "3"),
        (f"{ITEM}  - item: speed-boost\n", 3, "3"),
        (f"{ITEM}      - item: speed-boost\n", 7, "3"),
        (f"{ITEM}        - item: speed-boost\n", 9, "3"),
        (f"{ITEM}      vertical: 0\n        - item: speed-boost\n", 9, "3"),
        (f"{ITEM}      vertical: 0\n     - item: speed-boost\n", 6, "3"),
        ("  offTheShelf:\n    - custom\n   - drop-shield\n", 4, "3"),
        (f"{MEMBERS}       - seed: 2\n", 8, "3 or in line 5"),
    ],
)
def test_a_lists_entry_out_of_its_column(block: str, column: int, lines: str) -> None:
    text = f"spec:\n{block}"
    said = f"this `-` must stand below the one in line {lines}"
    assert told(text) == (text.count("\n"), column, said)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metadata: team: f\nspec: {}\n",
         (1, 11, "write `metadata: {team: f}`, or `team: f` indented on the next line")),
        ("spec: seed: 1  # any\n  epochs: 3\n",
         (1, 7, "write `seed: 1` in a line of its own, indented like line 2")),
        ("spec: purchases:\n    - item: flip-trick\n",
         (1, 7, "write `purchases:` indented on the next line")),
        ("kind: Loadout\n metadata:\n  team: f\n",
         (2, 2, "'metadata' is indented by 1 space: start it in column 1")),
        ("metadata:\n  team: f\n spec:\n  seed: 1\n",
         (3, 2, "'spec' is indented by 1 space: start it in column 1")),
        ("metadata:\n  team: f\n   spec:\n    seed: 1\n",
         (3, 4, "'spec' is indented by 3 spaces: start it in column 1")),
        (" kind: Loadout\nmetadata: {team: f}\n",
         (2, 1, f"line 2 is not indented, line 1 by 1 space{COLUMN}")),
    ],
)  # fmt: skip
def test_what_stands_at_the_top_of_a_file(text: str, said: tuple[int, int, str]) -> None:
    assert told(text) == said


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "text",
    [
        "metadata: f\n  team: g\n",  # `f` is one too many, not the columns
        "spec: {}\n  epochs: 3\n",
        "spec:\n  purchases: flip-trick\n    - item: speed-boost\n",
        "spec:\n  seed: 1\n  - item: flip-trick\n",  # of which list?
        "spec:\n  note: |\n     a\n    b: 3\n",
        "spec:\n  note: 'a\n    b'\n     c: 3\n",
        "spec:\n  note: a b: c\n",
        "spec:\n  seed: 1: 2\n",
        "spec:\n  limits: {epochs: 3}}\n  seed: 2\n",
        "spec:\n  purchases: [\n  {item: a}\n  {item: b}]\n",
        "spec:\n  x: [{a: 1}\n   c: 3]\n",
        "spec:\n  items:\n    flip-trick: 1\n      vertical: 0\n",
    ],
)
def test_where_columns_do_not_tell_the_parser_is_quoted(text: str) -> None:
    assert told(text)[2].startswith("not YAML")


def test_all_keys_that_hold_others_are_known() -> None:
    lists, mappings = set(), set()
    for model in (Loadout, Cohort):
        schema = model.json_schema()
        for part in (schema, *schema["$defs"].values()):
            for name, value in part["properties"].items():
                lists |= {name} if value.get("type") == "array" else set()
                mappings |= {name} if value.get("type") == "object" or "$ref" in value else set()
    assert lists == LISTS
    assert mappings <= MAPPINGS


def problems(tmp_path: Path, rest: str) -> list[tuple[int, int, str]]:
    path = tmp_path / "x.yaml"
    path.write_text(f"apiVersion: game/v1\nkind: Loadout\n{rest}")
    (file,) = read_paths([path]).files
    return [(each.line, each.column, each.message) for each in file.problems]


@pytest.mark.parametrize("value", ["\n  learningRate: 0.02\n", "\n    seed: 1\n", " {}\n"])
def test_a_section_inside_another_is_the_only_problem(tmp_path: Path, value: str) -> None:
    assert problems(tmp_path, f"metadata:\n  team: t\n  spec:{value}") == [
        (5, 3, "'spec' is indented, so it counts as part of metadata: start it in column 1, and "
               "indent its keys"),
    ]  # fmt: skip


def test_an_unknown_key_before_an_indented_section_is_told_too(tmp_path: Path) -> None:
    rest = "metadata:\n  taem: t\n  team: t\n  spec:\n    seed: 1\nspec:\n  kind: a\n"
    assert [line for line, *_ in problems(tmp_path, rest)] == [4, 6, 9]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("metadata: {team: t}\nspec:\n", "; write its keys below it, indented, or leave it out"),
        ("metadata:\nspec: {seed: 1}\n", "; write its keys below it, indented"),
        ("spec: {seed: 1}\nmetadata:\n", "; write its keys below it, indented"),
        ("metadata: {team:g}\n", "; a key needs a colon and a space: `team: g`"),
        ("metadata: {team: g}\nspec: {seed: 1, epochs:3}\n",
         "; a key needs a colon and a space: `epochs: 3`"),
    ],
)  # fmt: skip
def test_what_has_no_value_says_what_is_missing(tmp_path: Path, rest: str, said: str) -> None:
    ((_, _, message),) = problems(tmp_path, rest)
    assert message.endswith(f" has no value{said}")
