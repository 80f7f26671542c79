"""Problems of files: every one at its line, and nothing that a file holds ever raises."""

from pathlib import Path

import pytest
import yaml

from orchestrator.admission import yaml_nodes
from orchestrator.admission.admit import data_problems
from orchestrator.admission.files import located, read_paths
from tests.orchestrator.written_files import DEMO, LOADOUTS, cohort, loadout, only, places, write

REFUSED, REFUSED_CODE = LOADOUTS / "refused", LOADOUTS / "refused-code"
MARK = b"# <- refused here"


def refused(folder: Path) -> list[Path]:
    return sorted(set(folder.glob("*.yaml")) - {folder / "cohort.yaml"})


@pytest.mark.parametrize("path", refused(REFUSED), ids=lambda path: path.stem)
def test_a_refused_file_shows_the_problem_it_is_named_after(path: Path) -> None:
    (file,) = (file for file in read_paths([REFUSED]).files if file.path == str(path))
    (problem,) = file.problems
    lines = path.read_bytes().splitlines() if path.is_file() else []
    marked = [number for number, line in enumerate(lines, start=1) if MARK in line]
    assert problem.code == path.stem
    assert [problem.line] == (marked or [1])


@pytest.mark.parametrize("path", refused(REFUSED_CODE), ids=lambda path: path.stem)
def test_refused_code_shows_its_problem_where_it_is(path: Path) -> None:
    (file,) = (file for file in read_paths([REFUSED_CODE]).files if file.path == str(path))
    (problem,) = file.problems
    assert problem.code == path.stem
    lines = Path(problem.path).read_bytes().splitlines()
    assert [problem.line] == [n for n, line in enumerate(lines, start=1) if MARK in line]


def test_the_drawn_classes_are_checked_unless_other_data_is_meant(tmp_path: Path) -> None:
    howler = loadout(spec="{purchases: [{item: herr-nilssons-friend, className: howler}]}")
    path = write(tmp_path, x=howler) / "x.yaml"
    (file,) = read_paths([path]).files
    assert [problem.code for problem in file.problems] == ["unknown-class"]
    (file,) = read_paths([path], other_data=True).files
    assert file.ok
    (problem,) = located(file, data_problems(file.loadout, ["gibbon"]))
    assert (problem.line, problem.code) == (5, "unknown-class")


def test_every_problem_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    text = """\
apiVersion: game/v2
kind: Loadout
metadata:
  team: Howling Pixels
spec:
  learningrate: 0.1
  epochs: 2.5
  seed:
  purchases:
    - flip-trick
    - item: flp-trick
    - Item: speed-boost
    - item: neural-turbo-boost
      blocks: 0
      blocks: 3
    - item: ensemble-enchanter
      combine: men
      members:
        - {}
        - epochs: no
        - items: {neural-turbo-boost: {}, whirl-and-swirl: {degres: 1}}
"""
    assert places(only(tmp_path, text)) == [
        (1, 13, "wrong-api-version"),
        (4, 9, "not-a-label"),
        (6, 3, "unknown-key"),
        (7, 11, "not-a-number"),
        (8, 8, "no-value"),
        (10, 7, "wrong-type"),
        (11, 13, "unknown-item"),
        (12, 7, "missing-key"),
        (14, 15, "out-of-range"),
        (15, 7, "duplicate-key"),
        (17, 16, "not-allowed"),
        (20, 19, "not-a-number"),
        (21, 19, "not-tunable"),
        (21, 61, "unknown-key"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (loadout(spec="{learning_rate: 1}"), "did you mean learningRate?"),
        (loadout(spec="{purchases: [{item: Flip Trick}]}"), "did you mean flip-trick?"),
        (loadout(spec="{purchases: [{item: flip-trick, x: 1}]}"), "item, horizontal, vertical"),
        (loadout(team="Howling Pixels"), "try howling-pixels"),
        (loadout(team="42"), "team is 42; text is wanted"),
        (loadout(spec="{learningRate: 1e999}"), "learningRate is 1e999; a finite number"),
        (loadout(spec="{learningRate: -1}"), "learningRate is -1; allowed is more than 0"),
        (loadout(spec="{seed: 9007199254740992}"), "allowed is less than 9007199254740992"),
        (loadout(spec="{seed: 0x1F, epochs: 0o17, batchSize: 012a}"), "batchSize is '012a'"),
        (loadout(spec="{batchSize: " + "9" * 5000 + "}"), "batchSize is 9999"),
        (loadout(spec='{epochs: "' + "x" * 500 + '"}'), "xxx...'; a whole number"),
        (loadout(spec='{epochs: "\\e[31m"}'), r"epochs is '\x1b[31m'"),
        (loadout(spec="{<<: {epochs: 1}}"), "unknown key '<<'"),
        (loadout(spec="{purchases: [{item: [a]}]}"), "the shop has no item a list"),
        (cohort(spec="{prices: {speed-bost: 1}}"), "did you mean speed-boost?"),
        (cohort(spec="{queue: {policy: fare}}"), "fair or longest-first; did you mean fair?"),
        (cohort(spec="{resources: {gpus: 0.3}}"), "gpus is 0.3; allowed is a whole number"),
        ("kind: Cohrt\napiVersion: game/v1\n", "did you mean Cohort?"),
        ("apiVersion: game/v1\n", "write kind: Loadout or Cohort"),
        ("- 1\n", "the file is a list; a mapping is wanted"),
        ("a: 'b\n", "not YAML while scanning a quoted scalar"),
        ("{[a]: 1}\n", "a mapping or list as a key"),
        ("a: *b\n", "alias *b"),
    ],
)
def test_messages_say_the_value_and_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    file = only(tmp_path, text)
    assert any(said in problem.message for problem in file.problems), file.problems
    assert all(problem.message.isprintable() for problem in file.problems)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"\xff\xfea\x00", (1, 1, "not-utf8")),
        (b"a: 1\nb: \xe9", (2, 4, "not-utf8")),
        ("apiVersion: game/v1\nkind: \u732b".encode("utf-16-le"), (1, 1, "not-utf8")),
        ("apiVersion: game/v1\nkind: \u732b".encode("utf-16-be"), (1, 1, "not-utf8")),
        (b"a: \x00", (1, 4, "control-character")),
        (b"a: 1\r\nb: \x1b", (2, 4, "control-character")),
        ("a: \u2028b".encode(), (1, 4, "control-character")),
        (b"", (1, 1, "empty-file")),
        (b"---\n", (1, 1, "empty-file")),
        (b"\ta: 1", (1, 1, "tab")),
        (b"# " + b"x" * 65_536, (1, 1, "too-large")),
    ],
)
def test_what_is_no_yaml_text(tmp_path: Path, content: bytes, place: tuple[int, int, str]) -> None:
    assert places(only(tmp_path, content)) == [place]


def test_a_byte_order_mark_and_windows_line_ends_are_no_problem(tmp_path: Path) -> None:
    text = loadout(spec="{epochs: x}").replace("\n", "\r\n")
    assert places(only(tmp_path, b"\xef\xbb\xbf" + text.encode())) == [(5, 16, "not-a-number")]


def test_the_slow_yaml_reader_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML without libyaml: same values, same places, same codes."""
    fast = read_paths([DEMO, REFUSED])
    monkeypatch.setattr(yaml_nodes, "_Loader", yaml.SafeLoader)
    slow = read_paths([DEMO, REFUSED])
    assert [places(file) for file in slow.files] == [places(file) for file in fast.files]
    assert [file.loadout for file in slow.files] == [file.loadout for file in fast.files]
