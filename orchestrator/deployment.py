"""What a cohort changes in the manifests of an overlay: decided here, with no file read or written.

In: an overlay's manifests as they stand, and what the organizer wants otherwise: image, namespace,
sizes, a cohort. Out: kustomizations, one in front of the other, that make the overlay so. Next on
the path: `kustomize`, which writes them next to each other and has them built.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Refused

LOADOUTS = "loadouts"
"""The ConfigMap of a cohort's files, and the folder that they are in on the head."""
PHOTOS_FOLDER = "/data/photos"
"""Where the manifests mount training photos, and for scoring the test set."""
IMAGE = "classification-game"
SHARED = "ReadWriteMany"
COHORT_COMPONENT = "components/cohort"
# What KubeRay and Kubernetes allow, less what stands before a cohort's name.
MAX_NAME_CHARS = {"RayJob": 47 - len("cohort-"), "Job": 63 - len("score-")}
CLUSTER_SCOPED = frozenset({"ClusterQueue", "ResourceFlavor", "WorkloadPriorityClass"})

Manifest = Mapping[str, Any]
Kustomization = dict[str, Any]
Patch = list[dict[str, Any]]


@dataclass(frozen=True)
class Image:
    """A container image by name, and a tag or a digest."""

    name: str
    tag: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class CohortFiles:
    """A cohort that was admitted: its name, its files by name, and whose images it trains on."""

    name: str
    files: tuple[str, ...]
    uses_mounted_photos: bool

    @property
    def data_words(self) -> list[str]:
        """The words that point `submit` and `score` at the photos that the manifests mount."""
        return ["--data", PHOTOS_FOLDER] if self.uses_mounted_photos else []


@dataclass(frozen=True)
class RenderOptions:
    """What shall differ from the overlay as it stands; None for what shall not."""

    overlay: str
    image: Image | None = None
    namespace: str | None = None
    workers: int | None = None
    gpu_workers: int | None = None
    cohort: CohortFiles | None = None
    publish: bool = False
    """Whether the scores go to MLflow."""
    storage_class: str | None = None
    """Of the volumes that several nodes write."""
    priority_class: str | None = None
    """Kueue's, of the RayJob."""
    deadline_hours: int | None = None
    """After so many the RayJob is ended."""


def kustomizations(options: RenderOptions, stands: Sequence[Manifest]) -> tuple[Kustomization, ...]:
    """The kustomizations that make of an overlay what is after; the last one is to be built.

    Each takes the one before it as its only resource, and the first the overlay; whoever writes
    them fills in these paths. A path under `components` is relative to the deploy folder, and a
    cohort's files lie in a folder `loadouts` beside the kustomization that names them. Raises
    `Refused` for an option that the overlay has no place for.
    """
    _refuse_misfits(options, stands)
    cluster = _cluster(stands)
    inner: Kustomization = {
        "patches": [*_size_patches(options, cluster), *_storage_patches(options, stands)]
    }
    outer: Kustomization = {"patches": []}
    if options.cohort is not None:
        _add_cohort(options.cohort, stands, outer)
    if options.publish:
        path = "/spec/template/spec/initContainers/0/args/-"
        word: Patch = [{"op": "add", "path": path, "value": "--publish"}]
        outer["patches"].append(_patch({"kind": "Job"}, word))
    outer["patches"] += _job_patches(options)
    if options.image is not None:
        outer["images"] = [_image_transformer(options.image)]
    namespace = options.namespace
    if namespace is None and "components" in outer:
        # What a component adds has none; names lead to nothing from another namespace.
        namespace = _namespace(stands)
    if namespace is None:
        return inner, outer
    outer["namespace"] = namespace
    # Kustomize takes kinds that it does not know for namespaced.
    unscoped = sorted({each["kind"] for each in stands} & CLUSTER_SCOPED)
    remove: Patch = [{"op": "remove", "path": "/metadata/namespace"}]
    return inner, outer, {"patches": [_patch({"kind": kind}, remove) for kind in unscoped]}


def _refuse_misfits(options: RenderOptions, stands: Sequence[Manifest]) -> None:
    kinds = {each["kind"] for each in stands}
    cohort = options.cohort
    if cohort is not None:
        kind = "Job" if "Job" in kinds else "RayJob"
        if len(cohort.name) > MAX_NAME_CHARS[kind]:
            raise Refused(
                f"cohort {cohort.name!r} has {len(cohort.name)} characters; the name of a {kind} "
                f"leaves room for {MAX_NAME_CHARS[kind]}: shorten metadata.name"
            )
    if options.publish and "Job" not in kinds:
        raise Refused(
            f"overlay {options.overlay!r} has no Job that scores; --publish is for 'score'"
        )
    if options.deadline_hours is not None and not _has_ray_job(options, kinds):
        raise Refused(
            f"overlay {options.overlay!r} has no RayJob that a deadline could end; "
            "--deadline-hours is for one with --cohort"
        )
    if options.storage_class is not None and not _shared_volumes(stands):
        raise Refused(
            f"overlay {options.overlay!r} has no volume that several nodes write; --storage-class "
            "is for those"
        )
    classes = [e["metadata"]["name"] for e in stands if e["kind"] == "WorkloadPriorityClass"]
    if options.priority_class not in (None, *classes):
        has = f"the priority classes {', '.join(classes)}" if classes else "no priority classes"
        raise Refused(f"overlay {options.overlay!r} has {has}; --priority-class names one of them")
    groups = [group["groupName"] for group in _groups(_cluster(stands))]
    sizes = {"cpu": options.workers, "gpu": options.gpu_workers}
    for group, wanted in sizes.items():
        if wanted is not None and group not in groups:
            has = f"worker groups: {', '.join(groups)}" if groups else "no Ray cluster"
            option = "--workers" if group == "cpu" else "--gpu-workers"
            raise Refused(
                f"overlay {options.overlay!r} has {has}; {option} is for one with a group {group!r}"
            )


def _has_ray_job(options: RenderOptions, kinds: set[str]) -> bool:
    """Whether a RayJob is rendered: the overlay's own, or one that a cohort becomes."""
    return "RayJob" in kinds or (options.cohort is not None and "Job" not in kinds)


def _shared_volumes(stands: Sequence[Manifest]) -> list[str]:
    """The claims for storage that several nodes write."""
    return [
        each["metadata"]["name"]
        for each in stands
        if each["kind"] == "PersistentVolumeClaim" and SHARED in each["spec"]["accessModes"]
    ]


def _storage_patches(
    options: RenderOptions, stands: Sequence[Manifest]
) -> Iterator[dict[str, Any]]:
    if options.storage_class is None:
        return
    change: Patch = [
        {"op": "add", "path": "/spec/storageClassName", "value": options.storage_class}
    ]
    for name in _shared_volumes(stands):
        yield _patch({"kind": "PersistentVolumeClaim", "name": name}, change)


def _job_patches(options: RenderOptions) -> Iterator[dict[str, Any]]:
    """How urgent the RayJob is, and for how long it may run."""
    values: dict[str, str | int] = {}
    if options.priority_class is not None:
        values["/metadata/labels/kueue.x-k8s.io~1priority-class"] = options.priority_class
    if options.deadline_hours is not None:
        values["/spec/activeDeadlineSeconds"] = 3600 * options.deadline_hours
    changes: Patch = [{"op": "replace", "path": p, "value": v} for p, v in values.items()]
    if changes:
        yield _patch({"kind": "RayJob"}, changes)


def _namespace(stands: Sequence[Manifest]) -> str:
    """The namespace of an overlay."""
    return next(
        str(each["metadata"]["namespace"]) for each in stands if "namespace" in each["metadata"]
    )


def _cluster(stands: Sequence[Manifest]) -> Manifest | None:
    """The Ray cluster of an overlay, that of its RayJob, or None."""
    return next((each for each in stands if each["kind"] in ("RayCluster", "RayJob")), None)


def _groups(cluster: Manifest | None) -> list[dict[str, Any]]:
    if cluster is None:
        return []
    spec = cluster["spec"]
    groups: list[dict[str, Any]] = spec.get("rayClusterSpec", spec)["workerGroupSpecs"]
    return groups


def _size_patches(options: RenderOptions, cluster: Manifest | None) -> Iterator[dict[str, Any]]:
    """Change how many workers there may be; where nothing scales them, how many there are."""
    if cluster is None:
        return
    path = "/spec/rayClusterSpec" if cluster["kind"] == "RayJob" else "/spec"
    spec = cluster["spec"].get("rayClusterSpec", cluster["spec"])
    for index, group in enumerate(spec["workerGroupSpecs"]):
        wanted = {"cpu": options.workers, "gpu": options.gpu_workers}.get(group["groupName"])
        if wanted is None:
            continue
        if spec.get("enableInTreeAutoscaling"):
            sizes = {key: min(group[key], wanted) for key in ("minReplicas", "replicas")}
        else:
            sizes = {"minReplicas": wanted, "replicas": wanted}
        changes: Patch = [
            {"op": "replace", "path": f"{path}/workerGroupSpecs/{index}/{key}", "value": value}
            for key, value in {**sizes, "maxReplicas": wanted}.items()
        ]
        yield _patch({"kind": cluster["kind"]}, changes)


def _add_cohort(cohort: CohortFiles, stands: Sequence[Manifest], outer: Kustomization) -> None:
    """Put a cohort into a RayJob, a standing cluster's place, or the Job that scores."""
    kinds = {each["kind"] for each in stands}
    if "Job" in kinds:
        words = ["--cohort", cohort.name]
        container = "/spec/template/spec"
        changes: Patch = [
            {"op": "replace", "path": "/metadata/name", "value": f"score-{cohort.name}"},
            {
                "op": "replace",
                "path": f"{container}/initContainers/0/args",
                "value": [*words, *cohort.data_words],
            },
            {"op": "replace", "path": f"{container}/containers/0/args", "value": words},
        ]
        outer["patches"].append(_patch({"kind": "Job"}, changes, renames=True))
        return
    if "RayJob" not in kinds:
        outer["components"] = [COHORT_COMPONENT]
    generated = {
        "name": LOADOUTS,
        "behavior": "replace" if "RayJob" in kinds else "create",
        "files": [f"{LOADOUTS}/{name}" for name in cohort.files],
    }
    # A ConfigMap is replaced where it has the namespace of the one before it.
    generated["namespace"] = _namespace(stands)
    outer["configMapGenerator"] = [generated]
    # The job is in the cluster already, wherever the cohort file says that it should run.
    entrypoint = ["gamectl", "submit", "--cluster", "local", f"/{LOADOUTS}", *cohort.data_words]
    changes = [
        {"op": "replace", "path": "/metadata/name", "value": f"cohort-{cohort.name}"},
        {"op": "replace", "path": "/spec/entrypoint", "value": shlex.join(entrypoint)},
    ]
    outer["patches"].append(_patch({"kind": "RayJob"}, changes, renames=True))


def _image_transformer(image: Image) -> dict[str, str]:
    version = {"newTag": image.tag} if image.digest is None else {"digest": image.digest}
    return {"name": IMAGE, "newName": image.name} | {k: v for k, v in version.items() if v}


def _patch(target: Mapping[str, str], changes: Patch, renames: bool = False) -> dict[str, Any]:
    """A JSON patch as a kustomization holds it."""
    patch: dict[str, Any] = {"target": dict(target), "patch": json.dumps(changes)}
    if renames:
        patch["options"] = {"allowNameChange": True}
    return patch
