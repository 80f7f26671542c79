"""The shop: every item by its key, and what it costs under a cohort's rules.

In: the classes of `items` and `enchanter`; out: the catalog, the type of a loadout's `purchases`
(the item's key decides which class reads an entry), and prices. An item is added in `items`.
Next: `loadout` and `cohort`, which are written in these words.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from orchestrator.admission import items
from orchestrator.admission.enchanter import MEMBER_ITEMS, EnsembleEnchanter
from orchestrator.admission.purchase import Purchase
from orchestrator.console import shortened

SHELVES: Mapping[str, tuple[type[Purchase], ...]] = {
    **items.SHELVES,
    "ensemble": (EnsembleEnchanter,),
}
ITEMS: tuple[type[Purchase], ...] = (*MEMBER_ITEMS, EnsembleEnchanter)
CATALOG: Mapping[str, type[Purchase]] = {item.key(): item for item in ITEMS}

if TYPE_CHECKING:
    AnyPurchase = Purchase
else:
    AnyPurchase = Annotated[reduce(or_, CATALOG.values()), Field(discriminator="item")]


def nearest(word: str, known: Iterable[str], alike: float = 0.5) -> str:
    """Return "; did you mean ...?" for the known word nearest to a misspelt one, or nothing.

    `alike` says how near it has to be, from 0 to 1.
    """
    names = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower().strip("'"), names, n=1, cutoff=alike)
    return f"; did you mean {names[found[0]]}?" if found else ""


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


# The key of an item, by everything that it is called: both halves of "Need for Shift: Tokyo ..."
_KEY_OF: Mapping[str, str] = {
    _slug(name): item.key()
    for item in ITEMS
    for title in (item.key(), item.title, *item.also_called, *item.plain_words)
    for name in (title, *title.split(":"))
}


_FREE = {name.lower(): name for name in ("learningRate", "batchSize", "epochs", "seed")}
ITEMS_ALIKE = 0.7
"""Of the many names that items have, one is always a little like any other word."""


def item_called(name: str) -> type[Purchase] | None:
    """Return the item of this key, name in the game or plain word; None where there is none."""
    key = _KEY_OF.get(_slug(name))
    return CATALOG[key] if key else None


def unknown_item(word: str) -> str:
    """Say that there is no such item, and which is meant, or which there are."""
    parts = {item_called(part) for part in re.split(r"[,;+&]| and ", word)} - {None}
    if len(parts) > 1:
        return f"the shop has no item {word}; one item a line: `- item: ...`"
    slug = _slug(word)
    if (free := _FREE.get(slug.replace("-", ""))) is not None:
        return f"the shop has no item {word}; {free} is free: write it under spec"
    found = {item.key() for item in parts if item is not None}
    if len(slug) >= 4:  # a word of the name
        found = found or {_KEY_OF[name] for name in _KEY_OF if f"-{slug}-" in f"-{name}-"}
    near = difflib.get_close_matches(slug, _KEY_OF, n=1, cutoff=ITEMS_ALIKE)
    meant = " or ".join(sorted(found)) or "".join(_KEY_OF[name] for name in near)
    hint = f"did you mean {meant}?" if meant else f"the items are {', '.join(CATALOG)}"
    return f"the shop has no item {word}; {hint}"


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
