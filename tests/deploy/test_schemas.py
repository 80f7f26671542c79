"""Every document is one that the API server takes: no field that its kind does not know."""

import copy

import kubernetes_validate
import pytest

from tests.deploy.crds import is_custom, wrongs
from tests.deploy.manifests import CLUSTER_SCOPED, OVERLAYS, manifests, one, pods

KUBERNETES = "1.32"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_core_kinds_are_valid(overlay: str) -> None:
    core = [each for each in manifests(overlay) if not is_custom(each)]
    assert core
    for document in core:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "score"])
def test_custom_resources_are_what_their_definitions_say(overlay: str) -> None:
    custom = [each for each in manifests(overlay) if is_custom(each)]
    assert custom
    assert [wrong for document in custom for wrong in wrongs(document)] == []


def test_what_no_definition_knows_is_found() -> None:
    """Else the test above would prove nothing."""
    cluster = copy.deepcopy(one(manifests("gpu"), "RayCluster"))
    assert wrongs(cluster) == []
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    cluster["spec"]["workerGroupSpecs"][0]["maxReplicas"] = "many"
    del cluster["spec"]["workerGroupSpecs"][1]["template"]["spec"]["containers"]
    found = "\n".join(wrongs(cluster))
    assert "'imagePolicy' was unexpected" in found
    assert "'many' is not of type 'integer'" in found
    assert "'containers' is a required property" in found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_of_custom_resources_are_valid_pods(overlay: str) -> None:
    """The definitions know a pod's fields, but not all of their rules."""
    for pod in pods(manifests(overlay)):
        whole = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(pod.template)}
        whole["metadata"]["name"] = "pod"
        kubernetes_validate.validate(whole, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_are_taken_once_and_all_is_in_one_namespace(overlay: str) -> None:
    documents = manifests(overlay)
    keys = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in documents]
    assert len(keys) == len(set(keys))
    for document in documents:
        scoped = document["kind"] in CLUSTER_SCOPED
        assert document["metadata"].get("namespace") == (None if scoped else "classification-game")
        assert document["metadata"]["name"].islower()
