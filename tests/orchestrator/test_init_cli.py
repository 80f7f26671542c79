"""`gamectl init`: what it writes is admitted as it is, and nothing of anybody's is overwritten."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from orchestrator.admission.files import read_paths
from orchestrator.admission.yaml_nodes import parse
from tests.orchestrator.commands import gamectl, read_json

# As `starter` says: a setting that is only shown has its # right before it, or one a line above.
SHOWN_ONLY = re.compile(r"^(\s*)#(?=\S|\s\s)", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    done = gamectl("init", "Mön day!")
    assert done.exit_code == 0, done.output
    assert "gamectl shop --cohort-file 'Mön day!/cohort.yaml'" in done.stderr
    assert "gamectl submit 'Mön day!'" in done.stderr
    return Path("Mön day!")


def test_the_files_are_admitted_as_they_are(folder: Path) -> None:
    cohort, loadout = read_json("validate", folder)["files"]
    assert cohort["ok"]
    assert loadout["ok"]
    assert loadout["receipt"]["total_bnn"] <= 100
    assert read_paths([folder]).cohort.name == "moen-day"


def test_the_cohort_is_named_after_the_folder_however_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tuesday" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "tuesday" / "deep")
    assert gamectl("init", "..").exit_code == 0
    assert read_paths([tmp_path / "tuesday"]).cohort.name == "tuesday"


@pytest.mark.parametrize("name", ["2026", "07", "1e5", "0x1f", "true", "null", "no", "monday"])
def test_a_cohort_may_be_named_like_a_number(name: str, tmp_path: Path) -> None:
    assert gamectl("init", tmp_path / name).exit_code == 0
    assert read_paths([tmp_path / name]).ok
    assert read_paths([tmp_path / name]).cohort.name == name


def test_every_setting_that_is_only_shown_is_one(folder: Path) -> None:
    for path in folder.glob("*.yaml"):
        text, number = SHOWN_ONLY.subn(r"\1", path.read_text())
        assert number >= 3
        path.write_text(text)
    done = gamectl("validate", folder)
    assert done.exit_code == 0, done.output


def test_editors_find_the_schema_that_the_first_line_names(folder: Path) -> None:
    for path in folder.glob("*.yaml"):
        named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
        assert named is not None
        schema = json.loads((path.parent / named[1]).read_text())
        jsonschema.validate(parse(path.read_text()).root, schema)


@pytest.mark.parametrize("name", ["cohort.yaml", "cohort.yml"])
def test_what_is_there_stays_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    done = gamectl("init", tmp_path)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert f"{name} is there already, so nothing was written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("")
    done = gamectl("init", tmp_path / "notes")
    assert done.exit_code == 1
    assert done.stderr == f"error: {tmp_path / 'notes'} is a file; name a folder\n"


def test_nothing_stays_where_not_all_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "schema").write_text("in the way")
    done = gamectl("init", tmp_path)
    assert done.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["schema"]
