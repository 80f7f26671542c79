"""What to say of a line that starts in a column where nothing can start.

In: the line and column at which the YAML parser stopped, the text's lines, and what was read before
them. Out: a place and a message, or None where the columns do not tell what was meant. Used by
`yaml_errors`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.admission.shop import CATALOG
from orchestrator.admission.yaml_places import Document, Place
from orchestrator.console import shortened

TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec")
LISTS = {"purchases", "members", "offTheShelf"}
MAPPINGS = {
    "metadata", "spec", "limits", "data", "resources", "queue", "retry", "scoring", "teacher",
    "customLimits", "prices", "items", *CATALOG,
}  # fmt: skip
"""Keys whose values are mappings: what is indented below one of them is meant to belong to it."""

ONE_COLUMN = "keys of one block start in the same column"
_KEY = re.compile(r"( *(?:- +)?)([\w.-]+) *(:)(?: |$)")
_ENTRY = re.compile(r" *-(?: |$)")
# A value that goes on in deeper lines: neither in quotes or brackets, nor ended by a comment.
_OPEN_VALUE = re.compile(r"""( *(?:- +)?)([\w.-]+) *: +(?=[^\s"'\[\]{}|>&*!%@`,#])(?!.* #)""")
_IN_BRACKETS = "',' or"  # what the parser then expects
_TWO_KEYS = re.compile(r"( *(?:- +)?)([\w.-]+): +([\w.-]+):(?: +([\w.+'\"-]+))? *(?: #.*)?")


@dataclass(frozen=True)
class _Block:
    """An open mapping or list: what starts in its column, last; `name` is None for a list."""

    column: int  # from 0: so many spaces stand before it
    line: int  # from 1
    name: str | None = None
    behind_hyphen: bool = False


def misplaced(
    parser_says: str, line: int, column: int, lines: list[str], document: Document
) -> tuple[Place, str] | None:
    """Say against which line the one is out of its column; line and column count from 0."""
    text = lines[line] if line < len(lines) else ""
    indent = _indent(text)
    above = next((n for n in range(line - 1, -1, -1) if _has_content(lines[n])), None)
    key = _KEY.match(text)
    place = Place(line + 1, indent + 1)
    if parser_says.startswith("mapping values are not allowed"):
        if two_keys := _TWO_KEYS.fullmatch(text):
            inner = Place(line + 1, two_keys.start(3) + 1)
            return _told(inner, _two_keys(two_keys, line, lines))
        # The line above is the one before: a comment between the two would have ended its value.
        if key is None or key.start(3) != column or above is None:
            return None
        message = _top_level(key, indent) or _after_open_value(key, line, above, lines)
    elif column == indent and above is not None and _IN_BRACKETS not in parser_says:
        blocks = _open_blocks(document, lines, above)
        if _ENTRY.match(text):
            message = _between_entries(indent, blocks)
        elif key is not None:
            message = _top_level(key, indent) or _between_keys(line, indent, blocks)
        else:
            return None
    else:
        return None
    return _told(place, message)


def _told(place: Place, message: str | None) -> tuple[Place, str] | None:
    return None if message is None else (place, message)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _has_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _top_level(key: re.Match[str], indent: int) -> str | None:
    """Say where a key starts that stands nowhere but at the top of a file."""
    if not indent or key[2] not in TOP_LEVEL or "-" in key[1]:
        return None
    return f"'{key[2]}' is indented by {_spaces(indent)}: start it in column 1"


def _two_keys(found: re.Match[str], line: int, lines: list[str]) -> str | None:
    """Say how `metadata: team: f` is written."""
    start, outer, inner, value = found.groups()
    if outer not in MAPPINGS:
        return None
    entry = f"{inner}: {value}" if value else f"{inner}:"
    below = next((n for n in range(line + 1, len(lines)) if _has_content(lines[n])), None)
    if below is not None and _indent(lines[below]) > len(start) and value:
        return f"write `{entry}` in a line of its own, indented like line {below + 1}"
    inline = f"`{outer}: {{{entry}}}`, or " if value else ""
    return f"write {inline}`{entry}` indented on the next line"


def _after_open_value(key: re.Match[str], line: int, above: int, lines: list[str]) -> str | None:
    """Say what is wrong with a key, or a list's entry, that is taken for more of a value above."""
    value = _OPEN_VALUE.match(lines[above])
    if value is None or value[2] in MAPPINGS | LISTS:
        return None
    column = len(value[1])
    if "-" in key[1]:
        return _below_entry(_entry_above(column, above, lines))
    if len(key[1]) <= column:
        return None
    block = _Block(column, above + 1, value[2], "-" in value[1])
    return _out_of_line(line + 1, len(key[1]), [block])


def _entry_above(column: int, line: int, lines: list[str]) -> list[_Block]:
    """Return the hyphen of the list's entry whose keys stand in this column, if it can be found."""
    for number in range(line, -1, -1):
        if not _has_content(lines[number]):
            continue
        key = _KEY.match(lines[number])
        if key is None or len(key[1]) != column:
            return []
        if "-" in key[1]:
            return [_Block(key[1].index("-"), number + 1)]
    return []


def _open_blocks(document: Document, lines: list[str], above: int) -> list[_Block]:
    """Return the blocks that are open in a line, outermost first; none where that is not clear."""
    loc = next(reversed(document.values), ())
    loc = next((loc[:n] for n in range(len(loc)) if loc[:n] in document.flows), loc)
    if not loc or document.values[loc].line != above + 1:
        return []
    blocks = list[_Block]()
    for length, step in enumerate(loc, start=1):
        if isinstance(step, str):
            place = document.keys[loc[:length]]
            before = lines[place.line - 1][: place.column - 1]
            blocks.append(_Block(place.column - 1, place.line, step, bool(before.strip())))
        else:
            place = document.values[loc[:length]]
            before = lines[place.line - 1][: place.column - 1].rstrip()
            if not before.endswith("-"):
                return []
            blocks.append(_Block(len(before) - 1, place.line))
    return blocks


def _between_entries(indent: int, blocks: list[_Block]) -> str | None:
    """Say what is wrong with a hyphen that begins in the column of no list's."""
    lists = [block for block in blocks if block.name is None]
    return None if any(each.column == indent for each in lists) else _below_entry(lists)


def _between_keys(line: int, indent: int, blocks: list[_Block]) -> str | None:
    """Say what is wrong with a key that begins in no open block's column."""
    if any(block.column == indent for block in blocks):
        return None
    mappings = [block for block in blocks if block.name is not None]
    outer = [block for block in mappings if block.column < indent][-1:]
    inner = [block for block in mappings if block.column > indent][:1]
    if not inner and outer and outer[0].name in MAPPINGS | LISTS:
        return None  # its value is whole, so this might be more of it
    if inner and outer and outer[0].column == 0:
        outer = []  # what stands at the top of a file is known: this key is not
    return _out_of_line(line + 1, indent, [*outer, *inner])


def _below_entry(lists: Iterable[_Block]) -> str | None:
    places = " or ".join(f"in line {block.line}" for block in lists)
    return f"this `-` must stand below the one {places}" if places else None


def _out_of_line(line: int, indent: int, blocks: list[_Block]) -> str | None:
    """Set a line's indentation beside those that keys of the blocks around it have."""
    if not blocks:
        return None
    one = (
        f"line {line} is indented by {_spaces(indent)}"
        if indent
        else f"line {line} is not indented"
    )
    others = []
    for number, block in enumerate(blocks):
        unit = _spaces(block.column) if not indent and not number else str(block.column)
        if block.behind_hyphen:
            others.append(
                f"'{shortened(str(block.name))}' in line {block.line} starts after {unit}"
            )
        elif not block.column:
            others.append(f"line {block.line} is not")
        else:
            others.append(f"line {block.line} by {unit}")
    return f"{one}, {' and '.join(others)}: {ONE_COLUMN}"


def _spaces(number: int) -> str:
    return "1 space" if number == 1 else f"{number} spaces"
