"""Text that is no YAML -> one problem in plain words, at its line.

In: a text, and the parser's error with what was read before it. Out: a `YamlProblem`. What only
columns tell is in `indentation`. Used by `yaml_nodes`.
"""

import re
import unicodedata

import yaml

from orchestrator.admission.indentation import misplaced
from orchestrator.admission.list_hints import out_of_column
from orchestrator.admission.yaml_places import Document, Place, YamlProblem, place_of
from orchestrator.console import shortened

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


def character_problem(text: str) -> YamlProblem | None:
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


def syntax_problem(error: yaml.MarkedYAMLError, text: str, document: Document) -> YamlProblem:
    """Say what the parser stopped at; `document` holds what it had read until then."""
    lines = text.splitlines()
    if found := _line_without_colon(error, lines):
        return found
    mark = error.problem_mark
    if error.context_mark and (mark is None or mark.line >= len(lines)):
        mark = error.context_mark  # at the end of the file: where the unfinished thing starts
    line, column = (mark.line, mark.column) if mark else (0, 0)
    rest = lines[line][column:] if line < len(lines) else ""
    place = Place(line + 1, column + 1)
    if out_of_line := misplaced(error.problem or "", line, column, lines, document):
        return YamlProblem(out_of_line[0], "not-yaml", out_of_line[1])
    if rest.startswith("\t"):
        return YamlProblem(place, "tab", "a tab; YAML is indented with spaces only")
    written = lines[line] if line < len(lines) else ""
    if message := out_of_column(error.problem or "", written):
        return YamlProblem(place, "not-yaml", message)
    context = f" {error.context}" if error.context else ""
    where = f" at '{shortened(rest)}'" if rest else ""
    message = f"not YAML{context}: {error.problem}{where}; check indentation, colons and quotes"
    return YamlProblem(place, "not-yaml", message)
