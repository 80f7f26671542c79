"""`gamectl shop`: what can be bought, for how much, and how to write it in a loadout.

In: the catalog, the name of an item, and a cohort's file for its own prices; out: a table, one item
with its lesson and parameters, or JSON. Next: a team writes a loadout, and `gamectl validate`
checks it.
"""

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any

import click

from orchestrator import console
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.enchanter import MEMBER_ITEMS
from orchestrator.admission.files import read_cohort
from orchestrator.admission.items.custom import Custom
from orchestrator.admission.items.data import MAX_SIZE_PX
from orchestrator.admission.purchase import Purchase
from orchestrator.admission.shop import CATALOG, SHELVES, item_called, unit_price_bnn, unknown_item
from orchestrator.cli import completing
from orchestrator.cli.paths import LocalPath

# A member may say any of these, or nothing; an item that it tunes must be bought.
MEMBERS_EXAMPLE = """\
      members:
        - {}                  # as in the spec, another seed
        - learningRate: 0.05  # also batchSize, epochs, seed
          epochs: 10
          items:              # parameters of bought items
            whirl-and-swirl:
              degrees: 30
    - item: whirl-and-swirl"""
BOUNDS = {
    "exclusiveMinimum": "more than {}",
    "minimum": "at least {}",
    "exclusiveMaximum": "less than {}",
    "maximum": "at most {}",
    "minItems": "at least {} of them",
}
OTHERWISE = "; a cohort's file may say otherwise (--cohort-file)"
MAX_WIDTH, MIN_WIDTH = 88, 40  # of prose, in columns


@click.command(
    "shop",
    epilog="""\b
    Example:
      gamectl shop
      gamectl shop whirl-and-swirl
      gamectl shop --cohort-file loadouts/demo/cohort.yaml -o json""",
)
@click.argument("item", required=False, shell_complete=completing.items)
@click.option(
    "--cohort-file",
    metavar="PATH",
    type=LocalPath(),
    help="Show this cohort's prices, and what it takes off the shelf.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def command(item: str | None, cohort_file: Path | None, output: str) -> None:
    """Show what can be bought and for how much, or explain one ITEM."""
    cohort = read_cohort(cohort_file).cohort
    by_default = cohort_file is None
    if item is None:
        shown = list(CATALOG.values())
    else:
        found = item_called(item)
        if found is None:
            reason = unknown_item(f"'{console.shortened(item)}'")
            raise click.BadParameter(reason, param_hint="ITEM")
        shown = [found]
    if output == "json":
        console.print_json({"items": [_as_json(each, cohort) for each in shown]})
    elif item:
        _print_item(shown[0], cohort)
    else:
        _print_shelves(cohort, by_default)


def _is_sold(item: type[Purchase], cohort: Cohort) -> bool:
    if item is Custom and not cohort.spec.allow_custom_code:
        return False
    return item.key() not in cohort.spec.off_the_shelf


def _price(item: type[Purchase], cohort: Cohort, unit: str = "") -> str:
    if not _is_sold(item, cohort):
        return "not sold"
    price = f"{unit_price_bnn(item.key(), cohort.spec.prices)}{unit}"
    return f"{price} each" if item.sold_by else price


def _parameters(item: type[Purchase]) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of every parameter, by its key in a file."""
    properties: dict[str, dict[str, Any]] = item.json_schema()["properties"]
    return {name: schema for name, schema in properties.items() if name != "item"}


def _as_json(item: type[Purchase], cohort: Cohort) -> dict[str, object]:
    return {
        "item": item.key(),
        "title": item.title,
        "also_called": list(item.also_called),
        "plain_words": list(item.plain_words),
        "shelf": next(shelf for shelf, items in SHELVES.items() if item in items),
        "price_bnn": unit_price_bnn(item.key(), cohort.spec.prices),
        "sold_by": item.sold_by,
        "on_the_shelf": _is_sold(item, cohort),
        "description": item.blurb(),
        "lesson": item.lesson(),
        "parameters": _parameters(item),
        "members_may_differ_in": _tunable(item),
    }


def _tunable(item: type[Purchase]) -> list[str]:
    """Return the keys of the parameters that members of an ensemble may differ in."""
    keys = {name: field.alias or name for name, field in item.model_fields.items()}
    return [keys[name] for name in item.tunable()] if item in MEMBER_ITEMS else []


def _print_shelves(cohort: Cohort, by_default: bool) -> None:
    """Print a table of all items; a shelf's name stands in a line above its items."""
    rows: list[tuple[str, str, str]] = []
    for shelf, items in SHELVES.items():
        rows.append((shelf.upper(), "", ""))
        rows += [(each.key(), _price(each, cohort), each.blurb()) for each in items]
    console.print_table(["ITEM", "B NN", "WHAT IT DOES"], rows, right=["B NN"])
    limits = cohort.spec.limits
    largest_px = min(limits.image_size_px, MAX_SIZE_PX)
    console.print_note(
        f"{'By default a' if by_default else 'A'} team has {cohort.spec.budget} B NN; at most "
        f"{limits.epochs} epochs, batches of {limits.batch_size}, {limits.members} members, images "
        f"of {largest_px} px{OTHERWISE if by_default else ''}. More: gamectl shop ITEM"
    )


def _print_item(item: type[Purchase], cohort: Cohort) -> None:
    names = " or ".join([item.title, *item.also_called])
    field_calls_it = f" ({item.plain_words[0]})" if item.plain_words else ""
    _print_prose(f"{names}{field_calls_it}: {_price(item, cohort, unit=' B NN')}")
    for paragraph in (item.blurb(), *item.lesson().split("\n\n")):
        console.print_text("")
        _print_prose(paragraph)
    parameters = _parameters(item)
    if parameters:
        console.print_text("\nParameters:\n")
    required = item.json_schema().get("required", [])
    margin = max(map(len, parameters), default=0) + 4
    for name, schema in parameters.items():
        _print_prose(schema["description"], f"  {name}".ljust(margin), margin)
        default = "required" if name in required else "optional"
        if "default" in schema:
            default = f"default {_written(schema['default'])}"
        _print_prose("; ".join(filter(None, [default, _allowed(schema)])), " " * margin, margin)
    if differ := _tunable(item):
        console.print_text("")
        _print_prose(f"What members of an ensemble may differ in: {', '.join(differ)}.")
    console.print_text(f"\nIn a loadout:\n\n  purchases:\n    - item: {item.key()}")
    defaults = {name: each["default"] for name, each in parameters.items() if "default" in each}
    for name, value in (item.example or defaults).items():
        others = [each for each in parameters[name].get("enum", []) if each != value]
        comment = f"  # or {', '.join(others)}" if others else ""
        console.print_text(f"      {name}: {_written(value)}{comment}")
    if "members" in parameters:
        console.print_text(MEMBERS_EXAMPLE)


def _print_prose(text: str, first: str = "", indent: int = 0) -> None:
    """Print a paragraph that fits the terminal, everywhere: nobody searches it line by line."""
    width = min(MAX_WIDTH, max(MIN_WIDTH, shutil.get_terminal_size().columns))
    wrapped = textwrap.fill(
        text, width, initial_indent=first, subsequent_indent=" " * indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    console.print_text(wrapped)


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(schema["enum"])
    return ", ".join(text.format(schema[key]) for key, text in BOUNDS.items() if key in schema)


def _written(value: object) -> str:
    """Return a value as a line of YAML has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0")
    return json.dumps(value)
