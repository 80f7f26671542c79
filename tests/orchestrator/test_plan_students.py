"""`gamectl plan` of students: with the teacher that is kept, and without one."""

import json
from collections.abc import Callable
from pathlib import Path

from jobs.image_folder import scan
from orchestrator.teaching.teacher_manifest import Manifest, kept_file, manifest_path
from tests.orchestrator.commands import gamectl, read_json

WriteCohort = Callable[..., Path]


def test_students_are_planned_with_the_teacher_that_is_kept(
    write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    purchases = "[{item: wisdom-extractor}, {item: flip-trick}]"
    student = f"epochs: 2\npurchases: {purchases}\n"
    folder = write_cohort(
        {"alone": "epochs: 2\npurchases: [{item: flip-trick}]\n", "student": student}
    )

    done = gamectl("plan", folder, "--data", photos, "-o", "json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [job["team"] for job in told["jobs"]] == ["alone"]
    assert [refused["team"] for refused in told["refused"]] == ["student"]

    def minutes() -> dict[str, float]:
        jobs = read_json("plan", folder, "--data", photos)["jobs"]
        return {job["team"]: job["slot_minutes"] for job in jobs}

    found = scan(photos)
    file = kept_file(home / "teachers", found.fingerprint, 0.2, 0)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"not opened for a plan")
    manifest = Manifest(
        architecture="resnet18",
        classes=found.classes,
        image_size_px=224,
        normalize="imagenet",
        fingerprint=found.fingerprint,
        validation_fraction=0.2,
        split_seed=0,
        val_accuracy=0.9,
        sha256="",
        plan={},
    )
    manifest_path(file).write_text(manifest.model_dump_json())
    known = minutes()["student"]
    assert known > 3 * minutes()["alone"]
    manifest_path(file).write_text("damaged")
    assert known > 3 * minutes()["student"]
