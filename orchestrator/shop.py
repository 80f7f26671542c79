"""The shop: every item by its key, and what it costs under a cohort's rules.

In: the classes of `items` and `enchanter`; out: the catalog, the type of a loadout's `purchases`
(the item's key decides which class reads an entry), and prices. An item is added in `items`.
Next: `loadout` and `cohort`, which are written in these words.
"""

import difflib
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from orchestrator.console import shortened
from orchestrator.enchanter import MEMBER_ITEMS, EnsembleEnchanter
from orchestrator.purchase import Purchase

ITEMS: tuple[type[Purchase], ...] = (*MEMBER_ITEMS, EnsembleEnchanter)
CATALOG: Mapping[str, type[Purchase]] = {item.key(): item for item in ITEMS}

if TYPE_CHECKING:
    AnyPurchase = Purchase
else:
    AnyPurchase = Annotated[reduce(or_, CATALOG.values()), Field(discriminator="item")]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" for the known word nearest to a misspelt one, or nothing."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower().strip("'"), by_lower, n=1, cutoff=0.5)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


def unknown_item(word: str) -> str:
    """Say that there is no such item, and which is meant, or which there are."""
    hint = nearest(word, CATALOG) or f"; the items are {', '.join(CATALOG)}"
    return f"the shop has no item {word}{hint}"


def _known(key: str) -> str:
    if key not in CATALOG:
        raise PydanticCustomError(
            "unknown-item", "{reason}", {"reason": unknown_item(f"'{shortened(key)}'")}
        )
    return key


ItemKey = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": sorted(CATALOG)})]


def unit_price_bnn(key: str, prices: Mapping[str, int]) -> int:
    """Return what one unit of an item costs, where `prices` holds the cohort's own."""
    return prices.get(key, CATALOG[key].price_bnn)
