"""How wide the columns of a table are where there is not room for all of them.

In: cells as text, the header first. Out: widths. `console` folds each cell to its column's.
"""

from collections.abc import Sequence

GAP = 2
"""Blanks between the columns of a table."""
WHOLE_CHARS, WORD_CHARS, PART_CHARS, LEAST_CHARS = 24, 16, 10, 6
"""Names, and words, up to this length stay on one line of a table as long as there is room; of a
longer word so much, and of a name, before a number is folded."""


def column_widths(
    rows: Sequence[Sequence[str]], firm: Sequence[bool], room: int
) -> tuple[int, ...]:
    """How wide each column of a table is, so that all of them fit into `room`; at least 1 each.

    The first row is the header. The widest column is narrowed first: text down to its longest word
    that is not too long, then down to a part of it, then names, and only then firm columns.
    """
    widths, kept, words = _lengths(rows, firm)
    parts = [max(each, PART_CHARS) for each in kept]
    floors = (
        words,
        parts,
        [LEAST_CHARS if at == 0 and not firm[0] else each for at, each in enumerate(parts)],
        [1] * len(widths),
    )
    left = sum(widths) + GAP * (len(widths) - 1) - room
    for floor in floors:
        while left > 0:
            wide = [index for index, width in enumerate(widths) if width > floor[index]]
            if not wide:
                break
            widths[max(wide, key=lambda index: widths[index])] -= 1
            left -= 1
    return tuple(widths)


def fits(rows: Sequence[Sequence[str]], firm: Sequence[bool], room: int) -> bool:
    """Whether a table needs no word cut but long names, of which a part is left."""
    widths, _, words = _lengths(rows, firm)
    least = [
        min(width, word, PART_CHARS if at == 0 and not firm[0] else word)
        for at, (width, word) in enumerate(zip(widths, words, strict=True))
    ]
    return sum(least) + GAP * (len(least) - 1) <= room


def _lengths(
    rows: Sequence[Sequence[str]], firm: Sequence[bool]
) -> tuple[list[int], list[int], list[int]]:
    """How wide each column is, what is kept of it on one line, and so much that no word is cut."""
    from rich.cells import cell_len  # not by the commands that print no table

    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    kept = [
        _longest([*column[0].split()[:1], *column[1:]], widths[index] if stays else WHOLE_CHARS)
        if stays or index == 0
        else 0
        for index, (column, stays) in enumerate(zip(columns, firm, strict=True))
    ]
    words = [
        max(least, _longest(" ".join(column).split(), WORD_CHARS))
        for least, column in zip(kept, columns, strict=True)
    ]
    return widths, kept, words


def _longest(texts: Sequence[str], most: int) -> int:
    """The length of the longest text that is no longer than that; 0 where all are."""
    return max((len(text) for text in texts if len(text) <= most), default=0)
