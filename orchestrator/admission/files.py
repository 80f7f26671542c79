"""Files and folders -> a cohort and its loadouts, with every problem at its line.

In: the paths that a user names; out: a `Reading`. Each file becomes a `draft` by itself; here the
cohort is found, every loadout is held against it by `admit`, and the files are held against
each other. Nothing here raises for what a file holds. Next: `gamectl validate` prints the problems;
`gamectl submit` writes what is admitted to the store.
"""

import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from jobs.places import is_uri
from orchestrator.admission.admit import (
    DRAWN,
    DRAWN_CLASSES,
    LocatedProblem,
    Receipt,
    admit,
    purchase_problems,
)
from orchestrator.admission.claims import COHORT_FILES, compare_claims, is_cohort, rules_among
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.draft import SUFFIXES, Draft, Problem, read_draft
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.yaml_nodes import parse
from orchestrator.console import printable, shortened
from orchestrator.errors import Refused

__all__ = [
    "LoadoutFile", "Problem", "Reading", "folder_warnings", "located", "read_cohort", "read_paths",
]  # fmt: skip

WORD_PROCESSORS = (".doc", ".docx", ".odt", ".pages", ".rtf")
MANIFEST = re.compile(
    r"""(?:\s|#.*\n|---|\{)*["']?(?:apiVersion|kind|metadata|spec)["']?\s*:""", re.IGNORECASE
)
"""How a loadout or a cohort begins, whatever its file is called."""
LOOKED_AT_BYTES = 4096
SHOWN_PATH_CHARS = 200
MOST_PROBLEMS = 50
"""As many are told of a file; the first ones are mostly the reason for the others."""


@dataclass(frozen=True)
class LoadoutFile:
    """One file (or a path with nothing to read) and all that is wrong with it.

    Problems of a Python file that a loadout names are among its own, under that file's path.

    `team`, `receipt` and `loadout` are None for a cohort's file, and as far as a loadout could not
    be read; the receipt also where the cohort's own file is broken.
    """

    path: str
    team: str | None
    receipt: Receipt | None
    problems: tuple[Problem, ...]
    loadout: Loadout | None
    text: str

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with the file."""
        return not self.problems


@dataclass(frozen=True)
class Reading:
    """Everything that was read; the cohort is the default one where no file gives it.

    `skipped` are the entries of the named folders that look as if they were meant, and were not
    read.
    """

    cohort: Cohort
    cohort_path: Path | None
    files: tuple[LoadoutFile, ...]
    skipped: tuple[str, ...] = ()
    beside: bool = False
    """Whether the cohort's file was not named: it lies beside the loadouts."""
    whole: bool = False
    """Whether a folder was named: its files are all that its teams hand in."""
    side: bool = False
    """Whether it is a side cohort, which no file can make: see `CohortRecord.side`."""

    @property
    def folder(self) -> Path:
        """What paths in the cohort's file are relative to."""
        return self.cohort_path.parent if self.cohort_path else Path()

    @property
    def not_read(self) -> str:
        """What there is to say of the skipped ones; empty where there are none."""
        names = printable(", ".join(self.skipped))
        advice = "end a file's name in .yaml (plain text), and name a subfolder by itself"
        return f"not read: {names}; {advice}" if names else ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with any file."""
        return all(file.ok for file in self.files)


def read_paths(
    paths: Sequence[Path], other_data: bool = False, rules: Path | None = None
) -> Reading:
    """Read files and folders, and report every problem of every file.

    A folder stands for the YAML files in it. Its subfolders, hidden files and other files are left
    alone; those that look as if they were meant, or begin as a loadout does, are in the result's
    `skipped`. The file of kind Cohort gives the rules, wherever it stands among the paths; where
    there are several, the one that is called `cohort.yaml` or `cohort.yml`. Where only files are
    named, and none of them is it, it is looked for beside each loadout. Without any, a cohort's
    defaults hold. `rules` names the file that gives them, whatever lies there.
    `other_data` says that the cohort's own data will not be used, so that its classes are unknown.
    """
    drafts: dict[str, Draft] = {}
    folders: list[tuple[Path, list[Draft]]] = []
    skipped: list[Path] = []
    found_beside = False
    for path in paths:
        if _is(stat.S_ISDIR, path):
            entries = _entries(path, drafts)
            found = [_draft_once(file, drafts) for file in entries if _is_yaml(file)]
            folders.append((path, found))
            skipped += [entry for entry in entries if _looks_meant(entry) and entry not in paths]
        else:
            _draft_once(path, drafts)
    if rules is not None:
        _draft_once(rules, drafts)
    elif not folders and not any(draft.path.name in COHORT_FILES for draft in drafts.values()):
        loadouts = [draft for draft in drafts.values() if not is_cohort(draft)]
        for parent in dict.fromkeys(draft.path.parent for draft in loadouts):
            beside = [parent / name for name in COHORT_FILES]
            if there := [path for path in beside if _is(stat.S_ISREG, path)]:
                _draft_once(there[0], drafts)
                found_beside = True
    for folder, found in folders:
        if str(folder) not in drafts and all(map(is_cohort, found)):
            empty = Draft(folder)
            empty.add_unread("empty-folder", "no loadout in it; a loadout is a .yaml file")
            drafts[str(folder)] = empty
    reading = _reading(list(drafts.values()), tuple(map(str, skipped)), other_data, rules)
    return replace(reading, beside=found_beside, whole=bool(folders))


def read_cohort(path: Path | None) -> Reading:
    """Read a cohort's file for its rules; without a path they are the default ones.

    Raises `Refused` where the file has problems, or is none of a cohort.
    """
    if path is None:
        return Reading(Cohort(), None, ())
    reading = read_paths([path])
    lines = [str(problem) for file in reading.files for problem in file.problems]
    if lines:
        raise Refused("\n".join(["the cohort cannot be used:", *lines]))
    if reading.cohort_path != path:
        raise Refused(f"{path} is no cohort; a file with `kind: Cohort` is wanted")
    return reading


def located(file: LoadoutFile, problems: Iterable[LocatedProblem]) -> tuple[Problem, ...]:
    """Put problems that were found later, once the data was known, at their lines in the file."""
    draft = Draft(Path(file.path), text=file.text, document=parse(file.text))
    draft.add_located(problems)
    return tuple(draft.problems)


def folder_warnings(reading: Reading) -> tuple[Problem, ...]:
    """Say that the cohort's data folder is not here, where it is a folder; elsewhere it may be."""
    source = reading.cohort.spec.data.source
    rules = [file for file in reading.files if Path(file.path) == reading.cohort_path]
    if source == DRAWN or is_uri(source) or not rules:
        return ()
    try:
        path = Path(source).expanduser()
    except (RuntimeError, ValueError):  # of nobody who is known here; no name at all
        path = Path(source)
    if _is(stat.S_ISDIR, reading.folder / path):
        return ()
    message = f"source is '{shortened(source, SHOWN_PATH_CHARS)}'; there is no such folder here"
    if not path.is_absolute():
        message += ", beside this file"
    return located(rules[0], [LocatedProblem(("spec", "data", "source"), "warning", message)])


def _is(kind: Callable[[int], bool], path: Path) -> bool:
    """Whether a path is of a kind; False, too, where that cannot be found out."""
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):  # the latter for a name that holds a NUL
        return False


def _entries(folder: Path, drafts: dict[str, Draft]) -> list[Path]:
    """List what a folder shows; what keeps it from being listed becomes a problem of its own."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        unlisted = Draft(folder)
        unlisted.add_unread("unreadable", f"cannot be listed: {error.strerror or error}")
        drafts[str(folder)] = unlisted
        return []
    return [entry for entry in entries if not entry.name.startswith(".")]


def _is_yaml(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _looks_meant(entry: Path) -> bool:
    """Whether what a folder's reading leaves out was probably meant: `team.yaml.txt`, a loadout as
    `team.txt`, what a word processor saved, or a folder of YAML files.
    """
    if _is_yaml(entry):
        return False
    if _is(stat.S_ISDIR, entry):
        try:
            return any(_is_yaml(file) and file.name[0] != "." for file in entry.iterdir())
        except OSError:
            return False
    name = entry.name.lower()
    if any(suffix in name for suffix in SUFFIXES) or name.endswith(WORD_PROCESSORS):
        return True
    return _is(stat.S_ISREG, entry) and _begins_as_manifest(entry)


def _begins_as_manifest(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            begin = opened.read(LOOKED_AT_BYTES)
    except OSError:
        return False
    return MANIFEST.match(begin.decode("utf-8-sig", errors="replace")) is not None


def _draft_once(path: Path, drafts: dict[str, Draft]) -> Draft:
    """Read a file unless another of the paths has named it already."""
    key = str(path.absolute())
    if key not in drafts:
        drafts[key] = read_draft(path)
    return drafts[key]


def _reading(
    drafts: list[Draft], skipped: tuple[str, ...], other_data: bool, wanted: Path | None
) -> Reading:
    """Hold the files against the cohort and against each other."""
    given = rules_among(drafts, wanted)
    rules: Cohort | None = Cohort()
    if given is not None:  # one that has problems judges nobody
        rules = given.model if isinstance(given.model, Cohort) and not given.problems else None
    receipts = {id(draft): _admit(draft, rules, other_data) for draft in drafts}
    compare_claims(drafts)
    files = tuple(_finished(draft, receipts[id(draft)]) for draft in drafts)
    return Reading(rules or Cohort(), given.path if given else None, files, skipped)


def _admit(draft: Draft, rules: Cohort | None, other_data: bool) -> Receipt | None:
    """Add what the cohort has against a loadout; without rules, what is wrong under any."""
    if not isinstance(draft.model, Loadout):
        return None
    if rules is None:
        draft.add_located(purchase_problems(draft.model))
        return None
    drawn = rules.spec.data.source == DRAWN and not other_data
    admission = admit(draft.model, rules, DRAWN_CLASSES if drawn else ())
    draft.add_located(admission.problems)
    return admission.receipt


def _order(path: str, problem: Problem) -> tuple[bool, int, int]:
    """Sort the problems of the file itself first, then those of a Python file beside it."""
    return problem.path != path, problem.line, problem.column


def _finished(draft: Draft, receipt: Receipt | None) -> LoadoutFile:
    path = str(draft.path)
    problems = sorted(draft.problems, key=partial(_order, path))
    if (more := len(problems) - MOST_PROBLEMS) > 0:
        last, message = problems[MOST_PROBLEMS], f"and {more} more; correct these first"
        problems[MOST_PROBLEMS:] = [replace(last, code="too-many", message=message)]
    return LoadoutFile(
        path=path,
        team=draft.team,
        receipt=receipt,
        problems=tuple(problems),
        loadout=draft.model if isinstance(draft.model, Loadout) else None,
        text=draft.text,
    )
