"""Rendered manifests as values, and the pods that will come of them.

In: the name of an overlay. Out: its documents, and every pod template in them, those of Ray's kinds
included. Used by all tests of the manifests.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from orchestrator.kustomize import DEPLOY, NEEDED, build, overlays

OVERLAYS = tuple(overlays())
STANDING = tuple(name for name in OVERLAYS if name != "score")
"""Overlays that stand by themselves; `score` is applied into one of them."""
PART = "app.kubernetes.io/component"
CLUSTER_SCOPED = ("Namespace", "ClusterQueue", "ResourceFlavor", "WorkloadPriorityClass")

Manifest = dict[str, Any]


@cache
def _built(overlay: str) -> tuple[Manifest, ...]:
    return build(DEPLOY / "overlays" / overlay).manifests


def manifests(overlay: str) -> tuple[Manifest, ...]:
    """An overlay's documents; skips the test where kustomize is missing."""
    reason = reason_why_not()
    if reason is not None:
        pytest.skip(reason)
    return _built(overlay)


@cache
def reason_why_not() -> str | None:
    """Why nothing can be built here, or None where it can."""
    if shutil.which("kubectl") is None and shutil.which("kustomize") is None:
        return f"there is neither kubectl nor kustomize on the PATH; needed is {NEEDED}"
    return None


def game(overlay: str) -> tuple[Manifest, ...]:
    """An overlay and the scoring that is applied into it."""
    return manifests(overlay) + manifests("score")


def one(documents: Iterable[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The only document of a kind (and name)."""
    (found,) = (
        each
        for each in documents
        if each["kind"] == kind and name in (None, each["metadata"]["name"])
    )
    return found


@dataclass(frozen=True)
class Pod:
    """A pod that a document leads to."""

    where: str
    owner: str
    template: Manifest

    @property
    def spec(self) -> Manifest:
        """What the pod runs."""
        spec: Manifest = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, as far as the manifests give it any."""
        labels: dict[str, str] = self.template["metadata"]["labels"]
        return labels

    @property
    def part(self) -> str:
        """Which part of the game it is."""
        return self.labels[PART]

    @property
    def containers(self) -> list[Manifest]:
        """All of its containers, those that run first and end included."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    @property
    def claims(self) -> set[str]:
        """The PersistentVolumeClaims that it mounts."""
        volumes = self.spec.get("volumes", ())
        return {
            v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v
        }

    @property
    def secrets(self) -> set[tuple[str, str]]:
        """The Secrets that it is given, each with the key."""
        return set(_secrets(self.spec))


def _secrets(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for each in value:
            yield from _secrets(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key == "secretKeyRef":
                yield each["name"], each["key"]
            elif key in ("secretRef", "secret", "imagePullSecrets"):
                yield str(each), "*"
            else:
                yield from _secrets(each)


def ray_spec(document: Manifest) -> Manifest | None:
    """The Ray cluster of a RayCluster or a RayJob."""
    spec: Manifest = document["spec"] if document["kind"].startswith("Ray") else {}
    return spec.get("rayClusterSpec", spec) or None


def pods(documents: Iterable[Manifest]) -> list[Pod]:
    """Every pod template in these documents."""
    return [pod for document in documents for pod in _pods_of(document)]


def _pods_of(document: Manifest) -> Iterator[Pod]:
    kind, name = document["kind"], document["metadata"]["name"]
    if kind in ("Deployment", "StatefulSet", "Job"):
        yield Pod(f"{kind} {name}", kind, document["spec"]["template"])
    if kind == "Pod":
        yield Pod(f"{kind} {name}", kind, document)
    ray = ray_spec(document) if kind in ("RayCluster", "RayJob") else None
    if ray is not None:
        yield Pod(f"{kind} {name}: head", kind, ray["headGroupSpec"]["template"])
        for group in ray["workerGroupSpecs"]:
            yield Pod(f"{kind} {name}: {group['groupName']}", kind, group["template"])
    if kind == "RayJob":
        yield Pod(
            f"{kind} {name}: submitter", "Submitter", document["spec"]["submitterPodTemplate"]
        )


def quantity(text: str | int) -> float:
    """A Kubernetes quantity as a number."""
    units = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9}
    text = str(text)
    for unit in sorted(units, key=len, reverse=True):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * units[unit]
    return float(text)
