"""What a folder holds: classes, files and fingerprints, or everything that is wrong with it."""

import os
import pickle
import shutil

import pytest

from jobs.errors import MAX_LISTED, DataError
from jobs.image_folder import scan


def test_scan_numbers_classes_in_natural_order(draw_folder):
    folder = scan(draw_folder(classes=("n10", "n2", "N1")))
    assert folder.classes == ("N1", "n2", "n10")
    assert {file.path.parent.name: file.label for file in folder.training} == {
        "N1": 0,
        "n2": 1,
        "n10": 2,
    }
    assert len(folder.training) == 24
    assert len(folder.test) == 9


def test_fingerprint_names_content_not_names(draw_folder):
    root = draw_folder()
    before = scan(root)
    for index, file in enumerate(before.training):
        file.path.rename(file.path.with_name(f"renamed-{99 - index}.png"))
    (root / "training" / "n1" / ".hidden").write_text("ignored")
    (root / "training" / "notes.txt").write_text("not in a class")
    for part in ("training", "validation"):  # as a mounted volume has it
        (root / part / "lost+found").mkdir(mode=0o700)
    after = scan(root)
    assert after.fingerprint == before.fingerprint
    assert [file.sha256 for file in after.training] == [file.sha256 for file in before.training]

    (root / "training" / "n2").rename(root / "training" / "n3")
    (root / "validation" / "n2").rename(root / "validation" / "n3")
    assert scan(root).fingerprint != before.fingerprint


def test_each_part_has_its_own_fingerprint(draw_folder):
    root = draw_folder()
    before = scan(root)
    before.test[0].path.unlink()
    after = scan(root)
    assert after.fingerprint == before.fingerprint
    assert after.test_fingerprint != before.test_fingerprint


def test_scan_reports_every_problem_at_once(draw_folder):
    root = draw_folder(classes=("a", "b", "c"))
    shutil.rmtree(root / "validation" / "a")
    for path in (root / "training" / "b").iterdir():
        path.unlink()
    (root / "validation" / "c" / "dangling.png").symlink_to("nowhere")
    with pytest.raises(DataError) as raised:
        scan(root)
    message = str(raised.value)
    assert "class a is missing in validation/" in message
    assert "class b is empty in training/" in message
    assert "dangling.png: No such file" in message
    assert len(raised.value.problems) == 3


def test_scan_refuses_what_could_not_be_written_down_or_read(draw_folder):
    root = draw_folder()
    for part in ("training", "validation"):
        shutil.copytree(root / part / "n1", root / part / os.fsdecode(b"Br\xfcll"))
    os.mkfifo(root / "training" / "n1" / "pipe.png")
    with pytest.raises(DataError) as raised:
        scan(root)
    said = str(raised.value)
    assert "'Br\\udcfcll' has a name that is not UTF-8" in said
    assert "pipe.png: not a file" in said


def test_scan_refuses_what_is_no_data_folder(draw_folder, tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        scan(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as raised:
        scan(tmp_path / "empty")
    assert raised.value.problems == ("no folder training/", "no folder validation/")
    with pytest.raises(DataError, match="classes found: only; at least 2 are needed"):
        scan(draw_folder(classes=("only",)))


def test_a_long_list_of_problems_is_cut():
    error = DataError("unusable", [f"problem {index}" for index in range(MAX_LISTED + 5)])
    assert str(error).endswith("problem 19\n  and 5 more")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(copy), copy.problems) == (str(error), error.problems)
