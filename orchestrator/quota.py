"""Whether Kueue can ever admit what was rendered: its pods held against the quota of their queue.

In: manifests. Out: what the pods ask for, in words, where no choice of flavors has it. Used by
`cli.deploy`, before it prints them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

Manifest = Mapping[str, Any]
Amounts = Mapping[str, float]

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
UNITS = {
    "": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20,
    "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
ROUNDED = 1e-6
"""What sums of thousandths of a CPU may be off by."""


def over_quota(manifests: Sequence[Manifest]) -> str | None:
    """What a queued RayJob asks for, where its ClusterQueue will never have it.

    None where it fits, where nothing is queued, and where quota may come from other queues or is
    divided otherwise than in our overlay. All pods of a group get the same flavor.
    """
    queues = [each["spec"] for each in manifests if each["kind"] == "ClusterQueue"]
    jobs = [
        each["spec"]
        for each in manifests
        if each["kind"] == "RayJob" and QUEUE_LABEL in each["metadata"].get("labels", {})
    ]
    if len(queues) != 1 or len(jobs) != 1 or "cohortName" in queues[0]:
        return None
    groups = queues[0]["resourceGroups"]
    if len(groups) != 1:
        return None
    flavors = [
        {each["name"]: quantity(each["nominalQuota"]) for each in flavor["resources"]}
        for flavor in groups[0]["flavors"]
    ]
    asked = [*_pod_sets(jobs[0])]
    choices = product(range(len(flavors)), repeat=len(asked))
    if any(_fit(asked, choice, flavors) for choice in choices):
        return None
    cpus, memory, gpus = (
        sum(amounts.get(name, 0) for amounts in asked)
        for name in ("cpu", "memory", "nvidia.com/gpu")
    )
    return f"{cpus:g} CPUs, {memory / UNITS['Gi']:g} GiB and {gpus:g} GPUs"


def quantity(text: str | int) -> float:
    """A Kubernetes quantity as a number."""
    digits = str(text).rstrip("mkMGTKi")
    return float(digits) * UNITS[str(text).removeprefix(digits)]


def _pod_sets(job: Manifest) -> Iterator[Amounts]:
    """What each group of pods asks for: the head, the workers, who submits."""
    ray = job["rayClusterSpec"]
    yield _requests(ray["headGroupSpec"]["template"], 1)
    for group in ray["workerGroupSpecs"]:
        yield _requests(group["template"], group["replicas"])
    yield _requests(job["submitterPodTemplate"], 1)


def _requests(template: Manifest, copies: int) -> Amounts:
    total: dict[str, float] = {}
    for container in template["spec"]["containers"]:
        for name, amount in container["resources"]["requests"].items():
            total[name] = total.get(name, 0) + copies * quantity(amount)
    return total


def _fit(asked: Sequence[Amounts], choice: Sequence[int], flavors: Sequence[Amounts]) -> bool:
    """Whether all groups fit, each in the flavor that is chosen for it."""
    left = [dict(flavor) for flavor in flavors]
    for amounts, chosen in zip(asked, choice, strict=True):
        for name, amount in amounts.items():
            left[chosen][name] = left[chosen].get(name, 0) - amount
    return all(amount >= -ROUNDED for flavor in left for amount in flavor.values())
