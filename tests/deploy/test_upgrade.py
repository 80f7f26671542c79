"""What docs/operations.md says of Kubernetes: the Job for MLflow's database, and names."""

import re
from typing import Any

import kubernetes_validate
import yaml

from orchestrator.deployment import IMAGE
from orchestrator.kustomize import DEPLOY
from tests.deploy.manifests import Pod, manifests, one, pods
from tests.deploy.test_network import permits
from tests.deploy.test_references import documented_secrets
from tests.deploy.test_schemas import KUBERNETES
from tests.deploy.test_security import ACCOUNT, restricted

PAGE = (DEPLOY.parent / "docs" / "operations.md").read_text()
PART = PAGE.partition("## On Kubernetes")[2].partition("\n## ")[0]
OVERLAY = "gitops"


def upgrade() -> tuple[dict[str, Any], Pod]:
    """The page's Job, and its pod."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PART, re.DOTALL)
    job = yaml.safe_load(text)
    (pod,) = pods([job])
    return job, pod


def test_the_job_is_valid_and_as_restricted_as_its_namespace_wants() -> None:
    job, pod = upgrade()
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    assert job["metadata"]["namespace"] == one(manifests(OVERLAY), "Namespace")["metadata"]["name"]
    assert pod.spec["securityContext"]["runAsNonRoot"] is True
    assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod.containers
    assert restricted(container)
    assert container["image"].partition(":")[0] == IMAGE
    assert pod.spec["serviceAccountName"] == ACCOUNT


def test_the_job_reaches_mlflows_own_database_as_mlflow_does() -> None:
    _, pod = upgrade()
    found = {each.part: each for each in pods(manifests(OVERLAY))}
    for direction, one_end, other in (
        ("Egress", pod, found["database"]),
        ("Ingress", found["database"], pod),
    ):
        assert permits(OVERLAY, direction, one_end, other, 5432)
    (container,), (server,) = pod.containers, found["tracking"].containers
    assert f"--backend-store-uri={container['command'][-1]}" in server["args"]
    for secret, key in pod.secrets:
        assert key in documented_secrets()[secret]
    passwords = [
        {each["name"]: each for each in c["env"]}["PGPASSWORD"] for c in (container, server)
    ]
    assert passwords[0] == passwords[1]
    for service in (each for each in manifests(OVERLAY) if each["kind"] == "Service"):
        assert not service["spec"]["selector"].items() <= pod.labels.items()


def test_names_are_those_of_the_manifests() -> None:
    made = {(each["kind"], each["metadata"]["name"]) for each in manifests("local")}
    database = one(manifests("local"), "StatefulSet")
    (claim,) = database["spec"]["volumeClaimTemplates"]
    name = database["metadata"]["name"]
    assert f"`{claim['metadata']['name']}-{name}-0`" in PART
    assert set(re.findall(r" exec (?:--stdin )?(\S+)", PART)) == {f"{name}-0"}
    for volume in ("artifacts", "scores", "mlflow-artifacts"):
        assert f"`{volume}`" in PART
        assert ("PersistentVolumeClaim", volume) in made
    assert ("Deployment", "mlflow") in made
    assert ("RayCluster", "game") in made
