"""YAML text -> plain values, and the place of every one of them.

In: a file's text; out: a `Document` (values, positions, and how each scalar was written) and the
problems that are YAML's own. Values follow YAML 1.2's core schema: `no` and `12:30` are text,
`0o17` is 15, and there are neither dates nor merge keys. What the formats never need is refused:
anchors and aliases, tags, several documents, deep nesting. The tree is built from the parser's
event stream with a stack of our own, so that no input can exhaust Python's. Next: `draft`.
"""

import re
from dataclasses import dataclass

import yaml

from orchestrator.admission.indentation import TOP_LEVEL
from orchestrator.admission.list_hints import list_mark_hint
from orchestrator.admission.yaml_errors import character_problem, syntax_problem
from orchestrator.admission.yaml_places import Document, Loc, Place, YamlProblem
from orchestrator.console import shortened

MAX_DEPTH = 16
NO_ALIAS = "anchors and aliases are not allowed: write the value out"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NEEDED = {"apiVersion", "kind", "metadata", "team", "name", "item", "members"}
"""Keys that may not be left out where they belong."""
_NO_SPACE = re.compile(r"([A-Za-z][\w-]*):(\S+)", re.ASCII)
_SECTIONS: tuple[Loc, ...] = (("metadata",), ("spec",))
_CORE = re.compile(
    r"(?P<null>~|null|Null|NULL|)"
    r"|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)"
    r"|(?P<int>[-+]?[0-9]+)|(?P<oct>0o[0-7]+)|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)"
    r"|(?P<inf>[-+]?\.(inf|Inf|INF))|(?P<nan>\.(nan|NaN|NAN))"
)
MAX_DIGITS = 300  # no float holds a longer number


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
    if unreadable := character_problem(text):
        document.problems.append(unreadable)
        document.complete = False
        return document
    try:
        _build(text, document)
        _add_empty_sections(document)
    except yaml.MarkedYAMLError as error:
        document.problems.append(syntax_problem(error, text, document))
        document.complete = False
    except _Stop as stop:
        document.problems.append(stop.problem)
        document.complete = False
    return document


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
            loc = _attach(into, place, stack, document)
            if event.flow_style:
                document.flows.add(loc)
            stack.append(_Open(loc, into))
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
        if written := _NO_SPACE.fullmatch(str(loc[-1])):
            what_to_do = f"a key needs a colon and a space: `{written[1]}: {shortened(written[2])}`"
        if loc in _SECTIONS or (loc[:-1] in _SECTIONS and loc[-1] in TOP_LEVEL):
            return  # what to do depends on what follows it
        message = f"{name} has no value; {what_to_do}"
        document.problems.append(YamlProblem(place, "no-value", message, loc))


def _add_empty_sections(document: Document) -> None:
    """Say of `metadata:` and `spec:` without a value where their keys are to stand."""
    root = document.root
    for section in _SECTIONS:
        name = str(section[0])
        if not isinstance(root, dict) or name not in root or root[name] is not None:
            continue
        follower = next(iter(list(root)[list(root).index(name) + 1 :]), None)
        what_to_do = "write its keys below it, indented"
        if follower is not None and follower not in TOP_LEVEL:
            what_to_do = "indent the lines below it"
        elif name not in _NEEDED:
            what_to_do += ", or leave it out"
        message = f"the key '{name}' has no value; {what_to_do}"
        place = document.values[section]
        document.problems.append(YamlProblem(place, "no-value", message, section))


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
