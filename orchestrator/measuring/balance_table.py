"""A `Balance` written down: the cells of a table, and a section of a Markdown file.

In: what `balance` summed up. Out: text. The file may hold a section for each set of images, between
markers such as `<!-- drawn -->` and `<!-- /drawn -->`; a new measurement replaces its own section
and leaves everything else as it is. `cli.balance` prints and saves it.
"""

import re
from pathlib import Path

from orchestrator.errors import Refused
from orchestrator.measuring.balance import Balance, Row

NUMBERS = ("spent", "runs", "accuracy", "spread", "gain", "±", "kept")
"""The columns that are aligned to the right."""
TITLE = "# What the loadouts are worth\n"
IMAGES = "<!-- images: {} -->"
FINGERPRINT_CHARS = 16


def table(result: Balance) -> tuple[list[str], list[list[str]]]:
    """The column names and the rows; columns that would be empty are left out."""
    columns = ["loadout", *NUMBERS]
    rows = [_cells(row, result.num_seeds, result.baseline) for row in result.rows]
    filled = [i for i in range(len(columns)) if any(row[i] != "-" for row in rows)]
    return [columns[i] for i in filled], [[row[i] for i in filled] for row in rows]


def _cells(row: Row, num_seeds: int, baseline: str | None) -> list[str]:
    num_scored = len(row.accuracies)
    return [
        row.loadout,
        f"{row.spent_bnn:g}",
        str(num_seeds) if num_scored == num_seeds else f"{num_scored} of {num_seeds}",
        _or_dash(row.mean, "{:.1%}"),
        "-" if row.spread is None else f"{100 * row.spread:.1f}",
        _or_dash(row.gain_points, "{:+.1f}"),
        "-" if row.loadout == baseline else _or_dash(row.gain_half_points, "{:.1f}"),
        _or_dash(row.kept, "{:.0%}"),
    ]


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def legend(result: Balance) -> str:
    """What the columns mean, in one paragraph."""
    left_out = result.test_images_left_out
    leaked = f" ({left_out} more, which leak, are left out)" if left_out else ""
    seeds = num_seeds_in_words(result.num_seeds)
    parts = [
        f"spent: in B NN; accuracy: mean over {seeds}, on {result.test_images} test images{leaked}"
    ]
    if any(row.spread is not None for row in result.rows):
        parts.append("spread: sample standard deviation, in points")
    if any(row.mean is None for row in result.rows):
        parts.append("no mean where a run failed")
    if any(row.gain_points is not None for row in result.rows):
        parts.append(f"gain: points above {result.baseline}")
    elif result.baseline is not None:
        parts.append(f"no gains, as {result.baseline} has no mean")
    if any(row.gain_half_points is not None for row in result.rows):
        parts.append(
            "±: half of the gain's 95 % interval, Student's t over pairs of runs with the same "
            "seed, on these images: a smaller gain may be luck, and of 20 loadouts that gain "
            "nothing chance alone puts one beyond"
        )
    if any(row.kept is not None for row in result.rows):
        parts.append("kept: of X-without-ITEM, its share of X's gain")
    if result.degraded:
        parts.append(f"scored without members that were lost: {', '.join(result.degraded)}")
    return "; ".join(parts) + "."


def num_seeds_in_words(number: int) -> str:
    """`1 seed`, `3 seeds`."""
    return "1 seed" if number == 1 else f"{number} seeds"


def section(result: Balance, name: str, command: str, images: str = "") -> str:
    """The table as a section in Markdown, with the command that makes it, and a mark of the images.

    `images` is their fingerprint.
    """
    columns, rows = table(result)
    rule = ["--:" if column in NUMBERS else "---" for column in columns]
    lines = ["| " + " | ".join(cells) + " |" for cells in (columns, rule, *rows)]
    mark = ["", IMAGES.format(images[:FINGERPRINT_CHARS])] if images else []
    return "\n".join(
        [f"## {name}", "", f"    {command}", "", *lines, "", _sentence(legend(result)), *mark]
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def read_for_update(path: Path, name: str, images: str = "") -> str:
    """The text of a file of results, or the start of a new one.

    Raises `Refused` where the file can't be written, where the section `name` has a beginning
    without an end, an end without a beginning, or is there twice, and where it is of other images
    than those with the fingerprint `images`: another folder may have the same name.
    """
    if not path.absolute().parent.is_dir():
        raise Refused(f"{path} cannot be written: there is no folder {path.parent}")
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return TITLE
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text; name a Markdown file") from error
    begin, end = _markers(name)
    counts = (text.count(begin), text.count(end))
    if counts not in {(0, 0), (1, 1)} or text.find(begin) > text.find(end):
        raise Refused(
            f"{path} should hold one {begin} and, after it, one {end}, or neither; it holds "
            f"{counts[0]} and {counts[1]}: correct it"
        )
    of_images = re.search(IMAGES.format("([0-9a-f]+)"), text.partition(begin)[2].partition(end)[0])
    if images and of_images is not None and not images.startswith(of_images[1]):
        raise Refused(
            f"section {name} of {path} was measured on other images; name another file with -o, "
            "or take that section out first"
        )
    return text


def updated(text: str, name: str, new_section: str) -> str:
    """The text with the section in place of its older version, or at the end."""
    begin, end = _markers(name)
    line_end = "\r\n" if "\r\n" in text else "\n"
    block = f"{begin}\n\n{new_section}\n\n{end}".replace("\n", line_end)
    before, found, rest = text.partition(begin)
    if found:
        return before + block + rest.partition(end)[2]
    return f"{text.rstrip()}{line_end * 2}{block}{line_end}".lstrip()


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- /{name} -->"
