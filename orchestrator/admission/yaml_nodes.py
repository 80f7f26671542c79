"""YAML text -> plain values, and the place of every one of them.

In: a file's text; out: a `Document` (values, positions, and how each scalar was written) and the
problems that are YAML's own. Values follow YAML 1.2's core schema: `no` and `12:30` are text,
`0o17` is 15, and there are neither dates nor merge keys. What the formats never need is refused:
anchors and aliases, tags, several documents, deep nesting. The tree is built from the parser's
event stream with a stack of our own, so that no input can exhaust Python's. Next: `draft`.
"""

import re
import unicodedata
from dataclasses import dataclass, field

import yaml

from orchestrator.admission.list_hints import list_mark_hint, out_of_column
from orchestrator.console import shortened

MAX_DEPTH = 16
NO_ALIAS = "anchors and aliases are not allowed: write the value out"
Loc = tuple[str | int, ...]
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Characters that YAML forbids, and those that YAML 1.1 parsers, but no editor, count as a new line.
_CONTROL = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
# Spaces and marks that look like a plain space or like nothing, up to a comment's start.
_INVISIBLE = re.compile(
    "^(?:(?!(?:^|[ \t])#).)*?([\xa0\xad\u2000-\u200f\u202a-\u202f\u205f-\u206f\u3000\ufeff])", re.M
)
_FENCE = re.compile(r"^[ \t]*(```)", re.M)
_NO_COLON = ("mapping values are not allowed", "could not find expected ':'")
_NEEDED = {"apiVersion", "kind", "team", "name", "item", "members"}
"""Keys that may not be left out where they belong."""
_SECTIONS: tuple[Loc, ...] = (("metadata",), ("spec",))
_CORE = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+)|(?P<oct>0o[0-7]+)|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)"
    r"|(?P<inf>[-+]?\.(inf|Inf|INF))|(?P<nan>\.(nan|NaN|NAN))"
)
MAX_DIGITS = 300  # no float holds a longer number


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key or a value starts (both counted from 1), and how a scalar was written."""

    line: int
    column: int
    text: str | None = None


@dataclass(frozen=True, slots=True)
class YamlProblem:
    """A problem of the text itself. `loc` is the path of a value that is not there."""

    place: Place
    code: str
    message: str
    loc: Loc | None = None


@dataclass(slots=True)
class Document:
    """One YAML document. `values` and `keys` are indexed by the path of keys and positions.

    Where the rest of the text could not be read, `complete` is False and the values mean nothing.
    """

    root: object = None
    complete: bool = True
    values: dict[Loc, Place] = field(default_factory=dict)
    keys: dict[Loc, Place] = field(default_factory=dict)
    problems: list[YamlProblem] = field(default_factory=list)

    def place(self, loc: Loc) -> Place:
        """Return where a problem with the value at `loc` is best shown.

        That is a scalar itself, the key of a mapping or list, and for what is missing the nearest
        thing around it.
        """
        while loc and loc not in self.values:
            loc = loc[:-1]
        value = self.values.get(loc, Place(1, 1))
        return self.keys.get(loc, value) if value.text is None else value


class _Stop(Exception):  # it ends the reading, and never leaves this module
    """The rest of the text is not read after this problem."""

    def __init__(self, place: Place, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = YamlProblem(place, code, message)


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been reached; `key` is the key that waits for a value."""

    loc: Loc
    into: dict[str, object] | list[object]
    key: str | None = None


def parse(text: str) -> Document:
    """Read one YAML document; whatever is wrong with it is in the result's `problems`."""
    document = Document()
    if unreadable := _character_problem(text):
        document.problems.append(unreadable)
        document.complete = False
        return document
    try:
        _build(text, document)
    except yaml.MarkedYAMLError as error:
        document.problems.append(_syntax_problem(error, text))
        document.complete = False
    except _Stop as stop:
        document.problems.append(stop.problem)
        document.complete = False
    return document


def place_of(text: str, index: int) -> Place:
    """Return the line and column of a character of a text."""
    line_start = text.rfind("\n", 0, index) + 1
    return Place(text.count("\n", 0, index) + 1, index - line_start + 1)


def _character_problem(text: str) -> YamlProblem | None:
    """Find the first thing that no reader of YAML should see, by which others would mislead."""
    if bad := _CONTROL.search(text):
        message = f"control character U+{ord(bad[0]):04X}; delete it, or escape it in double quotes"
        return YamlProblem(place_of(text, bad.start()), "control-character", message)
    if bad := _INVISIBLE.search(text):
        name = unicodedata.name(bad[1], "invisible character").lower()
        message = f"a {name} (U+{ord(bad[1]):04X}); delete it, or type a plain space"
        return YamlProblem(place_of(text, bad.start(1)), "control-character", message)
    if bad := _FENCE.search(text):
        message = "Markdown around the YAML; remove the ``` line"
        return YamlProblem(place_of(text, bad.start(1)), "not-yaml", message)
    return None


def _line_without_colon(error: yaml.MarkedYAMLError, lines: list[str]) -> YamlProblem | None:
    """Find the line that the parser took for the start of the key in the next one."""
    mark = error.problem_mark
    if mark is None or not (error.problem or "").startswith(_NO_COLON):
        return None
    if ": " in "".join(lines[mark.line : mark.line + 1])[: mark.column]:
        return None
    for number in range(min(mark.line, len(lines)), 0, -1):
        line = lines[number - 1].rstrip()
        if line and not line.lstrip().startswith("#"):
            if ": " in line or line.endswith(":"):
                return None
            place = Place(number, len(line) - len(line.lstrip()) + 1)
            message = f"'{shortened(line.strip())}'; a key needs a colon and a space: `name: value`"
            return YamlProblem(place, "not-yaml", message)
    return None


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> YamlProblem:
    lines = text.splitlines()
    if found := _line_without_colon(error, lines):
        return found
    mark = error.problem_mark
    if error.context_mark and (mark is None or mark.line >= len(lines)):
        mark = error.context_mark  # at the end of the file: where the unfinished thing starts
    line, column = (mark.line, mark.column) if mark else (0, 0)
    rest = lines[line][column:] if line < len(lines) else ""
    place = Place(line + 1, column + 1)
    if rest.startswith("\t"):
        return YamlProblem(place, "tab", "a tab; YAML is indented with spaces only")
    written = lines[line] if line < len(lines) else ""
    if message := out_of_column(error.problem or "", written):
        return YamlProblem(place, "not-yaml", message)
    context = f" {error.context}" if error.context else ""
    where = f" at '{shortened(rest)}'" if rest else ""
    message = f"not YAML{context}: {error.problem}{where}; check indentation, colons and quotes"
    return YamlProblem(place, "not-yaml", message)


def _build(text: str, document: Document) -> None:
    """Put the tree together from the parser's events."""
    stack: list[_Open] = []
    num_documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        place = _starts_at(event)
        if isinstance(event, yaml.ScalarEvent):
            _refuse_extras(event, place)
            _add_scalar(event, place, stack, document)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            _refuse_extras(event, place)
            into: dict[str, object] | list[object]
            into = {} if isinstance(event, yaml.MappingStartEvent) else []
            if stack and isinstance(stack[-1].into, dict) and stack[-1].key is None:
                raise _Stop(place, "not-yaml", "a mapping or list as a key; keys are words")
            if len(stack) >= MAX_DEPTH:
                raise _Stop(place, "too-deep", f"nested more than {MAX_DEPTH} levels deep")
            stack.append(_Open(_attach(into, place, stack, document), into))
        elif isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            raise _Stop(place, "alias", f"alias *{shortened(str(event.anchor))}; {NO_ALIAS}")
        elif isinstance(event, yaml.DocumentStartEvent):
            num_documents += 1
            if num_documents > 1:
                message = "a second document starts here; write one document a file"
                raise _Stop(place, "several-documents", message)


def _starts_at(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _refuse_extras(event: yaml.ScalarEvent | yaml.CollectionStartEvent, place: Place) -> None:
    if event.anchor is not None:
        raise _Stop(place, "alias", f"anchor &{shortened(event.anchor)}; {NO_ALIAS}")
    if event.tag is not None:
        tag = shortened(event.tag)
        raise _Stop(place, "tag", f"tag '{tag}'; tags are not allowed: write the bare value")


def _add_scalar(
    event: yaml.ScalarEvent, place: Place, stack: list[_Open], document: Document
) -> None:
    top = stack[-1] if stack else None
    if top is not None and isinstance(top.into, dict) and top.key is None:
        top.key = event.value
        loc = (*top.loc, event.value)
        if event.value in top.into:
            first = document.keys[loc].line
            what_to_do = list_mark_hint(event.value) or "; keep one"
            if event.value == "item":
                what_to_do = "; another purchase is an entry of its own: `- item: ...`"
            message = f"the key '{shortened(event.value)}' is in line {first} already{what_to_do}"
            document.problems.append(YamlProblem(place, "duplicate-key", message))
        else:
            document.keys.setdefault(loc, place)
        return
    value = resolve(event.value) if event.implicit[0] else event.value
    loc = _attach(value, Place(place.line, place.column, event.value), stack, document)
    if value is None and top is not None:
        is_key = isinstance(top.into, dict)
        name = f"the key '{shortened(str(loc[-1]))}'" if is_key else "the entry"
        what_to_do = "give it one" if loc[-1] in _NEEDED else "give it one or leave it out"
        if loc in _SECTIONS:
            what_to_do = "indent the lines below it"
        message = f"{name} has no value; {what_to_do}"
        document.problems.append(YamlProblem(place, "no-value", message, loc))


def _attach(value: object, place: Place, stack: list[_Open], document: Document) -> Loc:
    """Put a value where it belongs (the first one wins under a duplicate key); return its path."""
    if not stack:
        document.root = value
        loc: Loc = ()
    else:
        top = stack[-1]
        if isinstance(top.into, list):
            loc = (*top.loc, len(top.into))
            top.into.append(value)
        else:
            loc = (*top.loc, str(top.key))
            top.into.setdefault(str(top.key), value)
            top.key = None
    document.values.setdefault(loc, place)
    return loc


def resolve(text: str) -> object:
    """Return the value of a plain scalar under the core schema of YAML 1.2 (its chapter 10.3.2)."""
    match = _CORE.fullmatch(text)
    kind = match.lastgroup if match else None
    match kind:
        case "null":
            return None
        case "true" | "false":
            return kind == "true"
        case "int" | "float" | "oct" | "hex":
            if len(text) > MAX_DIGITS:
                return float("inf")
            bases = {"int": 10, "oct": 8, "hex": 16}
            return int(text, bases[kind]) if kind in bases else float(text)
        case "inf" | "nan":
            return float(text.replace(".", "", 1))
        case _:
            return text
