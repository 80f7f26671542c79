"""Every name that a manifest mentions is the name of something."""

import re
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from orchestrator.deployment import IMAGE, LOADOUTS, PHOTOS_FOLDER
from orchestrator.kustomize import DEPLOY
from tests.deploy.manifests import OVERLAYS, STANDING, Pod, game, manifests, one, pods

QUEUE = "kueue.x-k8s.io/queue-name"
URGENCY = "kueue.x-k8s.io/priority-class"


def names(documents: tuple[dict[str, Any], ...], kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in documents if each["kind"] == kind}


def documented_secrets() -> dict[str, set[str]]:
    """What the page's `kubectl create secret` lines make: names, and the keys of each."""
    text = (DEPLOY / "README.md").read_text().replace("\\\n", " ")
    made = re.findall(r"create secret generic (\S+)(.*)", text)
    return {name: set(re.findall(r"--from-literal=([\w-]+)=", rest)) for name, rest in made}


def config_maps(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.get("volumes", ()):
        if "configMap" in volume:
            yield volume["configMap"]["name"]
    for container in pod.containers:
        yield from (each["configMapRef"]["name"] for each in container.get("envFrom", ()))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_those_that_the_page_makes(overlay: str) -> None:
    made = documented_secrets()
    needed = {secret for pod in pods(manifests(overlay)) for secret in pod.secrets}
    assert needed
    assert needed <= {(name, key) for name, keys in made.items() for key in keys}
    assert not names(manifests(overlay), "Secret")  # none is in the files, not even an example


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_config_maps_have_the_hash_of_what_is_in_them(overlay: str) -> None:
    made = names(manifests(overlay), "ConfigMap")
    used = {name for pod in pods(manifests(overlay)) for name in config_maps(pod)}
    assert used == made
    assert all(re.search(r"-[a-z0-9]{10}$", name) for name in made)


@pytest.mark.parametrize("overlay", STANDING)
def test_claims_and_accounts_exist_and_are_used(overlay: str) -> None:
    documents = game(overlay)
    claims = {claim for pod in pods(documents) for claim in pod.claims}
    assert claims == names(documents, "PersistentVolumeClaim")
    accounts = {
        p.spec["serviceAccountName"] for p in pods(documents) if "serviceAccountName" in p.spec
    }
    assert accounts == names(documents, "ServiceAccount")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_mounted_is_a_volume_and_the_other_way_round(overlay: str) -> None:
    for pod in pods(manifests(overlay)):
        mounts = [m for c in pod.containers for m in c.get("volumeMounts", ())]
        volumes = {each["name"] for each in pod.spec.get("volumes", ())}
        if pod.owner == "StatefulSet":
            templates = one(manifests(overlay), "StatefulSet")["spec"]["volumeClaimTemplates"]
            volumes |= {each["metadata"]["name"] for each in templates}
        assert {each["name"] for each in mounts} == volumes, pod.where


@pytest.mark.parametrize("overlay", STANDING)
def test_services_lead_to_pods(overlay: str) -> None:
    documents = manifests(overlay)
    for service in (each for each in documents if each["kind"] == "Service"):
        chosen = service["spec"]["selector"].items()
        (pod,) = (p for p in pods(documents) if chosen <= p.labels.items())
        open_ports = {each["name"] for c in pod.containers for each in c.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= open_ports
    for document in documents:
        if document["kind"] in ("Deployment", "StatefulSet"):
            (pod,) = pods([document])
            assert document["spec"]["selector"]["matchLabels"].items() <= pod.labels.items()
    assert one(documents, "StatefulSet")["spec"]["serviceName"] in names(documents, "Service")


@pytest.mark.parametrize("overlay", STANDING)
def test_settings_name_services_folders_and_databases(overlay: str) -> None:
    documents = manifests(overlay)
    data: dict[str, str] = {}
    for each in documents:
        if each["kind"] == "ConfigMap":
            data |= each["data"]
    services = {
        f"{each['metadata']['name']}:{port['port']}"
        for each in documents
        if each["kind"] == "Service"
        for port in each["spec"]["ports"]
    }
    (tracking,) = (pod for pod in pods(documents) if pod.part == "tracking")
    words = "\n".join(tracking.containers[0]["args"])
    urls = [data["GAME_STORE"], data["basic_auth.ini"], words]
    databases = set()
    for text in urls:
        user, host, database = re.findall(
            r"postgresql\+psycopg://([\w-]+)@([\w:]+)/([\w-]+)", text
        )[0]
        assert host in services
        assert f"CREATE ROLE {user} LOGIN" in data["init-databases.sh"]
        databases.add(database)
        assert re.search(
            rf'CREATE DATABASE "?{database}"? OWNER {user};', data["init-databases.sh"]
        )
    assert len(databases) == 3
    assert data["MLFLOW_TRACKING_URI"].removeprefix("http://") in services
    assert data["MLFLOW_TRACKING_URI"].removeprefix("http://") in words  # an allowed host
    assert f"admin_username = {data['MLFLOW_TRACKING_USERNAME']}" in data["basic_auth.ini"]
    for pod in pods(game(overlay)):
        if pod.part in ("head", "worker", "scoring"):
            mounts = {m["mountPath"]: m for m in pod.containers[-1]["volumeMounts"]}
            mounts |= {m["mountPath"]: m for m in pod.containers[0]["volumeMounts"]}
            assert mounts[data["GAME_ARTIFACTS"]]["name"] == "artifacts"
            assert data["GAME_HOME"] in mounts
            assert data["HOME"] in mounts
            read_only = mounts[data["GAME_ARTIFACTS"]].get("readOnly", False)
            assert read_only is (pod.part == "scoring")


@pytest.mark.parametrize("overlay", STANDING)
def test_photos_are_where_gamectl_says(overlay: str) -> None:
    for pod in pods(game(overlay)):
        mounts = {m["name"]: m["mountPath"] for c in pod.containers for m in c["volumeMounts"]}
        if "photos" in mounts:
            assert PurePosixPath(mounts["photos"]) == PurePosixPath(PHOTOS_FOLDER) / "training"
        if "test-set" in mounts:
            assert PurePosixPath(mounts["test-set"]) == PurePosixPath(PHOTOS_FOLDER) / "validation"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_games_pods_run_one_image(overlay: str) -> None:
    images = {c["image"] for pod in pods(manifests(overlay)) for c in pod.containers}
    own = {image for image in images if not image.startswith("postgres:")}
    assert len(own) == 1
    assert own.pop().partition(":")[0] == IMAGE


@pytest.mark.parametrize("overlay", ["gitops", "kueue"])
def test_a_rayjobs_cluster_is_the_standing_one_with_the_cohorts_files(overlay: str) -> None:
    """It is written once."""
    documents = manifests(overlay)
    assert not names(documents, "RayCluster")
    job = one(documents, "RayJob")["spec"]
    assert job["shutdownAfterJobFinishes"] is True
    assert min(job[key] for key in ("activeDeadlineSeconds", "backoffLimit")) > 0
    assert job["entrypoint"].split() == ["gamectl", "submit", "--cluster", "local", f"/{LOADOUTS}"]
    standing = one(manifests("local"), "RayCluster")["spec"]
    head = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    known = standing["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert head["volumeMounts"] == [
        *known["volumeMounts"],
        {"name": LOADOUTS, "mountPath": f"/{LOADOUTS}", "readOnly": True},
    ]
    assert {**head, "volumeMounts": None, "resources": None} == {
        **known, "volumeMounts": None, "resources": None
    }  # fmt: skip


def test_the_kueue_overlay_is_one_that_kueue_admits() -> None:
    documents = manifests("kueue")
    job = one(documents, "RayJob")
    assert "suspend" not in job["spec"]  # Kueue's; applied again it would stop a cohort that runs
    queue = one(documents, "LocalQueue", job["metadata"]["labels"][QUEUE])
    cluster_queue = one(documents, "ClusterQueue", queue["spec"]["clusterQueue"])
    assert job["metadata"]["labels"][URGENCY] in names(documents, "WorkloadPriorityClass")
    chosen = cluster_queue["spec"]["namespaceSelector"]["matchLabels"].items()
    assert chosen <= one(documents, "Namespace")["metadata"]["labels"].items()
    (group,) = cluster_queue["spec"]["resourceGroups"]
    for flavor in group["flavors"]:
        one(documents, "ResourceFlavor", flavor["name"])
        assert [each["name"] for each in flavor["resources"]] == group["coveredResources"]
    # What no flavor covers, or is more than there is, would wait for ever.
    ray = job["spec"]["rayClusterSpec"]
    assert ray["enableInTreeAutoscaling"] is False
    for each in ray["workerGroupSpecs"]:
        assert each["minReplicas"] == each["replicas"] == each["maxReplicas"]
    for pod in pods([job]):
        for container in pod.containers:
            assert set(container["resources"]["requests"]) <= set(group["coveredResources"])


def test_a_cohort_fits_the_quota() -> None:
    from tests.deploy.manifests import quantity

    documents = manifests("kueue")
    job = one(documents, "RayJob")
    (group,) = one(documents, "ClusterQueue")["spec"]["resourceGroups"]
    any_node = {r["name"]: quantity(r["nominalQuota"]) for r in group["flavors"][0]["resources"]}
    copies = {
        g["groupName"]: g["replicas"] for g in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    }
    for resource in ("cpu", "memory"):
        asked = sum(
            quantity(container["resources"]["requests"][resource])
            * copies.get(pod.where.rpartition(": ")[2], 1)
            for pod in pods([job])
            for container in pod.spec["containers"]
        )
        assert 0 < asked <= any_node[resource]


def test_four_slots_share_a_gpu() -> None:
    """What the page and the overlay promise: gpus 0.25 and cpus 1."""
    groups = one(manifests("gpu"), "RayCluster")["spec"]["workerGroupSpecs"]
    (gpu,) = (group for group in groups if group["groupName"] == "gpu")
    (container,) = gpu["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert (limits["nvidia.com/gpu"], limits["cpu"]) == ("1", "4")
    assert gpu["minReplicas"] == 0 < gpu["maxReplicas"]
    local = one(manifests("local"), "RayCluster")["spec"]["workerGroupSpecs"]
    assert [group["groupName"] for group in local] == ["cpu"]


def test_mlflow_knows_every_setting_of_its_users_and_does_not_hash_for_each_request() -> None:
    package = find_spec("mlflow")
    assert package is not None
    assert package.origin is not None
    # By its file: importing the package starts the server's parts.
    code = Path(package.origin).parent / "server" / "auth" / "config.py"
    spec = spec_from_file_location("auth_config", code)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    parser = ConfigParser()
    parser.read(DEPLOY / "base" / "basic_auth.ini")
    settings = dict(parser["mlflow"])
    assert set(settings) <= set(module.AuthConfig._fields)
    assert int(settings["auth_cache_ttl_seconds"]) > 0
