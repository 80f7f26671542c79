"""`gamectl schema`: the JSON Schema of a file format, for editors and other programs.

In: the name of a format; out: JSON Schema (draft 2020-12). `loadouts/schema/` holds the output, so
that the comment at the top of a loadout can point an editor at it.
"""

import click

from orchestrator import console
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.manifest import Model

FORMATS: dict[str, type[Model]] = {"loadout": Loadout, "cohort": Cohort}


@click.command(
    "schema",
    epilog="""\b
    Example:
      gamectl schema loadout > loadouts/schema/loadout.json""",
)
@click.argument("name", metavar="loadout|cohort", type=click.Choice(list(FORMATS)))
def command(name: str) -> None:
    """Print the JSON Schema (draft 2020-12) of a file format."""
    console.print_json(FORMATS[name].json_schema())
