"""A loadout's file with some of its values changed: the text that a person would have written.

In: a `LoadoutFile` and its values, changed. Out: the same file with that loadout and that text, as
the store keeps it. Used by `balance` (other seeds), `ablation` (items left out) and `search`
(other settings).
"""

from dataclasses import replace
from typing import Any

import yaml

from orchestrator.admission.files import LoadoutFile
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.yaml_nodes import parse
from orchestrator.admission.yaml_places import Loc


def values_of(file: LoadoutFile) -> dict[str, Any]:
    """The values of a loadout's file, to be changed at will; `spec` is among them."""
    root: Any = parse(file.text).root
    root.setdefault("spec", {})
    assert isinstance(root, dict), "a loadout was read from it"
    return root


def renamed(file: LoadoutFile, root: dict[str, Any], team: str) -> LoadoutFile:
    """The file with these values, as another team's. Raises what `Loadout.from_file` does."""
    root["metadata"]["team"] = team
    loadout = Loadout.from_file(root)
    code = file.loadout.code if file.loadout is not None else None
    if code is not None:  # its file was read with the loadout, and is not read again
        loadout = loadout.with_code(code)
    return replace(file, team=team, loadout=loadout, text=yaml_text(root))


def take_out(root: dict[str, Any], loc: Loc) -> None:
    """Takes out the value at a path."""
    holder: Any = root
    for part in loc[:-1]:
        holder = holder[part]
    del holder[loc[-1]]


def yaml_text(value: object) -> str:
    """The value as YAML 1.2, its keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """Writes YAML 1.2: PyYAML alone would leave text such as 1e5 without its quotes."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if parse(text).root == text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text_node)
