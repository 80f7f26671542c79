"""`gamectl deploy render`: what it prints, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.deployment import CohortFiles, Image, RenderOptions, kustomizations
from orchestrator.errors import Refused
from orchestrator.kustomize import DEPLOY, build
from tests.deploy.manifests import CLUSTER_SCOPED, OVERLAYS, Manifest, one, pods, reason_why_not
from tests.deploy.test_references import config_maps
from tests.orchestrator.commands import gamectl, read_json

WriteCohort = Callable[..., Path]
ROOT = DEPLOY.parent
needs_kustomize = pytest.mark.skipif(reason_why_not() is not None, reason=str(reason_why_not()))


def rendered(*words: object) -> list[Manifest]:
    """What `gamectl deploy render` prints; its text and its JSON say the same."""
    done = gamectl("deploy", "render", *words)
    assert done.exit_code == 0, done.output
    as_text = [*yaml.load_all(done.stdout, yaml.CSafeLoader)]
    as_json = read_json("deploy", "render", *words)
    assert as_json["manifests"] == as_text
    return as_text


def refused(*words: object) -> str:
    """What it says on stderr instead of printing anything."""
    done = gamectl("deploy", "render", *words)
    assert done.exit_code != 0
    assert done.stdout == ""
    return done.stderr


@needs_kustomize
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_printed_as_it_stands(overlay: str) -> None:
    done = gamectl("deploy", "render", "--overlay", overlay)
    assert done.stdout == build(DEPLOY / "overlays" / overlay).text
    assert done.stderr == ""


@needs_kustomize
@pytest.mark.parametrize("overlay", ["local", "gpu", "gitops", "kueue"])
def test_a_cohort_becomes_a_rayjob_in_any_overlay(overlay: str) -> None:
    documents = rendered("--overlay", overlay, "--cohort", ROOT / "loadouts" / "demo")
    assert not [each for each in documents if each["kind"] == "RayCluster"]
    job = one(documents, "RayJob", "cohort-demo")
    assert job["spec"]["entrypoint"] == "gamectl submit --cluster local /loadouts"
    (head, *_) = pods([job])
    (volume,) = (v for v in head.spec["volumes"] if v["name"] == "loadouts-as-links")
    files = one(documents, "ConfigMap", volume["configMap"]["name"])["data"]
    expected = {
        path.name: path.read_text()
        for path in (ROOT / "loadouts" / "demo").iterdir()
        if path.suffix in (".yaml", ".py")
    }
    assert files == expected
    assert "residual.py" in files
    groups = {g["groupName"] for g in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    assert groups == ({"cpu"} if overlay == "local" else {"cpu", "gpu"})
    images = {c["image"] for p in pods(documents) for c in p.containers if p.part != "database"}
    assert len(images) == 1
    for document in documents:
        scoped = document["kind"] in CLUSTER_SCOPED
        assert document["metadata"].get("namespace") == (None if scoped else "classification-game")
    made = {each["metadata"]["name"] for each in documents if each["kind"] == "ConfigMap"}
    assert {name for pod in pods(documents) for name in config_maps(pod)} == made


@needs_kustomize
def test_image_namespace_and_sizes(write_cohort: WriteCohort) -> None:
    folder = write_cohort({"apes": "epochs: 1"})
    digest = "sha256:" + "0" * 64
    image = f"example.org:5000/a/game:2.1@{digest}"
    documents = rendered(
        "--overlay", "kueue", "--cohort", folder, "--image", image,
        "--namespace", "class-b", "--workers", 3, "--gpu-workers", 2,
    )  # fmt: skip
    images = {c["image"] for p in pods(documents) for c in p.containers if p.part != "database"}
    assert images == {f"example.org:5000/a/game@{digest}"}
    for document in documents:
        scoped = document["kind"] in CLUSTER_SCOPED
        assert document["metadata"].get("namespace") == (None if scoped else "class-b")
    assert one(documents, "Namespace")["metadata"]["name"] == "class-b"
    groups = one(documents, "RayJob", "cohort-small")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    sizes = [(g["minReplicas"], g["replicas"], g["maxReplicas"]) for g in groups]
    assert sizes == [(3, 3, 3), (2, 2, 2)]  # Kueue admits all of a cohort or nothing


@needs_kustomize
@pytest.mark.parametrize(
    ("workers", "gpu_workers", "asked"),
    [
        (4, 4, None),
        (5, 1, None),  # the head beside the GPU
        (6, 0, "25.1 CPUs, 54.5 GiB and 0 GPUs"),  # fewer than there are, but not in one flavor
        (1, 5, "25.1 CPUs, 94.5 GiB and 5 GPUs"),
    ],
)
def test_what_no_quota_has_is_told(workers: int, gpu_workers: int, asked: str | None) -> None:
    sizes = ("--workers", workers, "--gpu-workers", gpu_workers)
    done = gamectl("deploy", "render", "--overlay", "kueue", *sizes)
    assert done.exit_code == 0, done.stderr
    assert (f"the RayJob asks for {asked}, and its queue never has" in done.stderr) is bool(asked)
    assert bool(done.stderr) is bool(asked)
    done = gamectl("deploy", "render", "--overlay", "gpu", "--workers", 500)
    assert done.stderr == ""  # no queue


@needs_kustomize
def test_how_urgent_a_cohort_is_and_how_long_it_may_take(write_cohort: WriteCohort) -> None:
    asked = ("--cohort", write_cohort({"apes": "epochs: 1"}), "--deadline-hours", 12)
    urgent = ("--priority-class", "overnight")
    job = one(rendered("--overlay", "kueue", *asked, *urgent), "RayJob")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "overnight"
    assert job["spec"]["activeDeadlineSeconds"] == 12 * 3600
    job = one(rendered("--overlay", "local", *asked), "RayJob")
    assert job["spec"]["activeDeadlineSeconds"] == 12 * 3600
    told = refused("--overlay", "kueue", "--priority-class", "overnite")
    assert "has the priority classes lesson, overnight; --priority-class names one" in told
    assert "has no priority classes" in refused("--overlay", "local", *urgent)
    assert "has no RayJob" in refused("--overlay", "local", "--deadline-hours", 12)
    assert "has no RayJob" in refused("--overlay", "score", *asked)


@needs_kustomize
def test_volumes_that_several_nodes_write_get_the_storage_class_that_can() -> None:
    documents = rendered("--overlay", "gpu", "--storage-class", "shared.nfs")
    classes = {
        each["metadata"]["name"]: each["spec"].get("storageClassName")
        for each in documents
        if each["kind"] == "PersistentVolumeClaim"
    }
    assert {name for name, known in classes.items() if known == "shared.nfs"} == {
        "artifacts",
        "photos",
    }
    assert {known for known in classes.values() if known != "shared.nfs"} == {None}
    assert "has no volume" in refused("--overlay", "local", "--storage-class", "shared")
    assert "no name of a storage class" in refused("--overlay", "gpu", "--storage-class", "A b")


@needs_kustomize
@pytest.mark.parametrize(("tag", "namespace"), [("1234e56", "1e3"), ("0o17", "y")])
def test_names_that_look_like_numbers_stay_names(tag: str, namespace: str) -> None:
    documents = rendered("--overlay", "local", "--image", f"a/game:{tag}", "--namespace", namespace)
    images = {c["image"] for p in pods(documents) for c in p.containers if p.part != "database"}
    assert images == {f"a/game:{tag}"}
    assert one(documents, "Namespace")["metadata"]["name"] == namespace
    assert one(documents, "RayCluster")["metadata"]["namespace"] == namespace


@needs_kustomize
@pytest.mark.parametrize("overlay", ["local", "gitops"])
def test_a_loadout_may_be_called_as_kustomizes_own_file(
    write_cohort: WriteCohort, overlay: str
) -> None:
    folder = write_cohort({"kustomization": "epochs: 1", "apes": "epochs: 1"})
    (folder / "apes.yaml").rename(folder / "kustomization.yml")
    documents = rendered("--overlay", overlay, "--cohort", folder)
    (files,) = (
        each["data"]
        for each in documents
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("loadouts-")
    )
    assert files == {path.name: path.read_text() for path in folder.iterdir()}


@needs_kustomize
def test_where_workers_come_and_go_the_sizes_are_the_most() -> None:
    documents = rendered(
        "--overlay", "gpu", "--workers", 0, "--gpu-workers", 9, "--image", "me/game:7"
    )
    groups = one(documents, "RayCluster")["spec"]["workerGroupSpecs"]
    sizes = [(g["minReplicas"], g["replicas"], g["maxReplicas"]) for g in groups]
    assert sizes == [(0, 0, 0), (0, 0, 9)]
    assert {c["image"] for p in pods(documents) for c in p.containers if p.part != "database"} == {
        "me/game:7"
    }


@needs_kustomize
def test_files_that_a_plain_apply_refuses_are_told(write_cohort: WriteCohort) -> None:
    team = "epochs: 1\n# " + 60_000 * "x"
    for number, told in ((1, False), (4, True)):
        folder = write_cohort({f"team-{n}": team for n in range(number)})
        done = gamectl("deploy", "render", "--overlay", "gitops", "--cohort", folder)
        assert done.exit_code == 0, done.stderr
        assert ("kubectl apply --server-side" in done.stderr) is told


@needs_kustomize
def test_the_cluster_that_a_cohort_names_is_not_asked(write_cohort: WriteCohort) -> None:
    folder = write_cohort({"apes": "epochs: 1"}, "  cluster: http://head.example:8265\n")
    job = one(rendered("--overlay", "gitops", "--cohort", folder), "RayJob", "cohort-small")
    assert job["spec"]["entrypoint"] == "gamectl submit --cluster local /loadouts"


@needs_kustomize
def test_a_broken_loadout_is_refused_at_its_line(write_cohort: WriteCohort) -> None:
    folder = write_cohort({"apes": "epochs: 1\nleraningRate: 1"})
    said = refused("--overlay", "local", "--cohort", folder)
    assert f"{folder / 'apes.yaml'}:6:3  unknown-key" in said
    assert "error: 1 refused, so nothing was rendered" in said


def test_what_a_cohort_in_the_cluster_cannot_be(write_cohort: WriteCohort, tmp_path: Path) -> None:
    def said(*words: object) -> str:
        return refused("--overlay", "local", "--cohort", *words)

    folder = write_cohort({"apes": "epochs: 1"}, "  teacher: {file: t.pt}\n")
    assert "copy it to the volume `artifacts`" in said(folder)
    folder = write_cohort({"apes": "epochs: 1"})
    (folder / "apes.yaml").rename(folder / "team apes.yaml")
    assert "has no file named 'team apes.yaml'; rename it" in said(folder)
    (folder / "team apes.yaml").rename(folder / "apes.yaml")
    for number in range(20):
        text = (folder / "apes.yaml").read_text().replace("apes", f"apes-{number}")
        (folder / f"{number}.yaml").write_text(text + "#" * 60_000)
    assert "and a ConfigMap holds 1048576" in said(folder)
    alone = tmp_path / "alone" / "apes.yaml"
    alone.parent.mkdir()
    alone.write_text((folder / "apes.yaml").read_text())
    assert "no file of kind Cohort" in said(alone.parent)
    assert "no such file" in said(tmp_path / "nothing").lower()


@needs_kustomize
def test_what_an_overlay_has_no_place_for(write_cohort: WriteCohort) -> None:
    assert "no overlay 'lokal'; there are: gitops, gpu, kueue, local, score" in refused(
        "--overlay", "lokal"
    )
    said = refused("--overlay", "local", "--gpu-workers", 1)
    assert "overlay 'local' has worker groups: cpu; --gpu-workers is for one" in said
    said = refused("--overlay", "score", "--workers", 1)
    assert "overlay 'score' has no Ray cluster; --workers is for one" in said
    said = refused("--overlay", "local", "--publish")
    assert "overlay 'local' has no Job that scores; --publish is for 'score'" in said
    published = one(rendered("--overlay", "score", "--publish"), "Job")["spec"]["template"]["spec"]
    assert published["initContainers"][0]["args"] == ["--cohort", "example", "--publish"]
    folder = write_cohort({"apes": "epochs: 1"}, name="m" * 41)
    said = refused("--overlay", "local", "--cohort", folder)
    assert "has 41 characters; the name of a RayJob leaves room for 40" in said


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--image", "game", "name a tag other than latest, or a digest"),
        ("--image", "game:latest", "name a tag other than latest, or a digest"),
        ("--image", "Game Image", "is no image"),
        ("--namespace", "Class B", "is no namespace"),
        ("--namespace", "-b", "is no namespace"),
        ("--workers", "-1", "is not in the range"),
    ],
)
def test_values_that_kubernetes_would_refuse(option: str, value: str, problem: str) -> None:
    assert problem in refused("--overlay", "local", option, value)


def test_without_kubectl_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    said = refused("--overlay", "local")
    assert said == (
        "error: there is neither kubectl nor kustomize on the PATH; install kubectl 1.27 or newer, "
        "or kustomize 5\n"
    )


@needs_kustomize
def test_what_kustomize_says_of_a_broken_folder_is_passed_on(tmp_path: Path) -> None:
    from orchestrator.errors import DeployError

    (tmp_path / "kustomization.yaml").write_text("resources: [nothing.yaml]\n")
    with pytest.raises(DeployError, match=r"nothing\.yaml.*needed is kubectl"):
        build(tmp_path)


def test_the_decision_needs_no_kustomize() -> None:
    group = {"groupName": "cpu", "minReplicas": 1, "replicas": 2, "maxReplicas": 4}
    spec: dict[str, Any] = {"enableInTreeAutoscaling": True, "workerGroupSpecs": [group]}
    stands = [{"kind": "RayCluster", "metadata": {"name": "game", "namespace": "x"}, "spec": spec}]
    cohort = CohortFiles("monday", ("cohort.yaml",), uses_mounted_photos=False)
    options = RenderOptions("any", image=Image("me/game", "1"), workers=1, cohort=cohort)
    inner, outer, _ = kustomizations(options, stands)
    changes = json.loads(inner["patches"][0]["patch"])
    sizes = {each["path"].rpartition("/")[2]: each["value"] for each in changes}
    assert sizes == {"minReplicas": 1, "replicas": 1, "maxReplicas": 1}
    assert outer["components"] == ["components/cohort"]
    assert outer["namespace"] == "x"  # a RayJob that a component adds has none of its own
    assert outer["images"] == [{"name": "classification-game", "newName": "me/game", "newTag": "1"}]
    with pytest.raises(Refused, match="--gpu-workers"):
        kustomizations(RenderOptions("any", gpu_workers=1), stands)
