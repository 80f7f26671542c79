"""Which files are read, under which cohort, and what can't be read: nothing ever raises."""

import os
from pathlib import Path

import pytest

from orchestrator.admission.files import read_paths
from orchestrator.admission.shop import CATALOG
from tests.orchestrator.written_files import DEMO, codes, cohort, loadout, only, write


def test_the_demo_is_in_order() -> None:
    reading = read_paths([DEMO])
    assert reading.ok
    assert reading.cohort.name == "demo"
    assert reading.cohort_path == DEMO / "cohort.yaml"
    loadouts = [file.loadout for file in reading.files if file.loadout]
    assert len(loadouts) >= 6
    assert 3 in {loadout.num_members for loadout in loadouts}
    bought = {item.item for loadout in loadouts for item in loadout.spec.purchases}
    assert bought == set(CATALOG)


def test_a_good_file_has_its_receipt_and_its_text(tmp_path: Path) -> None:
    text = loadout(spec="{purchases: [{item: flip-trick}]}")
    file = only(tmp_path, text)
    assert file.ok
    assert (file.team, file.text) == ("a", text)
    assert file.receipt is not None
    assert file.receipt.total_bnn == 10
    assert file.loadout is not None


def test_a_folder_is_its_yaml_files(tmp_path: Path) -> None:
    write(tmp_path, b=loadout("b"), a=loadout("a"))
    (tmp_path / "c.YML").write_text(loadout("c"))
    (tmp_path / "late.Yaml.txt").write_text(loadout("late"))
    (tmp_path / "README.md").write_text("not a loadout")
    (tmp_path / ".hidden.yaml").write_text("not a loadout")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "d.yaml").write_text("not a loadout")
    reading = read_paths([tmp_path])
    assert reading.ok
    assert [file.team for file in reading.files] == ["a", "b", "c"]
    assert reading.cohort_path is None
    assert reading.skipped == (str(tmp_path / "late.Yaml.txt"), str(tmp_path / "more"))
    assert read_paths([tmp_path, tmp_path / "more"]).skipped == (str(tmp_path / "late.Yaml.txt"),)


def test_what_begins_as_a_loadout_is_told_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, a=loadout("a"))
    text = loadout("b")
    meant = {
        "b.txt": text.encode(),
        "c": b"\xef\xbb\xbf# ours\n---\n" + text.encode(),
        "d.json": b'{"apiVersion": "game/v1"}',
        "e.docx": b"PK\x03\x04",
    }
    for name, content in meant.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("our kind of game")
    (tmp_path / "own.py").write_text("import torch\n")
    (tmp_path / "photo.png").write_bytes(bytes(range(256)))
    assert read_paths([tmp_path]).skipped == tuple(str(tmp_path / name) for name in sorted(meant))


def test_a_cohort_beside_a_file_may_be_a_yml(tmp_path: Path) -> None:
    write(tmp_path, a=loadout("a"))
    (tmp_path / "cohort.yml").write_text(cohort())
    assert read_paths([tmp_path / "a.yaml"]).cohort_path == tmp_path / "cohort.yml"
    assert read_paths([tmp_path]).cohort_path == tmp_path / "cohort.yml"


@pytest.mark.parametrize("with_cohort", [True, False])
def test_a_folder_without_loadouts_is_empty(tmp_path: Path, with_cohort: bool) -> None:
    (tmp_path / "README.md").write_text("nothing here")
    if with_cohort:
        write(tmp_path, cohort=cohort())
    assert codes(read_paths([tmp_path]))[tmp_path.name] == ["empty-folder"]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "link.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    found = codes(read_paths([tmp_path, tmp_path / "missing.yaml", Path("x" * 5000)]))
    assert len(found) == 6
    assert all(each == ["unreadable"] for each in found.values())


def test_what_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path, x=loadout())
    (tmp_path / "x.yaml").chmod(0)
    if os.access(tmp_path / "x.yaml", os.R_OK):
        pytest.skip("this user (root) may read every file")
    assert codes(read_paths([tmp_path])) == {"x.yaml": ["unreadable"]}
    tmp_path.chmod(0)
    try:
        for path in (tmp_path, tmp_path / "x.yaml"):
            assert [file.problems[0].code for file in read_paths([path]).files] == ["unreadable"]
    finally:
        tmp_path.chmod(0o700)


def test_files_of_one_team_are_all_refused_even_where_one_has_other_problems(
    tmp_path: Path,
) -> None:
    write(tmp_path, a=loadout("same", "{x: 1}"), b=loadout("same"), c=loadout("other"))
    reading = read_paths([tmp_path])
    found = codes(reading)
    assert sorted(found.pop("a.yaml")) == ["team-taken", "unknown-key"]
    assert found == {"b.yaml": ["team-taken"], "c.yaml": []}
    assert str(tmp_path / "a.yaml") in reading.files[1].problems[0].message


def test_a_file_that_is_called_after_its_team_keeps_the_name(tmp_path: Path) -> None:
    write(tmp_path, aa=loadout("howlers"), howlers=loadout("howlers"), zz=loadout("howlers"))
    taken = {"aa.yaml": ["team-taken"], "howlers.yaml": [], "zz.yaml": ["team-taken"]}
    assert codes(read_paths([tmp_path])) == taken


@pytest.mark.parametrize("broken", ["a: b: c\n", b"\xff\xfe\x00"])
def test_the_name_of_a_file_that_cannot_be_read_is_nobody_elses(
    tmp_path: Path, broken: str | bytes
) -> None:
    write(tmp_path, aa=loadout("howlers"), howlers=broken, monday=loadout("other"))
    found = codes(read_paths([tmp_path]))
    assert (found["aa.yaml"], found["monday.yaml"]) == (["team-taken"], [])
    assert "team-taken" not in found["howlers.yaml"]


def test_a_named_cohort_holds_whatever_lies_beside_the_loadouts(tmp_path: Path) -> None:
    for name, budget in ("one", 50), ("two", 60):
        (tmp_path / name).mkdir()
        write(tmp_path / name, **{name: loadout(name), "cohort": cohort(f"{{budget: {budget}}}")})
    reading = read_paths([tmp_path / "one" / "one.yaml", tmp_path / "two" / "cohort.yaml"])
    assert reading.ok
    assert reading.cohort.spec.budget == 60


def test_of_two_names_for_the_rules_one_comes_first(tmp_path: Path) -> None:
    write(tmp_path, a=loadout(), cohort=cohort("{budget: 50}"))
    (tmp_path / "cohort.yml").write_text("kind: Cohort\nnonsense")
    reading = read_paths([tmp_path])
    assert reading.cohort.spec.budget == 50
    assert codes(reading)["cohort.yaml"] == []


def test_a_team_brings_a_python_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def build_loss(class_weights):\n    return None\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "net.py").write_text((tmp_path / "net.py").read_text())
    code = "{purchases: [{item: custom, file: net.py}]}"
    rules = cohort("{allowCustomCode: true}")
    broken = code.replace("{purchases", "{epochs: x, purchases")
    write(tmp_path, a=loadout("apes", code), howlers=loadout("howlers", broken), cohort=rules)
    write(tmp_path / "elsewhere", c=loadout("third", code))
    reading = read_paths([tmp_path, tmp_path / "elsewhere" / "c.yaml"])
    found = codes(reading)
    assert found.pop("cohort.yaml") == []
    not_a_number = found.pop("howlers.yaml")
    assert not_a_number == ["not-a-number"]
    assert found == {"a.yaml": ["file-taken"], "c.yaml": []}
    assert "net.py is the file of " in reading.files[0].problems[0].message
    assert reading.files[0].problems[0].line == 5


def test_of_a_file_full_of_mistakes_the_first_are_told(tmp_path: Path) -> None:
    entries = "\n".join(["    - ~"] * 999)
    file = only(tmp_path, loadout().replace("{}", f"\n  purchases:\n{entries}"))
    assert len(file.problems) == 51
    assert str(file.problems[-1]).endswith("too-many  and 949 more; correct these first")


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, a=loadout())
    assert codes(read_paths([tmp_path, tmp_path / "a.yaml"])) == {"a.yaml": []}


def test_the_cohort_prices_wherever_it_stands(tmp_path: Path) -> None:
    write(tmp_path, a=loadout(spec="{purchases: [{item: flip-trick}]}"))
    write(tmp_path, rules=cohort("{budget: 5}"))
    assert codes(read_paths([tmp_path]))["a.yaml"] == ["over-budget"]
    assert codes(read_paths([tmp_path / "a.yaml"])) == {"a.yaml": []}
    named = read_paths([tmp_path / "a.yaml", tmp_path / "rules.yaml"])
    assert codes(named) == {"a.yaml": ["over-budget"], "rules.yaml": []}


def test_a_single_file_is_priced_by_the_cohort_beside_it(tmp_path: Path) -> None:
    write(tmp_path, a=loadout(spec="{purchases: [{item: flip-trick}]}"))
    write(tmp_path, cohort=cohort("{prices: {flip-trick: 33}}"))
    reading = read_paths([tmp_path / "a.yaml"])
    assert reading.cohort_path == tmp_path / "cohort.yaml"
    assert reading.files[0].receipt is not None
    assert reading.files[0].receipt.total_bnn == 33


def test_a_second_cohort_is_refused(tmp_path: Path) -> None:
    write(tmp_path, a=loadout(), cohort=cohort(), rules=cohort("{budget: 5}"))
    reading = read_paths([tmp_path])
    assert codes(reading) == {"a.yaml": [], "cohort.yaml": [], "rules.yaml": ["second-cohort"]}
    assert reading.cohort.spec.budget == 100


@pytest.mark.parametrize("spec", ["{budget: 9999}", "{budget: x}"])
@pytest.mark.parametrize("named", [["."], ["a.yaml", "aaa.yaml"], ["aaa.yaml", "a.yaml"]])
def test_what_a_team_sends_does_not_become_the_rules(
    tmp_path: Path, named: list[str], spec: str
) -> None:
    write(tmp_path, a=loadout(), cohort=cohort("{budget: 50}"), aaa=cohort(spec))
    reading = read_paths([tmp_path / name for name in named])
    assert (reading.cohort.spec.budget, reading.cohort_path) == (50, tmp_path / "cohort.yaml")
    found = codes(reading)
    assert (found["a.yaml"], found["cohort.yaml"]) == ([], [])
    assert "second-cohort" in found["aaa.yaml"]


def test_of_several_cohorts_of_other_names_none_gives_the_rules(tmp_path: Path) -> None:
    write(tmp_path, a=loadout(), monday=cohort(), tuesday=cohort("{budget: 5}"))
    refused = {"monday.yaml": ["second-cohort"], "tuesday.yaml": ["second-cohort"]}
    reading = read_paths([tmp_path])
    assert codes(reading) == {"a.yaml": [], **refused}
    assert reading.files[0].receipt is None
    assert reading.cohort.spec.budget == 100


def test_files_of_two_folders_are_not_judged_by_the_rules_of_one(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, **{name: loadout(name), "cohort": cohort()})
    reading = read_paths([tmp_path / "one" / "one.yaml", tmp_path / "two" / "two.yaml"])
    refused = [Path(file.path).parent.name for file in reading.files if not file.ok]
    assert refused == ["one", "two"]


@pytest.mark.parametrize("broken", [cohort("{budget: x}"), "a: b: c\n"])
def test_nothing_is_priced_under_a_broken_cohort(tmp_path: Path, broken: str) -> None:
    twice = "{epochs: 999, purchases: [{item: flip-trick}, {item: flip-trick}]}"
    write(tmp_path, a=loadout(spec=twice), cohort=broken)
    reading = read_paths([tmp_path])
    assert codes(reading)["a.yaml"] == ["bought-twice"]
    assert reading.files[0].receipt is None
    assert not reading.ok
