"""Custom resources held against their definitions, as the API server does with strict fields.

In: a document, and the folder of CustomResourceDefinitions beside the checkout. Out: what is wrong
with it. A definition's OpenAPI schema becomes a JSON Schema in which unknown fields are wrong; its
CEL rules are not run.
"""

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

FOLDERS = [parent / "shared" / "crds" for parent in Path(__file__).resolve().parents[2:4]]
GROUPS = ("ray.io", "kueue.x-k8s.io")


def is_custom(document: dict[str, Any]) -> bool:
    """Whether a document is of a kind that a definition must tell about."""
    return document["apiVersion"].partition("/")[0] in GROUPS


def wrongs(document: dict[str, Any]) -> list[str]:
    """What its definition has against a document; skips the test where there are no definitions."""
    validator = _validators().get((document["apiVersion"], document["kind"]))
    if validator is None:
        pytest.skip("the CustomResourceDefinitions (../shared/crds) are not on this machine")
    return [
        f"{document['kind']}/{document['metadata']['name']} {error.json_path}: {error.message}"
        for error in validator.iter_errors(document)
    ]


@cache
def _validators() -> dict[tuple[str, str], jsonschema.Draft202012Validator]:
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    found = {}
    for file in sorted(folder.glob("*.yaml")) if folder else ():
        spec = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            if version["served"]:
                schema = strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                found[key] = jsonschema.Draft202012Validator(schema)
    return found


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema as a JSON Schema that refuses what the schema does not name."""
    if schema.get("x-kubernetes-int-or-string"):
        kept = {"pattern": schema["pattern"]} if "pattern" in schema else {}
        return {"type": ["integer", "string"], **kept}
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    made.pop("format", None)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = strict(made[key])
    if "properties" in made:
        made["properties"] = {key: strict(value) for key, value in made["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if made.pop("nullable", False):
        return {"anyOf": [made, {"type": "null"}]}
    return made
