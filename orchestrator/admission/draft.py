"""One file -> its model, or why there is none.

In: a path; out: a `Draft`: the text, the values with their places, the model of its kind, and every
problem that the file has by itself; a Python file that a loadout names is read along with it.
Nothing here raises for what a file holds or lacks. Next: `files`, which reads many of them and
holds them against each other.
"""

import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from jobs.plan import CustomPlan
from orchestrator.admission.admit import LocatedProblem
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.combinations import PURCHASES
from orchestrator.admission.items.custom import Custom
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.manifest import Model
from orchestrator.admission.problems import explain, written
from orchestrator.admission.shop import nearest
from orchestrator.admission.team_file import read_team_file
from orchestrator.admission.yaml_nodes import parse
from orchestrator.admission.yaml_places import Document, place_of
from orchestrator.console import printable

API_VERSION = "game/v1"
KINDS: dict[str, type[Model]] = {"Loadout": Loadout, "Cohort": Cohort}
SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 64 * 1024
ENVELOPE = (("apiVersion",), ("kind",))
# What a file of another kind starts with
FOREIGN = {b"PK\x03\x04": "a Word or zip file", b"{\\rtf": "rich text"}
ABOUT_THE_KEY = {"unknown-key", "not-tunable"}


@dataclass(frozen=True)
class Problem:
    """One reason to refuse a file, and where in it; line and column are counted from 1.

    Of a path in which nothing could be read, `in_file` is False and both are 1.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    in_file: bool = True

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.in_file else ""
        return f"{printable(self.path)}{place}  {self.code}  {self.message}"


@dataclass
class Draft:
    """A file on its way to being admitted, and the problems so far."""

    path: Path
    text: str = ""
    document: Document = field(default_factory=Document)
    kind: str | None = None
    model: Model | None = None
    problems: list[Problem] = field(default_factory=list)

    @property
    def team(self) -> str | None:
        """The team that the file names, even where the rest of it cannot be read."""
        root = self.document.root
        metadata = root.get("metadata") if isinstance(root, dict) else None
        team = metadata.get("team") if isinstance(metadata, dict) else None
        if self.kind != "Loadout":
            return None
        return team if isinstance(team, str) else None

    def add(self, code: str, message: str, line: int = 1, column: int = 1) -> None:
        """Add a problem at a line and column."""
        self.problems.append(Problem(str(self.path), line, column, code, message))

    def add_unread(self, code: str, message: str) -> None:
        """Add a problem of the path itself."""
        self.problems.append(Problem(str(self.path), 1, 1, code, message, in_file=False))

    def add_located(self, problems: Iterable[LocatedProblem]) -> None:
        """Add problems with values at the places of these.

        A value of which the YAML reader says that it is not there gets no second remark.
        """
        said = {problem.loc for problem in self.document.problems}
        for problem in problems:
            if any(problem.loc[:length] in said for length in range(len(problem.loc) + 1)):
                continue
            place = self.document.place(problem.loc)
            if problem.code in ABOUT_THE_KEY:
                place = self.document.keys.get(problem.loc, place)
            self.add(problem.code, problem.message, place.line, place.column)


def read_draft(path: Path) -> Draft:
    """Read one file as far as it can be read."""
    draft = Draft(path)
    content = _read_bytes(draft)
    if content is not None:
        _decode(content, draft)
    if draft.problems:
        return draft
    draft.document = parse(draft.text)
    for found in draft.document.problems:
        draft.add(found.code, found.message, found.place.line, found.place.column)
    if draft.document.complete:
        _build(draft)
    return draft


def _read_bytes(draft: Draft) -> bytes | None:
    try:
        status = draft.path.stat()
        if stat.S_ISDIR(status.st_mode):
            draft.add_unread("unreadable", "a folder; a file is wanted")
            return None
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device might never end
            draft.add_unread("unreadable", "neither a file nor a folder")
            return None
        with draft.path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        draft.add_unread("unreadable", f"cannot be read: {error.strerror or error}")
        return None
    if len(content) > MAX_BYTES:
        message = f"{max(status.st_size, len(content))} bytes; allowed are {MAX_BYTES} (64 KiB)"
        draft.add("too-large", message)
        return None
    return content


def _decode(content: bytes, draft: Draft) -> None:
    for start, name in FOREIGN.items():
        if content.startswith(start):
            draft.add("not-yaml", f"{name}; save it as plain text")
            return
    if _is_utf16(content):
        draft.add("not-utf8", "not UTF-8: saved as UTF-16? Save the file as UTF-8")
        return
    try:
        draft.text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", errors="replace")
        place = place_of(before, len(before))
        message = f"not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8"
        draft.add("not-utf8", message, place.line, place.column)


def _is_utf16(content: bytes) -> bool:
    """Whether it looks like text of two bytes a letter, of which one is mostly 0."""
    zeros = max(content[::2].count(0), content[1::2].count(0))
    return content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or zeros > len(content) // 4


def _build(draft: Draft) -> None:
    """Make the model that the file's `kind` names, or say why there is none."""
    root = draft.document.root
    if root is None:
        draft.add("empty-file", "nothing in it; a loadout or a cohort is wanted")
        return
    if not isinstance(root, dict):
        message = (
            f"the file is {written(draft.document, (), root)}; a mapping is wanted: "
            f"a loadout starts with `apiVersion: {API_VERSION}`"
        )
        draft.add("wrong-type", message)
        return
    draft.add_located(_envelope_problems(draft.document, root))
    model = KINDS.get(root["kind"]) if isinstance(root.get("kind"), str) else None
    if model is None:
        return
    draft.kind = root["kind"]
    try:
        built = model.from_file(root)
    except ValidationError as error:
        found = explain(error, model, draft.document)
        draft.add_located(problem for problem in found if problem.loc not in ENVELOPE)
    else:
        draft.model = None if draft.problems else built
    if isinstance(draft.model, Loadout):
        draft.model = _with_code(draft, draft.model)


def _with_code(draft: Draft, loadout: Loadout) -> Loadout:
    """Read the Python file that a loadout names; problems in it are at its own lines."""
    bought = (
        (i, item) for i, item in enumerate(loadout.spec.purchases) if isinstance(item, Custom)
    )
    index, item = next(bought, (0, None))  # a second one is a problem of its own
    if item is None:
        return loadout
    folder = draft.path.parent
    read = read_team_file(folder, item.file)
    if isinstance(read, CustomPlan):
        return loadout.with_code(read)
    for found in read:
        if found.line is None:
            at = LocatedProblem((*PURCHASES, index, "file"), found.code, found.message)
            draft.add_located([at])
        else:
            path, place = str(folder / item.file), (found.line, found.column)
            draft.problems.append(Problem(path, *place, found.code, found.message))
    return loadout


def _envelope_problems(document: Document, root: dict[str, object]) -> Iterable[LocatedProblem]:
    allowed = {"apiVersion": (API_VERSION,), "kind": tuple(KINDS)}
    codes = {"apiVersion": "wrong-api-version", "kind": "wrong-kind"}
    for key, options in allowed.items():
        if key not in root:
            message = f"the key '{key}' is missing; write {key}: {' or '.join(options)}"
            yield LocatedProblem((key,), "missing-key", message)
        elif root[key] not in options:
            value = written(document, (key,), root[key])
            hint = nearest(str(root[key]), options) if key == "kind" else ""
            message = f"{key} is {value}; allowed is {' or '.join(options)}{hint}"
            yield LocatedProblem((key,), codes[key], message)
