"""What the YAML reader found, and where in the text: values, keys and problems.

In: paths of keys and positions (a `Loc`) and places (a line and a column, counted from 1). Out: a
`Document`, which knows the place of every one. Next: `yaml_nodes` fills it, `draft` reads it.
"""

from dataclasses import dataclass, field

Loc = tuple[str | int, ...]


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
    flows: set[Loc] = field(default_factory=set)
    """Mappings and lists that are written in brackets."""
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


def place_of(text: str, index: int) -> Place:
    """Return the line and column of a character of a text."""
    line_start = text.rfind("\n", 0, index) + 1
    return Place(text.count("\n", 0, index) + 1, index - line_start + 1)
