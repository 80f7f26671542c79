"""`gamectl` itself: what it prints where, exit codes, and what it does not import."""

import ast
import json
import pickle
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from jobs.errors import DataError
from orchestrator import errors
from orchestrator.cli import COMMANDS, main

LOADOUTS = Path(__file__).parents[2] / "loadouts"
DEMO, REFUSED = str(LOADOUTS / "demo"), str(LOADOUTS / "refused")
HEAVY = {"torch", "torchvision", "ray", "mlflow", "sqlalchemy", "numpy"}


def gamectl(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_good_files_get_a_line_each_and_exit_code_0() -> None:
    result = gamectl("validate", DEMO)
    assert result.exit_code == 0
    wise = f"{DEMO}/three-wise-monkeys.yaml  ok  three-wise-monkeys  100 of 100 B NN"
    assert wise in result.stdout.splitlines()
    count = len(list(Path(DEMO).glob("*.yaml")))
    assert result.stderr == f"files: {count}, ok: {count}, refused: 0\n"


def test_problems_are_sorted_lines_that_grep_finds() -> None:
    result = gamectl("validate", f"{REFUSED}/unknown-key.yaml", f"{REFUSED}/over-budget.yaml")
    assert result.exit_code == 1
    costs = "ensemble-enchanter 60 + weight-decay 20 = 80 B NN"
    budget = f"{costs}; the budget is 60 B NN: 20 B NN too much"
    assert result.stdout.splitlines() == [
        f"{REFUSED}/cohort.yaml  ok  cohort",
        f"{REFUSED}/over-budget.yaml:7:3  over-budget  {budget}",
        f"{REFUSED}/unknown-key.yaml:7:3  unknown-key  "
        "unknown key 'leraningRate'; did you mean learningRate?",
    ]
    assert result.stderr == "files: 3, ok: 1, refused: 2, problems: 2\n"


def test_json_says_the_same_and_nothing_else() -> None:
    result = gamectl("validate", DEMO, "-o", "json")
    files = {file["team"]: file for file in json.loads(result.stdout)["files"]}
    assert result.stderr == ""
    assert files[None]["path"] == f"{DEMO}/cohort.yaml"
    assert files["dizzy-macaques"] == {
        "path": f"{DEMO}/dizzy-macaques.yaml",
        "team": "dizzy-macaques",
        "ok": True,
        "receipt": {
            "lines": [
                {"item": "whirl-and-swirl", "title": "Whirl and Swirl", "quantity": 1,
                 "price_bnn": 10, "total_bnn": 10},
                {"item": "tokyo-data-drift", "title": "Need for Shift: Tokyo Data Drift",
                 "quantity": 1, "price_bnn": 5, "total_bnn": 5},
                {"item": "learning-rate-decay", "title": "Learning rate decay",
                 "quantity": 1, "price_bnn": 5, "total_bnn": 5},
            ],
            "total_bnn": 20,
            "budget_bnn": 100,
        },
        "problems": [],
    }  # fmt: skip


def test_json_of_a_refused_file() -> None:
    result = gamectl("validate", f"{REFUSED}/unknown-item.yaml", "-o", "json")
    (cohort, file) = sorted(json.loads(result.stdout)["files"], key=lambda file: file["path"])
    assert result.exit_code == 1
    assert cohort["ok"]
    assert (file["ok"], file["receipt"], file["team"]) == (False, None, "unknown-item")
    message = "the shop has no item 'flop-trick'; did you mean flip-trick?"
    place = {"path": f"{REFUSED}/unknown-item.yaml", "line": 8, "column": 13}
    assert file["problems"] == [{**place, "code": "unknown-item", "message": message}]


def test_a_file_name_cannot_act_on_the_terminal(tmp_path) -> None:
    (tmp_path / "a\x1b[31m\n.yaml").write_text("")
    result = gamectl("validate", str(tmp_path))
    assert result.stdout.startswith(f"{tmp_path}/a\\x1b[31m\\n.yaml:1:1  empty-file")


def test_what_was_not_read_and_which_rules_held_are_notes(tmp_path) -> None:
    text = "apiVersion: game/v1\nkind: Loadout\nmetadata: {team: a}\n"
    (tmp_path / "sub").mkdir()
    for name in ("A.YAML", "late.yaml.txt", "sub/b.yaml"):
        (tmp_path / name).write_text(text)
    result = gamectl("validate", str(tmp_path))
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path}/A.YAML  ok  a  0 of 100 B NN\n"
    rules, left_out, _ = result.stderr.splitlines()
    assert rules == "checked against the default rules: no cohort.yaml beside it"
    assert left_out.startswith(f"not read: {tmp_path}/late.yaml.txt, {tmp_path}/sub; ")


def test_default_rules_are_no_cohort(tmp_path) -> None:
    file = tmp_path / "late.yaml"
    file.write_text("apiVersion: game/v1\nkind: Loadout\nmetadata: {team: a}\nspec: {epochs: 50}\n")
    said = "epochs is 50; the default rules allow at most 40"
    assert gamectl("validate", str(file)).stdout == f"{file}:4:16  over-limit  {said}\n"
    rules = "apiVersion: game/v1\nkind: Cohort\nmetadata: {name: b}\n"
    (tmp_path / "cohort.yaml").write_text(rules)
    assert "; cohort b allows at most 40\n" in gamectl("validate", str(file)).stdout


def test_what_does_not_exist_has_no_lines(tmp_path) -> None:
    result = gamectl("validate", str(tmp_path / "gone.yaml"))
    gone = f"{tmp_path}/gone.yaml  unreadable  cannot be read: No such file or directory\n"
    assert (result.exit_code, result.stdout) == (1, gone)
    assert "default rules" not in result.stderr
    assert gamectl("validate", str(tmp_path)).stdout.startswith(f"{tmp_path}  empty-folder  ")


def test_a_data_folder_that_is_not_there_is_a_warning(tmp_path) -> None:
    rules, text = tmp_path / "cohort.yaml", "apiVersion: game/v1\nkind: Cohort\nspec:\n  data: "
    for source, beside in (("photos", ", beside this file"), (f"{tmp_path}/none", "")):
        rules.write_text(f"{text}{{source: {source}}}\n")
        result = gamectl("validate", str(rules))
        said = f"{rules}:4:18  warning  source is '{source}'; there is no such folder here{beside}"
        assert result.exit_code == 0
        assert result.stderr.splitlines()[0] == said
    (tmp_path / "photos").mkdir()
    for source in ("photos", str(tmp_path / "photos"), "drawn", "s3://photos/monkeys"):
        rules.write_text(f"{text}{{source: {source}}}\n")
        assert gamectl("validate", str(rules)).stderr == "files: 1, ok: 1, refused: 0\n"
    rules.write_text(f'{text}{{source: "~nobody-here/\\0"}}\n')
    assert "there is no such folder here" in gamectl("validate", str(rules)).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["validate"], "Missing argument 'PATH...'"),
        (["validate", DEMO, "-o", "xml"], "'xml' is not one of"),
        (["schema", "lodout"], "'lodout' is not one of"),
        (["submitt", DEMO], "Did you mean 'submit'?"),
        (["--nope"], "No such option"),
        (["qqqq"], "No such command"),
        (["validat"], "Did you mean 'validate'?"),
        (["describe", "anna"], "did you mean `gamectl describe job anna`?"),
        (["describe", "anna", "-h"], "did you mean `gamectl describe job anna`?"),
        (["describe", "jbo"], "No such command 'jbo'."),
        (["describe", "jbo", "anna"], "No such command 'jbo'."),
        (["describe", "team", "anna"], "No such command 'team'."),
        (["describe", "cohort", "small"], "'cohort' is not described: `gamectl get cohorts`"),
        (["suspend", "--all", "eva"], "name teams or pass --all, not both"),
        (["resume", "--all", "eva"], "name teams or pass --all, not both"),
        (["suspend"], "name teams, or pass --all"),
        (["priority", "anna", "y"], "'y' is not a whole number from 1 to 10000"),
        (["priority", "anna", "-5"], "a whole number from 1 to 10000 is wanted"),
        (["ui", "--port", "x"], "'x' is not a whole number from 1 to 65535"),
        (["plan", DEMO, "--cpus", "0"], "'0' is not a whole number of at least 1"),
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str], said: str) -> None:
    result = gamectl(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["loadout", "cohort"])
def test_schema_prints_the_committed_schema(name: str) -> None:
    assert gamectl("schema", name).stdout == (LOADOUTS / "schema" / f"{name}.json").read_text()


def test_help_is_a_command_too() -> None:
    assert gamectl("help").stdout == gamectl("--help").stdout
    assert gamectl("help", "get", "jobs").stdout == gamectl("get", "jobs", "--help").stdout


def test_help_lists_every_command_with_a_line() -> None:
    lines = gamectl("--help").stdout.splitlines()
    for name, (_, help_line) in COMMANDS.items():
        assert any(line.split() == [name, *help_line.split()] for line in lines)


@pytest.mark.parametrize("name", ["validate", "schema", "shop"])
def test_the_help_of_a_command_shows_an_example(name: str) -> None:
    lines = gamectl(name, "--help").stdout.splitlines()
    assert any(line.startswith(f"    gamectl {name}") for line in lines)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.StoreError("no answer."), "no answer; `gamectl doctor` looks for the reason\n"),
        (
            errors.LeaseLost("gone"),
            "gone; `gamectl get jobs --watch` shows what the other controller does\n",
        ),
        (
            DataError("no photos", ["no folder a/"]),
            "no photos:\n  no folder a/\n`gamectl data check FOLDER` shows what is there\n",
        ),
        (errors.StoreError("`gamectl resume` goes on"), "`gamectl resume` goes on\n"),
        (errors.Refused("no bananas"), "no bananas\n"),
    ],
)
def test_a_domain_error_is_one_message_with_a_command_and_exit_code_1(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command("fail")
    def fail() -> None:
        raise error

    monkeypatch.setattr("orchestrator.cli.COMMANDS", {"fail": (f"{__name__}:_fail", "")})
    monkeypatch.setattr(sys.modules[__name__], "_fail", fail, raising=False)
    result = gamectl("fail")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"error: {said}")


@pytest.mark.parametrize(
    "error", [each for each in vars(errors).values() if isinstance(each, type)]
)
def test_errors_travel_between_processes(error: type[errors.GameError]) -> None:
    assert str(pickle.loads(pickle.dumps(error("why")))) == "why"  # noqa: S301  # our own bytes


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    words = [sys.executable, "-c", "from orchestrator.cli import main; main()", "schema", "cohort"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["validate", DEMO],
        ["validate", REFUSED],
        ["shop"],
        ["shop", "drop-shield"],
        ["schema", "loadout"],
    ],
)
def test_nothing_heavy_is_imported_before_admission(words: list[str]) -> None:
    program = (
        "import sys\nfrom orchestrator.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    imported = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    assert "click" in imported
    assert not imported & HEAVY
    assert ("pydantic" in imported) == (words != ["--help"])
