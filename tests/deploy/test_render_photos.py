"""`gamectl deploy render` for cohorts on photos: which are mounted, and what others take."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import one
from tests.deploy.test_render import needs_kustomize, rendered
from tests.orchestrator.commands import gamectl

WriteCohort = Callable[..., Path]


@needs_kustomize
@pytest.mark.parametrize(
    ("source", "words"),
    [("../photos", ["--data", "/data/photos"]), ("drawn", []), ("s3://bucket/photos", [])],
)
def test_photos_beside_the_cohort_are_the_mounted_ones(
    write_cohort: WriteCohort, source: str, words: list[str]
) -> None:
    folder = write_cohort({"apes": "epochs: 1"}, f"  data: {{source: {source}}}\n")
    job = one(rendered("--overlay", "gitops", "--cohort", folder), "RayJob", "cohort-small")
    assert job["spec"]["entrypoint"].split() == [
        "gamectl",
        "submit",
        "--cluster",
        "local",
        "/loadouts",
        *words,
    ]
    scoring = one(rendered("--overlay", "score", "--cohort", folder), "Job", "score-small")
    spec = scoring["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["args"] == ["--cohort", "small", *words]
    assert spec["containers"][0]["args"] == ["--cohort", "small"]
    published = rendered("--overlay", "score", "--cohort", folder, "--publish")
    spec = one(published, "Job", "score-small")["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["args"] == ["--cohort", "small", *words, "--publish"]
    assert spec["containers"][0]["args"] == ["--cohort", "small"]


@needs_kustomize
@pytest.mark.parametrize(
    ("source", "overlay", "told"),
    [
        ("drawn", "gitops", ""),
        ("../photos", "gitops", "what the volume photos holds"),
        ("/home/me/photos", "gitops", "the head has that only where you mount it"),
        ("file:///photos", "score", "the Job that scores has that only where"),
        ("/data/photos", "gitops", ""),
        ("file:///data/photos", "gitops", ""),
        ("/artifacts/photos", "gitops", ""),
        ("s3://bucket/photos", "gitops", "the head fetches it, once NetworkPolicies let it out"),
        (
            "https://host/photos.zip",
            "score",
            "the Job that scores fetches it, once NetworkPolicies",
        ),
    ],
)
def test_what_a_source_takes_is_told(
    write_cohort: WriteCohort, source: str, overlay: str, told: str
) -> None:
    folder = write_cohort({"apes": "epochs: 1"}, f"  data: {{source: '{source}'}}\n")
    done = gamectl("deploy", "render", "--overlay", overlay, "--cohort", folder)
    assert done.exit_code == 0, done.stderr
    assert [*yaml.load_all(done.stdout, yaml.CSafeLoader)]
    assert done.stderr.count("\n") == bool(told), done.stderr
    assert told in done.stderr


@needs_kustomize
def test_students_on_mounted_photos_need_a_teacher_that_is_there(
    write_cohort: WriteCohort,
) -> None:
    student = "epochs: 1\npurchases: [{item: wisdom-extractor}]"
    words = ("deploy", "render", "--overlay", "gitops", "--cohort")
    for source, teacher, refused in (
        ("../photos", "", True),
        ("../photos", "  teacher: {file: /artifacts/own.pt}\n", False),
        ("drawn", "", False),
    ):
        folder = write_cohort({"apes": student}, f"  data: {{source: {source}}}\n{teacher}")
        done = gamectl(*words, folder)
        assert done.exit_code == int(refused), done.stderr
        assert ("teacher: {file: /artifacts/NAME.pt}" in done.stderr) is refused
