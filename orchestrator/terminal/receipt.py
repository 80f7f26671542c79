"""A receipt as lines for people.

In: what was bought, and for how much of the budget. Out: text. Used by `describe` and `results`.
"""

import textwrap
from collections.abc import Iterable

from orchestrator import console

TITLE_CHARS, LEAST_CHARS = 40, 12
"""A title's room, and what is left of that in a narrow terminal."""
PRICE_CHARS = 6
"""A price's room; a larger one takes more."""
INDENT = "  "


def print_receipt(
    heading: str, lines: Iterable[tuple[str, int, float]], total_bnn: float, budget_bnn: float
) -> None:
    """Prints titles, how many of each where it is not one, and prices; titles fold to fit."""
    total, budget = _amount(total_bnn), f" of {_amount(budget_bnn)} B NN"
    price_chars = max(PRICE_CHARS, len(total) + 1)
    width = console.room() - len(INDENT) - price_chars - len(budget)
    width = min(TITLE_CHARS, max(LEAST_CHARS, width))
    console.print_text(f"\n{heading}:")
    for title, quantity, price_bnn in lines:
        name = console.printable(f"{title} x {quantity}" if quantity > 1 else title)
        *above, last = textwrap.wrap(name, width) or [""]
        for part in above:
            console.print_text(f"{INDENT}{part}")
        console.print_text(f"{INDENT}{last:<{width}}{_amount(price_bnn):>{price_chars}} B NN")
    console.print_text(f"{INDENT}{'total':<{width}}{total:>{price_chars}}{budget}")


def _amount(bnn: float) -> str:
    return f"{bnn:.12g}"  # six digits, the default, would make a million 1e+06
