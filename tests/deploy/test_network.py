"""Who may talk to whom, worked out from the NetworkPolicies as a cluster would."""

from typing import Any

import pytest

from tests.deploy.manifests import PART, STANDING, Pod, game, pods

PORTS = {"database": 5432, "tracking": 5000, "head": 8265}
# Everything that may talk to a server of another part, and nothing else may.
ALLOWED = {
    ("head", "database"), ("head", "tracking"), ("scoring", "database"), ("scoring", "tracking"),
    ("tracking", "database"), ("worker", "head"), ("submitter", "head"), ("head", "head"),
}  # fmt: skip


def policies(overlay: str) -> list[dict[str, Any]]:
    return [each["spec"] for each in game(overlay) if each["kind"] == "NetworkPolicy"]


def head_policy(overlay: str) -> dict[str, Any]:
    """What concerns the head alone."""
    (found,) = (e for e in policies(overlay) if e["podSelector"] == {"matchLabels": {PART: "head"}})
    return found


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return True


def permits(overlay: str, direction: str, pod: Pod, other: Pod, port: int) -> bool:
    """Whether a pod's policies of a direction let it talk to another pod of its namespace."""
    side = "from" if direction == "Ingress" else "to"
    found = [
        each
        for each in policies(overlay)
        if direction in each["policyTypes"] and selects(each["podSelector"], pod.labels)
    ]
    assert found, f"{pod.where} is not denied anything"
    for rule in (rule for each in found for rule in each.get(direction.lower(), ())):
        ports = [each["port"] for each in rule.get("ports", ())]
        peers = rule.get(side)
        fits = peers is None or any(
            "namespaceSelector" not in peer and selects(peer["podSelector"], other.labels)
            for peer in peers
        )
        if fits and (not ports or port in ports):
            return True
    return False


@pytest.mark.parametrize("overlay", STANDING)
def test_parts_reach_what_they_need_and_nothing_else(overlay: str) -> None:
    found = pods(game(overlay))
    reached = set()
    for client in found:
        for server in (pod for pod in found if pod.part in PORTS):
            port = PORTS[server.part]
            out = permits(overlay, "Egress", client, server, port)
            if out and permits(overlay, "Ingress", server, client, port):
                reached.add((client.part, server.part))
    possible = {pair for pair in ALLOWED if {*pair} <= {pod.part for pod in found}}
    assert reached == possible


@pytest.mark.parametrize("overlay", STANDING)
def test_rays_nodes_reach_each_other_on_any_port(overlay: str) -> None:
    nodes = [pod for pod in pods(game(overlay)) if pod.part in ("head", "worker")]
    for client in nodes:
        for server in nodes:
            assert permits(overlay, "Egress", client, server, 31234)
            assert permits(overlay, "Ingress", server, client, 31234)


@pytest.mark.parametrize("name", ["kuberay-operator", "kuberay"])  # by Helm, by kustomize
@pytest.mark.parametrize("overlay", STANDING)
def test_the_operator_reaches_the_heads_dashboard_from_its_own_namespace(
    overlay: str, name: str
) -> None:
    operator = {"app.kubernetes.io/name": name, PART: "kuberay-operator"}
    assert any(
        "namespaceSelector" in peer and selects(peer["podSelector"], operator)
        for rule in head_policy(overlay)["ingress"]
        for peer in rule["from"]
    )


@pytest.mark.parametrize("overlay", STANDING)
def test_the_autoscaler_reaches_the_api_server_of_common_distributions(overlay: str) -> None:
    """Behind the Service's 443; k3s and kind, minikube, MicroK8s."""
    (rule,) = head_policy(overlay)["egress"]
    assert {each["port"] for each in rule["ports"]} == {443, 6443, 8443, 16443}


@pytest.mark.parametrize("overlay", STANDING)
def test_all_is_denied_at_first_and_all_may_ask_for_names(overlay: str) -> None:
    everyone = [each for each in policies(overlay) if each["podSelector"] == {}]
    deny, dns = sorted(everyone, key=len)
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert {each["port"] for rule in dns["egress"] for each in rule["ports"]} == {53}


@pytest.mark.parametrize("overlay", ["gitops"])
def test_policies_name_ports_that_are_open(overlay: str) -> None:
    found = pods(game(overlay))
    for part, port in PORTS.items():
        (pod,) = (each for each in found if each.part == part)
        opened = [each["containerPort"] for c in pod.containers for each in c.get("ports", ())]
        assert port in opened
    for each in policies(overlay):
        assert any(selects(each["podSelector"], pod.labels) for pod in found)
