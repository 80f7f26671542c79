"""`gamectl shop`: what can be bought, for how much, and how to write it in a loadout.

In: the catalog, the key of an item, and a cohort's file for its own prices; out: a table, one item
with its parameters, or JSON. Next: a team writes a loadout, and `gamectl validate` checks it.
"""

import json
from pathlib import Path
from typing import Any

import click

from orchestrator import console
from orchestrator.cohort import Cohort
from orchestrator.errors import Refused
from orchestrator.files import read_paths
from orchestrator.purchase import Purchase
from orchestrator.shop import CATALOG, unit_price_bnn, unknown_item

# A member may say any of these, or nothing; an item that it tunes must be bought.
MEMBERS_EXAMPLE = """\
      members:
        - {}                    # as in the spec, with a seed of its own
        - learningRate: 0.05    # or its own batchSize, epochs, seed
          epochs: 10
          items:                # or other parameters of an item that is bought
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


@click.command(
    "shop",
    epilog="""\b
    Example:
      gamectl shop
      gamectl shop whirl-and-swirl
      gamectl shop --cohort-file loadouts/demo/cohort.yaml -o json""",
)
@click.argument("item", required=False)
@click.option(
    "--cohort-file",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Show this cohort's prices, and what it takes off the shelf.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def command(item: str | None, cohort_file: Path | None, output: str) -> None:
    """Show what can be bought and for how much, or one ITEM with its parameters."""
    if item is not None and item not in CATALOG:
        raise click.BadParameter(unknown_item(f"'{console.shortened(item)}'"), param_hint="ITEM")
    cohort = _cohort(cohort_file) if cohort_file else Cohort()
    items = [CATALOG[item]] if item else list(CATALOG.values())
    if output == "json":
        console.print_json({"items": [_as_json(each, cohort) for each in items]})
    elif item:
        _print_item(CATALOG[item], cohort)
    else:
        rows = [(each.key(), _price(each, cohort), each.blurb()) for each in items]
        console.print_table(["ITEM", "B NN", "WHAT IT DOES"], rows, right=["B NN"])
        console.print_note(f"A team has {cohort.spec.budget} B NN. More: gamectl shop ITEM")


def _cohort(path: Path) -> Cohort:
    """Read a cohort's file; raise Refused with what is wrong with it."""
    reading = read_paths([path])
    lines = [
        f"{each.path}:{each.line}:{each.column}  {each.code}  {each.message}"
        for file in reading.files
        for each in file.problems
    ]
    if lines:
        raise Refused("\n".join(["the cohort cannot be used:", *lines]))
    if reading.cohort_path != path:
        raise Refused(f"{path} is no cohort; a file with `kind: Cohort` is wanted")
    return reading.cohort


def _price(item: type[Purchase], cohort: Cohort, unit: str = "") -> str:
    if item.key() in cohort.spec.off_the_shelf:
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
        "price_bnn": unit_price_bnn(item.key(), cohort.spec.prices),
        "sold_by": item.sold_by,
        "on_the_shelf": item.key() not in cohort.spec.off_the_shelf,
        "description": item.blurb(),
        "parameters": _parameters(item),
    }


def _print_item(item: type[Purchase], cohort: Cohort) -> None:
    names = " or ".join([item.title, *item.also_called])
    console.print_line(f"{names}: {_price(item, cohort, unit=' B NN')}")
    console.print_line(item.blurb(), indent=0)
    parameters = _parameters(item)
    if parameters:
        console.print_text("")
        rows = [
            (name, _written(schema.get("default", "required")), _allowed(schema),
             schema["description"])
            for name, schema in parameters.items()
        ]  # fmt: skip
        console.print_table(["PARAMETER", "DEFAULT", "ALLOWED", "WHAT IT IS"], rows)
    console.print_text("\nIn a loadout:\n\n  purchases:\n    - item: " + item.key())
    for name, schema in parameters.items():
        if name == "members":
            console.print_text(MEMBERS_EXAMPLE)
        else:
            console.print_text(f"      {name}: {_written(schema['default'])}")


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
