"""Who runs as whom, and who is given what: the restricted Pod Security Standard and more."""

from typing import Any

import pytest

from tests.deploy.manifests import (
    OVERLAYS,
    STANDING,
    Pod,
    game,
    manifests,
    one,
    pods,
    quantity,
    ray_spec,
)

STORE_AND_TRACKING = {"postgres-passwords", "mlflow-admin"}
ACCOUNT, HEADS_ACCOUNT = "game", "game-head"
VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret", "downwardAPI"}


def all_pods(overlay: str) -> list[Pod]:
    found = pods(manifests(overlay))
    assert found
    return found


def restricted(container: dict[str, Any]) -> bool:
    context = container["securityContext"]
    return (
        context["allowPrivilegeEscalation"] is False
        and context["capabilities"] == {"drop": ["ALL"]}
        and context["readOnlyRootFilesystem"] is True
        and not context.get("privileged")
    )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    for pod in all_pods(overlay):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod.where
        assert context["runAsUser"] > 0, pod.where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod.where
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(pod.spec), pod.where
        for container in pod.containers:
            assert restricted(container), (pod.where, container["name"])
            assert "runAsUser" not in container["securityContext"]
            assert not any("hostPort" in port for port in container.get("ports", ()))
        for volume in pod.spec.get("volumes", ()):
            assert set(volume) - {"name"} <= VOLUMES, (pod.where, volume)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_namespace_enforces_that(overlay: str) -> None:
    if overlay != "score":
        labels = one(manifests(overlay), "Namespace")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_a_head_that_scales_talks_to_the_api_server(overlay: str) -> None:
    for document in manifests(overlay):
        ray = ray_spec(document) if document["kind"] in ("RayCluster", "RayJob") else None
        scales = ray is not None and ray["enableInTreeAutoscaling"]
        if scales:
            # The container that KubeRay adds.
            assert restricted(ray["autoscalerOptions"])
        for pod in pods([document]):
            account = HEADS_ACCOUNT if pod.part == "head" else ACCOUNT
            assert pod.spec["serviceAccountName"] == account, pod.where
            if not (scales and pod.part == "head"):
                assert pod.spec["automountServiceAccountToken"] is False, pod.where
            else:
                assert pod.spec.get("automountServiceAccountToken", True) is True, pod.where


@pytest.mark.parametrize("overlay", STANDING)
def test_the_heads_account_has_a_token_and_is_nobody_elses(overlay: str) -> None:
    """KubeRay gives the autoscaler's rights to the account that the head names, and takes one that
    is called like the cluster where it names none."""
    accounts = {
        each["metadata"]["name"]: each.get("automountServiceAccountToken", True)
        for each in manifests(overlay)
        if each["kind"] == "ServiceAccount"
    }
    assert accounts == {ACCOUNT: False, HEADS_ACCOUNT: True}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workers_hold_no_secret_and_no_photos(overlay: str) -> None:
    """They run what teams bring; Ray's own token is KubeRay's."""
    for pod in all_pods(overlay):
        if pod.part in ("worker", "submitter"):
            assert pod.secrets == set(), pod.where
            assert pod.claims <= {"artifacts"}, pod.where
            assert not any("GAME_STORE" in str(each) for each in pod.containers)
            sources = [s for c in pod.containers for s in c.get("envFrom", ())]
            assert all(s["configMapRef"]["name"].startswith("game-paths") for s in sources)


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "score"])
def test_no_slot_lands_beside_the_heads_secrets(overlay: str) -> None:
    (head,) = (pod for pod in all_pods(overlay) if pod.part == "head")
    assert {name for name, _ in head.secrets} == STORE_AND_TRACKING
    (ray,) = filter(None, map(ray_spec, filter(_is_ray, manifests(overlay))))
    assert ray["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert ray["authOptions"] == {"mode": "token"}


def _is_ray(document: dict[str, Any]) -> bool:
    return document["kind"] in ("RayCluster", "RayJob")


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "score"])
def test_only_scoring_sees_the_test_set_and_the_scores(overlay: str) -> None:
    hidden = {"test-set", "scores"}
    seeing = {pod.where for pod in pods(game(overlay)) if pod.claims & hidden}
    assert seeing == {"Job score"}
    assert hidden <= {each["metadata"]["name"] for each in manifests(overlay)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_photos_are_read_only_and_images_are_pinned(overlay: str) -> None:
    for pod in all_pods(overlay):
        for container in pod.containers:
            name, _, tag = container["image"].rpartition(":")
            assert name, container["image"]
            assert tag[0].isdigit(), container["image"]
            for mount in container.get("volumeMounts", ()):
                if mount["name"] in ("photos", "test-set"):
                    assert mount["readOnly"] is True, pod.where


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_says_what_it_needs(overlay: str) -> None:
    for pod in all_pods(overlay):
        for container in pod.containers:
            requests, limits = (container["resources"][key] for key in ("requests", "limits"))
            where = pod.where, container["name"]
            # Memory that a node has promised to somebody else ends in a kill.
            assert requests["memory"] == limits["memory"], where
            assert quantity(requests["cpu"]) <= quantity(limits["cpu"]), where
            assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu"), where
            mounted = {each["name"] for each in container.get("volumeMounts", ())}
            for volume in pod.spec["volumes"]:
                # What lies in memory counts as the container's.
                if volume["name"] in mounted and "medium" in volume.get("emptyDir", {}):
                    size = quantity(volume["emptyDir"]["sizeLimit"])
                    assert size <= quantity(limits["memory"]) / 2, where


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_stays_up_is_probed(overlay: str) -> None:
    for pod in all_pods(overlay):
        if pod.owner in ("Job", "Submitter"):
            continue
        for container in pod.spec["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                port = container[probe].get("httpGet", {}).get("port")
                names = {each["name"] for each in container.get("ports", ())}
                assert port is None or port in names, (pod.where, probe)


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "score"])
def test_rays_object_store_fits_its_shared_memory(overlay: str) -> None:
    (ray,) = filter(None, map(ray_spec, filter(_is_ray, manifests(overlay))))
    for group in (ray["headGroupSpec"], *ray["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        (shm,) = (v["emptyDir"] for v in spec["volumes"] if v["name"] == "shm")
        assert float(group["rayStartParams"]["object-store-memory"]) < quantity(shm["sizeLimit"])
        (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "shm")
        assert mount["mountPath"] == "/dev/shm"  # noqa: S108  # in the container


@pytest.mark.parametrize("overlay", [name for name in OVERLAYS if name != "score"])
def test_a_nodes_memory_is_counted_once(overlay: str) -> None:
    """Without `memory` KubeRay tells Ray the whole limit, and the object store comes on top."""
    (ray,) = filter(None, map(ray_spec, filter(_is_ray, manifests(overlay))))
    for group in (ray["headGroupSpec"], *ray["workerGroupSpecs"]):
        params = group["rayStartParams"]
        (container,) = group["template"]["spec"]["containers"]
        counted = int(params["memory"]) + int(params["object-store-memory"])
        assert counted == quantity(container["resources"]["limits"]["memory"])
