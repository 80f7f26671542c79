"""A team's Python file: read once, never run, and every problem at the line that it is about."""

import os
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.plan import CustomPlan
from orchestrator.admission.files import LoadoutFile, read_paths
from orchestrator.admission.items.custom import SIGNATURES, signature
from orchestrator.admission.team_file import MAX_BYTES, read_team_file
from tests.orchestrator.commands import gamectl, read_json

MODEL = "def build_model(num_classes, size_px):\n    return None\n"
LOADOUT = """\
apiVersion: game/v1
kind: Loadout
metadata: {team: a}
spec:
  purchases:
    - item: custom
      file: ours.py
"""
AT_THE_LOADOUT = ("x.yaml", 7, 13)


def folder_with(
    folder: Path, source: str | bytes | None, rules: str = "{allowCustomCode: true}"
) -> Path:
    """A folder with a cohort, a loadout and the Python file that it names."""
    (folder / "cohort.yaml").write_text(f"apiVersion: game/v1\nkind: Cohort\nspec: {rules}\n")
    (folder / "x.yaml").write_text(LOADOUT)
    if source is not None:
        content = source if isinstance(source, bytes) else source.encode()
        (folder / "ours.py").write_bytes(content)
    return folder


def read(folder: Path) -> LoadoutFile:
    (file,) = (file for file in read_paths([folder]).files if file.team == "a")
    return file


def places(file: LoadoutFile) -> list[tuple[str, int, int, str]]:
    return [(Path(p.path).name, p.line, p.column, p.code) for p in file.problems]


def test_the_text_comes_with_the_loadout_and_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "it-ran"
    source = f"open({str(trap)!r}, 'w').close()\n{MODEL}\nraise SystemExit(3)\n"
    file = read(folder_with(tmp_path, source))
    assert file.ok
    assert file.loadout is not None
    assert file.loadout.code == CustomPlan(file="ours.py", source=source, defines=("build_model",))
    assert not trap.exists()


def test_what_it_defines_is_told_in_one_order(tmp_path: Path) -> None:
    source = "".join(f"{signature(function)}\n    ...\n" for function in reversed(SIGNATURES))
    file = read(folder_with(tmp_path, f"import torch\nBLOCKS = 3\n{source}"))
    assert file.loadout is not None
    assert file.loadout.code is not None
    assert file.loadout.code.defines == ("build_model", "build_loss", "augment")


@pytest.mark.parametrize("start", ["", "\ufeff", "# -*- coding: latin-1 -*-\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_text_as_editors_save_it_is_read(tmp_path: Path, start: str, end: str) -> None:
    text = f"{start}# Grüße 🐒\n{MODEL}".replace("\n", end)
    file = read(folder_with(tmp_path, text))
    assert file.ok, file.problems
    assert file.loadout is not None
    assert file.loadout.code is not None
    assert file.loadout.code.source == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    "parameters",
    [
        "num_classes, size_px",
        "num_classes: int, size_px: int = 64, /, *, depth=3",
        "num_classes, size_px, width=16, *more, **others",
    ],
)
def test_further_parameters_need_defaults_only(tmp_path: Path, parameters: str) -> None:
    assert read(folder_with(tmp_path, f"def build_model({parameters}): ...\n")).ok


@pytest.mark.parametrize(
    ("source", "place", "said"),
    [
        ("def build_model(:\n", (1, 17, "not-python"), "not Python: invalid syntax"),
        (MODEL + "\nx = (1,\n", (4, 5, "not-python"), "'(' was never closed"),
        (MODEL + "  x = 1\n", (3, 8, "not-python"), "unindent does not match"),
        (MODEL + "x = '\0'\n", (3, 6, "not-python"), "a null byte"),
        (MODEL.encode() + b"# \xe9\n", (3, 3, "not-utf8"), "not UTF-8: byte 0xe9"),
        (MODEL.encode("utf-16"), (1, 1, "not-utf8"), "save the file as UTF-8"),
        (MODEL + "x = " + "9" * 5000, (3, 1, "not-python"), "4300 digits"),
        (MODEL + "x = " + "-" * 50_000 + "1", (1, 1, "not-python"), "nested too deeply"),
        (MODEL + "x = 1" + "+1" * 30_000, (1, 1, "not-python"), "nested too deeply"),
        ("", (1, 1, "nothing-defined"), "`def build_loss(class_weights):`"),
        ("def my_model(n, s): ...\n", (1, 1, "nothing-defined"), "define any of"),
        ("class A:\n    def augment(self): ...\n", (1, 1, "nothing-defined"), "define any of"),
        ("\ndef build_modell(n, s): ...\n", (2, 1, "misnamed"), "did you mean build_model?"),
        ("def buildModel(n, s): ...\n", (1, 1, "misnamed"), "did you mean build_model?"),
        (MODEL + "def Augment(x): ...\n", (3, 1, "misnamed"), "did you mean augment?"),
        ("class build_loss: ...\n", (1, 1, "not-a-function"), "build_loss is a class"),
        ("from torch import relu as augment\n", (1, 1, "not-a-function"), "is no function"),
        ("augment = lambda images, generator: images\n", (1, 1, "not-a-function"), "no function"),
        (f"if x:\n    {signature('augment')} ...\n", (1, 1, "not-a-function"), "top level"),
        (f"{MODEL}build_model = None\n", (3, 1, "not-a-function"), "is no function"),
        (f"async {signature('build_loss')} ...\n", (1, 1, "not-a-function"), "async function"),
        ("def build_loss(): ...\n", (1, 1, "wrong-parameters"), "build_loss takes ()"),
        ("def build_loss(weights): ...\n", (1, 1, "wrong-parameters"), "takes (weights)"),
        ("def augment(generator, images): ...\n", (1, 1, "wrong-parameters"), "takes (generator,"),
        ("def augment(images, generator, p): ...\n", (1, 1, "wrong-parameters"), "need defaults"),
        ("def augment(images, *, generator): ...\n", (1, 1, "wrong-parameters"), "*, generator"),
        ("def build_loss(class_weights, *, p): ...\n", (1, 1, "wrong-parameters"), "need defaults"),
    ],
)  # fmt: skip
def test_a_problem_is_at_its_line_of_the_python_file(
    tmp_path: Path, source: str | bytes, place: tuple[int, int, str], said: str
) -> None:
    file = read(folder_with(tmp_path, source))
    assert places(file) == [("ours.py", *place)]
    (problem,) = file.problems
    assert said in problem.message
    assert problem.message.isprintable()
    assert str(problem).startswith(f"{tmp_path}/ours.py:{place[0]}:{place[1]}  {place[2]}  ")


@pytest.mark.parametrize(
    "more",
    [
        "if x:\n    class Pipeline:\n        def build_model(self): ...\n",
        "try:\n    def helper():\n        def build_model(): ...\nexcept OSError: ...\n",
        "names = [build_model for build_model in 'abc']\n",
    ],
)
def test_names_of_inner_functions_and_loops_are_not_those_that_count(
    tmp_path: Path, more: str
) -> None:
    assert read(folder_with(tmp_path, MODEL + more)).ok


def test_every_problem_is_told_at_once_and_the_loadouts_own_come_first(tmp_path: Path) -> None:
    source = "def build_model(n, s): ...\n\ndef build_los(w): ...\n"
    folder = folder_with(tmp_path, source, rules="{limits: {epochs: 5}}")
    assert places(read(folder)) == [
        ("x.yaml", 4, 1, "over-limit"),
        ("x.yaml", 6, 13, "code-not-allowed"),
        ("ours.py", 1, 1, "wrong-parameters"),
        ("ours.py", 3, 1, "misnamed"),
    ]


def test_helpers_with_other_names_are_the_teams_own_affair(tmp_path: Path) -> None:
    helpers = ("_augment", "build_models", "build_block", "losses", "augmentation")
    source = MODEL + "".join(f"def {name}(): ...\n" for name in helpers)
    assert read(folder_with(tmp_path, source)).ok


def test_a_warning_about_the_text_is_not_printed(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(folder_with(tmp_path, MODEL + "x = '\\d'\ny = 1 is 2\n")).ok


def missing(_path: Path) -> None:
    pass


def link(path: Path) -> None:
    (path.parent / "real.py").write_text(MODEL)
    path.symlink_to("real.py")


def link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere.py")


def listening(path: Path) -> None:
    os.chdir(path.parent)  # a socket's path has a limit
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (missing, "'ours.py' cannot be read: No such file or directory; put it next to"),
        (link, "'ours.py' is a link"),
        (link_to_nowhere, "'ours.py' is a link"),
        (Path.mkdir, "'ours.py' is a folder"),
        (os.mkfifo, "'ours.py' is neither a file nor a folder"),
        (listening, "'ours.py' is neither a file nor a folder"),
    ],
)
def test_only_a_file_in_the_loadouts_folder_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make(folder_with(tmp_path, None) / "ours.py")
    file = read(tmp_path)
    assert places(file) == [(*AT_THE_LOADOUT, "unreadable")]
    assert said in file.problems[0].message


@pytest.mark.parametrize(("extra", "ok"), [(0, True), (1, False), (MAX_BYTES * 50, False)])
def test_a_file_has_at_most_64_kib(tmp_path: Path, extra: int, ok: bool) -> None:
    content = MODEL.encode().ljust(MAX_BYTES + extra, b"#")
    file = read(folder_with(tmp_path, content))
    assert file.ok == ok
    if not ok:
        assert places(file) == [(*AT_THE_LOADOUT, "too-large")]
        assert f"has {MAX_BYTES + extra} bytes; allowed are 65536" in file.problems[0].message


def test_a_file_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    (tmp_path / "ours.py").touch()
    os.truncate(tmp_path / "ours.py", 1 << 40)  # holes take no room
    (problem,) = read_team_file(tmp_path, "ours.py")
    assert problem.code == "too-large"


def test_what_was_read_is_what_counts(tmp_path: Path) -> None:
    file = read(folder_with(tmp_path, MODEL))
    (tmp_path / "ours.py").write_text("import os; os.abort()\n")
    assert file.loadout is not None
    assert file.loadout.code is not None
    assert file.loadout.code.source == MODEL


@pytest.mark.parametrize(
    "name",
    ["../ours.py", "/etc/ours.py", "a/ours.py", "a\\ours.py", ".ours.py", "..py", "ours.txt",
     "ours", "", "ours.py\n", "o" * 98 + ".py", "ours.PY", "oürs.py", "ours .py", "\x1b.py"],
)  # fmt: skip
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = folder_with(tmp_path, MODEL)
    escaped = name.encode("unicode_escape").decode().replace("\\\\", "\\")
    text = LOADOUT.replace("ours.py", '"' + escaped.replace("a\\o", "a\\\\o") + '"')
    (folder / "x.yaml").write_text(text)
    file = read(folder)
    assert places(file) == [(*AT_THE_LOADOUT, "not-a-file-name")]
    assert file.problems[0].message.isprintable()


@pytest.mark.parametrize("name", ["a.py", "_a-b.2.py", "o" * 97 + ".py", "Ours.py"])
def test_plain_names_are_allowed(tmp_path: Path, name: str) -> None:
    folder = folder_with(tmp_path, MODEL)
    (folder / "x.yaml").write_text(LOADOUT.replace("ours.py", name))
    (folder / "ours.py").rename(folder / name)
    assert read(folder).ok


def test_text_that_keeps_a_compiler_busy_is_only_parsed(tmp_path: Path) -> None:
    """Every `finally` block is compiled twice; nested, these take hours and all the memory."""
    lines = []
    for depth in range(19):
        lines += [" " * depth + "try: x", " " * depth + "finally:"]
    inner = [" " * 20 + line for line in lines]
    text = MODEL + "\n".join([*lines, " " * 19 + "def f():", *inner, " " * 39 + "x"])
    assert read(folder_with(tmp_path, text)).ok


def test_the_command_names_the_python_file(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "def build_model(:\n")
    result = gamectl("validate", folder / "x.yaml")
    assert result.exit_code == 1
    assert f"{folder}/ours.py:1:17  not-python  not Python: invalid syntax" in result.stdout
    result = gamectl("validate", folder / "x.yaml", "-o", "json")
    assert f'"path": "{folder}/ours.py"' in result.stdout
    (folder / "ours.py").write_text(MODEL)
    files = read_json("validate", folder)["files"]
    assert all(file["ok"] for file in files)
