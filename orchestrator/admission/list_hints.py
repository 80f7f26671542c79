"""What to do where a list's entry is not one: bullets of word processors, keys out of column.

In: words of a file. Out: a problem's message, or the end of one, or nothing. Used by `yaml_nodes`
and `problems`.
"""

import re

from orchestrator.console import shortened

LIKE_HYPHENS = ("-", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2212",
                "\u2022", "\u00b7", "\u25e6", "\u25aa", "*")  # fmt: skip
"""Hyphens, and what word processors make of them: dashes, a minus sign, bullets."""


MOST_WRITTEN = 10


def list_mark_hint(key: str) -> str:
    """Say what is wrong where `– item` or `-item` stands for a list's entry, or nothing."""
    if not key.startswith(LIKE_HYPHENS):
        return ""
    rest = key.lstrip("".join(LIKE_HYPHENS)).strip()
    return f"; an entry starts with a hyphen and a space: `- {shortened(rest)}: ...`"


def members_hint(key: str, given: object) -> str:
    """Say how an ensemble's members are written where their number stands, or nothing."""
    if key != "members" or type(given) is not int or not 0 < given <= MOST_WRITTEN:
        return ""
    return f"; for {given} networks write `members: [{', '.join(['{}'] * given)}]`"


def out_of_column(parser_says: str, line: str) -> str | None:
    """Say what to do with a key that stands where a list's next entry would begin; else None."""
    key = re.match(r"[\w.-]+(?=:)", line.strip())
    if "expected '-' indicator" not in parser_says or key is None:
        return None
    return (
        f"'{shortened(key[0])}' stands in the column of a list's hyphens: put it below the first "
        "key of the entry that it belongs to, or further left where it belongs to none"
    )
