"""Whole games whose files are in an object store: artifacts, and the images themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import DataError
from orchestrator.artifacts import Artifacts
from orchestrator.control.inputs import Inputs
from orchestrator.errors import Damaged
from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.bench import processes
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.test_detached import jobs, process
from tests.orchestrator.waiting import until
from tests.s3 import S3

WriteCohort = Callable[..., Path]
BASE = "epochs: 3\nlearningRate: 0.05\n"
SLOW = "epochs: 300\nbatchSize: 1\n"  # a fast processor, too, has some left when the store is away
STACKED = """
epochs: 3
learningRate: 0.05
purchases: [{item: ensemble-enchanter, combine: stacking, members: [{}, {seed: 9}]}]
"""


def weights() -> dict[tuple[str, int], bytes]:
    """All members' weights, by team and member."""
    settings = Settings()
    store, artifacts = Store(settings.store_url), Artifacts(settings.artifacts)
    try:
        return {
            (job.team, index): artifacts.weights(trained)
            for job in store.jobs("small")
            for index, trained in store.weights(job.id).items()
        }
    finally:
        store.close()


def board() -> Any:
    scored = gamectl("score")
    assert scored.exit_code == 0, scored.output
    return read_json("leaderboard")


def submit(*words: object) -> None:
    with process("submit", *words, "--cpus", 2) as run:
        _, said = run.communicate()
    assert run.returncode == 0, said


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_disturbed_game_in_a_store_ends_as_one_in_a_folder(
    write_cohort: WriteCohort,
    photos: Path,
    home: Path,
    s3: S3,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_cohort({"slow": SLOW, "duo": STACKED}, "  limits: {epochs: 300}\n")
    submit(folder, "--data", photos)
    expected_weights, expected_board = weights(), board()
    assert sorted(expected_weights) == [("duo", 0), ("duo", 1), ("slow", 0)]

    root = f"s3://{s3.bucket()}/kept"
    monkeypatch.setenv("GAME_HOME", str(home.with_name("other")))
    monkeypatch.setenv("GAME_ARTIFACTS", root)

    def slow() -> Any:
        return jobs()["slow"]["members"][0]

    def events() -> list[str]:
        return [event["message"] for event in read_json("get", "events")["events"]]

    with process("submit", folder, "--data", photos, "--cpus", 2) as run:
        until(lambda: gamectl("get", "jobs", "--cohort", "small").exit_code == 0)
        until(lambda: slow()["epoch"] >= 2)
        until(lambda: "epoch 2/300" in gamectl("logs", "slow").stdout)
        processes.kill(processes.slots(run.pid))
        until(lambda: slow()["attempt"] == 2)
        until(lambda: "resumed after epoch" in gamectl("logs", "slow").stdout)
        with s3.away():
            until(lambda: any("Storage: the checkpoint s3://" in text for text in events()))
        _, said = run.communicate()
    assert run.returncode == 0, said
    ended = jobs()
    assert {team: job["phase"] for team, job in ended.items()} == {
        "duo": "Succeeded",
        "slow": "Succeeded",
    }
    assert slow()["attempt"] > 2
    assert weights() == expected_weights
    assert board() == expected_board
    kept = s3.files().find(root)
    assert not [name for name in kept if name.endswith(".checkpoint")]
    assert not (Settings().root / "artifacts").exists()
    logged = gamectl("logs", "slow").stdout.splitlines()
    assert logged[1].startswith("resumed after epoch ")
    assert logged[-1].startswith("completed after ")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster", "home")
def test_images_are_fetched_once_and_give_the_same_weights(
    write_cohort: WriteCohort, photos: Path, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cohort({"apes": BASE})
    assert gamectl("submit", folder, "--data", photos).exit_code == 0
    expected = weights()

    monkeypatch.setenv("GAME_HOME", str(tmp_path / "other"))
    uri = f"s3://{s3.bucket()}/monkeys"
    s3.files().put(f"{photos}/", f"{uri}/", recursive=True)
    write_cohort({"apes": BASE}, spec=f"  data: {{source: '{uri}/'}}\n")
    first = gamectl("submit", folder)
    assert first.exit_code == 0, first.output
    assert "fetching the images: 78" in first.stderr
    assert weights() == expected

    again = gamectl("submit", folder, "--data", uri)
    assert "nothing is run twice" in again.stderr
    for words in (["submit", folder], ["plan", folder], ["data", "check", uri], ["score"]):
        done = gamectl(*words)
        assert done.exit_code == 0, done.output
        assert "fetching" not in done.stderr

    # A controller that finds other images there than were submitted trains on none of them.
    settings = Settings()
    store = Store(settings.store_url)
    plan = store.plans(1)[0].data
    assert len(Inputs("small", store, settings).images(plan).labels) == 60
    image = next(iter((photos / "training" / "n1").iterdir()))
    s3.files().pipe_file(f"{uri}/training/n0/new.png", image.read_bytes())
    with pytest.raises(Damaged, match="are not those that cohort 'small' was submitted with"):
        Inputs("small", store, settings).images(plan)
    with s3.away(), pytest.raises(DataError, match="cannot be fetched"):
        Inputs("small", store, settings).images(plan)
    s3.files().rm_file(f"{uri}/training/n0/new.png")
    assert len(Inputs("small", store, settings).images(plan).labels) == 60
    store.close()


@pytest.mark.usefixtures("home")
def test_a_place_that_cannot_be_used_is_said_before_anything_is_stored(
    write_cohort: WriteCohort, photos: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cohort({"apes": BASE})
    for place, expected in {
        "s3://nowhere/kept": "there is no s3://nowhere: make the bucket, or name another one",
        "xyz://kept": "xyz:// is no scheme that fsspec knows",
        "gs://kept": "pip install gcsfs",
        "file://kept": "file://kept names no folder; write file:///FOLDER",
    }.items():
        monkeypatch.setenv("GAME_ARTIFACTS", place)
        refused = gamectl("submit", folder, "--data", photos)
        assert refused.exit_code == 1
        assert expected in refused.stderr.splitlines()[-1]
        assert gamectl("get", "jobs").exit_code == 1
    monkeypatch.delenv("GAME_ARTIFACTS")
    refused = gamectl("submit", folder, "--data", "s3://nowhere/monkeys")
    assert refused.exit_code == 1
    assert "there is no s3://nowhere" in refused.stderr
