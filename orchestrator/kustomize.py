"""Manifests built by kustomize, from the deploy folder of this checkout.

In: the name of an overlay and what shall differ from it. Out: the manifests, as text and as values.
Kustomizations are written to a temporary folder, each in front of the other, with the overlay
behind the first, and `kubectl kustomize` (or `kustomize build`) builds the last. Next on the path:
whoever pipes them into `kubectl apply -f -`.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import orchestrator
from orchestrator.deployment import LOADOUTS, Kustomization, RenderOptions, kustomizations
from orchestrator.errors import DeployError, NotFound

DEPLOY = Path(orchestrator.__file__).parent.parent / "deploy"
NEEDED = "kubectl 1.27 or newer, or kustomize 5"
HEAD = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


@dataclass(frozen=True)
class Built:
    """Manifests as kustomize printed them, and the same as values."""

    text: str
    manifests: tuple[dict[str, Any], ...]


def overlays(deploy: Path = DEPLOY) -> dict[str, Path]:
    """The folders of all overlays by name; raises `NotFound` where there is no deploy folder."""
    folder = deploy / "overlays"
    if not folder.is_dir():
        raise NotFound(f"there is no {folder}; manifests are rendered in a checkout of the project")
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/kustomization.yaml"))}


def render(options: RenderOptions, files: Mapping[str, bytes], deploy: Path = DEPLOY) -> Built:
    """Build an overlay with what is after; `files` are those of the cohort, by name.

    Raises `NotFound` for an unknown overlay, `Refused` for an option that it has no place for, and
    `DeployError` where kustomize is missing or fails.
    """
    found = overlays(deploy)
    if options.overlay not in found:
        raise NotFound(f"no overlay {options.overlay!r}; there are: {', '.join(found)}")
    stands = build(found[options.overlay])
    if options == RenderOptions(options.overlay):
        return stands
    layers = kustomizations(options, stands.manifests)
    # Kustomize compares real paths.
    with tempfile.TemporaryDirectory(prefix="gamectl-render-") as folder:
        root = Path(folder).resolve()
        behind = found[options.overlay].resolve()
        for number, layer in enumerate(layers):
            here = root / str(number)
            here.mkdir()
            _write(here, layer, behind, deploy.resolve())
            if "configMapGenerator" in layer:
                (here / LOADOUTS).mkdir()  # beside ours, a file may be called as ours is
                for name, content in files.items():
                    (here / LOADOUTS / name).write_bytes(content)
            behind = here
        return build(behind)


def build(folder: Path) -> Built:
    """Build one kustomization; raises `DeployError` where that can't be."""
    done = subprocess.run(  # noqa: S603  # a program of the PATH, and a folder
        [*_command(), str(folder)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    if done.returncode != 0:
        raise DeployError(f"{done.stderr.strip()} (needed is {NEEDED})")
    manifests = yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)
    return Built(done.stdout, tuple(manifests))


def _command() -> list[str]:
    for program, *words in (("kubectl", "kustomize"), ("kustomize", "build")):
        path = shutil.which(program)
        if path is not None:
            return [path, *words]
    raise DeployError(f"there is neither kubectl nor kustomize on the PATH; install {NEEDED}")


def _write(here: Path, layer: Kustomization, behind: Path, deploy: Path) -> None:
    """Write a kustomization; what it refers to must be relative to it.

    As JSON, which is YAML: where PyYAML leaves out quotes, kustomize may read 1e3 as a number.
    """
    components = [os.path.relpath(deploy / each, here) for each in layer.get("components", ())]
    whole = {**HEAD, **layer, "resources": [os.path.relpath(behind, here)]}
    if components:
        whole["components"] = components
    (here / "kustomization.yaml").write_text(json.dumps(whole))
