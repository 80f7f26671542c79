"""Artifacts in an object store: kept, damaged, gone, or away; logs copied while they grow."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.places import join, read_bytes
from jobs.plan import TeacherSpec
from orchestrator.artifacts import Artifacts
from orchestrator.cluster.log_copy import LogCopy
from orchestrator.cluster.member_log import member_log
from orchestrator.errors import ArtifactsAway, Damaged
from orchestrator.moves import with_member
from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.state import Job
from orchestrator.store import Store
from orchestrator.teaching.teachings import TeacherWeights
from orchestrator.terminal.follow import MemberTail
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.projection import Projection
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl
from tests.orchestrator.states import SLOT_LOST, Game
from tests.orchestrator.test_detached import until
from tests.orchestrator.test_member_log import REPORT, run
from tests.orchestrator.tracked import TrainJob, named_runs
from tests.s3 import S3

PROBS = np.full((4, 3), 1 / 3, np.float32)


@pytest.fixture
def root(s3: S3) -> str:
    """The URI of an empty artifact folder."""
    return f"s3://{s3.bucket()}/kept"


@pytest.fixture
def artifacts(root: str) -> Artifacts:
    """Artifacts in an object store; `train_job` and others use them as those of a folder."""
    return Artifacts(root)


def a_job(store: Store) -> Job:
    submit(store, new_job("apes"))
    return store.jobs("small")[0]


def test_what_is_saved_is_read_and_damage_is_noticed(
    store: Store, artifacts: Artifacts, s3: S3
) -> None:
    trained = artifacts.save(a_job(store), 0, 1, b"weights", PROBS)
    assert artifacts.weights(trained) == b"weights"
    assert np.array_equal(artifacts.val_probs(trained), PROBS)
    with artifacts.as_file(trained) as file:
        assert (file.name, file.read_bytes()) == ("m0.safetensors", b"weights")

    with s3.away():
        for read in (artifacts.weights, artifacts.val_probs):
            with pytest.raises(ArtifactsAway, match="cannot be used"):
                read(trained)
        with pytest.raises(OSError, match="cannot be used"):
            artifacts.save(a_job(store), 0, 1, b"others", PROBS)
    assert artifacts.weights(trained) == b"weights"

    s3.files().pipe_file(str(artifacts.path(trained.weights)), b"changed")
    with pytest.raises(Damaged, match="its SHA-256 differs"):
        artifacts.weights(trained)
    s3.files().pipe_file(str(artifacts.path(trained.val_probs)), b"\x93NUMPY")
    with pytest.raises(Damaged, match="is no array"):
        artifacts.val_probs(trained)
    s3.files().rm_file(str(artifacts.path(trained.weights)))
    with pytest.raises(Damaged, match="there is no such object"):
        artifacts.weights(trained)


def test_a_checkpoint_is_removed_once_nobody_needs_it(
    store: Store, artifacts: Artifacts, s3: S3
) -> None:
    job = a_job(store)
    uri = str(artifacts.checkpoint_path(job, 0))
    s3.files().pipe_file(uri, b"state")
    artifacts.drop_checkpoints(job, None)
    artifacts.sweep()
    assert s3.files().exists(uri)
    trained = with_member(job, replace(job.members[0], phase=Phase.SUCCEEDED))
    artifacts.drop_checkpoints(trained, job)
    artifacts.sweep()
    until(lambda: not s3.files().exists(uri))


def test_whoever_leaves_does_not_wait_for_thousands_of_removals(
    store: Store, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    may_go_on = threading.Event()

    def slowly(place: object) -> None:
        asked.append(place)
        may_go_on.wait()

    monkeypatch.setattr("orchestrator.artifacts.remove", slowly)
    monkeypatch.setattr("orchestrator.artifacts.CLOSE_S", 0.1)
    job = a_job(store)
    trained = with_member(job, replace(job.members[0], phase=Phase.SUCCEEDED))
    for _ in range(1000):
        artifacts.drop_checkpoints(trained, None)
        artifacts.sweep()
    until(lambda: len(asked) == 1)
    artifacts.close()
    may_go_on.set()
    artifacts._remover.shutdown(wait=True)
    assert len(asked) == 1


def test_teachers_are_kept_there_too(root: str, s3: S3) -> None:
    spec = TeacherSpec(sha256="f" * 64, architecture="resnet18", image_size_px=64, normalize="none")
    weights = TeacherWeights(root)
    weights.keep(spec, b"teacher")
    assert weights.read(spec) == b"teacher"
    with s3.away(), pytest.raises(ArtifactsAway):
        weights.read(spec)
    s3.files().pipe_file(join(root, f"{spec.sha256}.teacher"), b"x")
    with pytest.raises(Damaged, match="submit them again"):
        weights.read(spec)
    weights.keep(spec, b"teacher")
    assert weights.read(spec) == b"teacher"


def test_mlflow_gets_the_weights(
    store: Store,
    artifacts: Artifacts,
    experiment: Experiment,
    train_job: TrainJob,
    s3: S3,
    tmp_path: Path,
) -> None:
    train_job("apes", 2, "stacking")

    def sync() -> None:
        Projection(experiment, store, artifacts, "small", tmp_path / "templates").sync()

    with s3.away(), pytest.raises(ArtifactsAway):
        sync()
    sync()
    runs = named_runs(experiment)
    for index in range(2):
        run_id = runs[f"apes/{index}"].info.run_id
        (kept,) = experiment.client.list_artifacts(run_id, "weights")
        assert kept.path == f"weights/m{index}.safetensors"
        downloaded = experiment.client.download_artifacts(run_id, kept.path, str(tmp_path))
        assert Path(downloaded).read_bytes() == artifacts.weights(store.weights(1)[index])
    (model,) = experiment.client.search_logged_models([experiment.id])
    assert (model.source_run_id, model.status) == (runs["apes"].info.run_id, "READY")


# --- logs -----------------------------------------------------------------------------------------


def test_a_log_is_copied_when_it_has_grown_but_not_all_the_time(root: str, tmp_path: Path) -> None:
    file, now_s = tmp_path / "log", 100.0
    copy = LogCopy(file, f"{root}/log", lambda: now_s)
    copy.refresh()  # there is nothing yet
    now_s += 1
    file.write_text("one\n")
    copy.refresh()
    assert read_bytes(f"{root}/log") == b"one\n"
    file.write_text("one\ntwo\n")
    now_s += 0.5
    copy.refresh()
    assert read_bytes(f"{root}/log") == b"one\n"
    now_s += 0.5
    copy.refresh()
    assert read_bytes(f"{root}/log") == b"one\ntwo\n"
    file.write_text("one\ntwo\nend\n")
    copy.finish()
    assert read_bytes(f"{root}/log") == b"one\ntwo\nend\n"


def test_a_store_that_is_away_harms_no_training(root: str, s3: S3, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("one\n")
    copy = LogCopy(file, f"{root}/log")
    with s3.away():
        copy.finish()
    copy.finish()
    assert read_bytes(f"{root}/log") == b"one\n"


def test_everything_that_is_printed_is_in_the_object(root: str) -> None:
    uri = f"{root}/m0-a1.log"
    outside = run(
        uri,  # type: ignore[arg-type]  # a URI is as good
        """
print("from Python")
log.say("ours")
raise ValueError("no good")
""",
    )
    lines = read_bytes(uri).decode().splitlines()
    assert lines[0].endswith("attempt 1 on slot-0")
    assert lines[1:3] == ["from Python", "ours"]
    assert lines[-1].startswith("failed after ")
    assert "before" in outside.stdout


def test_it_can_be_read_while_the_training_goes_on(root: str) -> None:
    uri = f"{root}/m0-a1.log"

    def said(text: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return text in read_bytes(uri).decode()
        return False

    with member_log(uri, "attempt 1") as log:
        until(lambda: said("attempt 1"))
        log.epoch(REPORT, 4)
        until(lambda: said("epoch 3/4"))
    assert "completed after" in read_bytes(uri).decode()


@pytest.fixture
def game(home: Path, root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Game]:
    """A job in the store that the commands find, with GAME_ARTIFACTS in the object store."""
    monkeypatch.setenv("GAME_ARTIFACTS", root)
    store = Store(Settings().store_url)
    submit(store, new_job("apes"), at=time.time() - 100)
    yield Game(store, time.time() - 100)
    store.close()


Append = Callable[[str], None]


@pytest.fixture
def append(game: Game, s3: S3) -> Append:
    """A function that makes the newest attempt's log longer."""
    written: dict[str, str] = {}

    def longer(text: str) -> None:
        job = game.job("apes")
        uri = str(Artifacts(Settings().artifacts).log_path(job, 0, job.members[0].attempt))
        written[uri] = written.get(uri, "") + text
        s3.files().pipe_file(uri, written[uri].encode())

    return longer


def test_gamectl_logs_reads_it(game: Game, append: Append, s3: S3) -> None:
    game.start("apes")
    assert "has written nothing yet" in gamectl("logs", "apes").stderr
    append("one\ntwo\n")
    assert gamectl("logs", "apes").stdout == "one\ntwo\n"
    with s3.away():
        away = gamectl("logs", "apes")
    assert away.exit_code == 1
    assert "cannot be used" in away.stderr
    assert len(away.stderr.splitlines()) == 1


def test_it_is_followed_from_attempt_to_attempt(game: Game, append: Append) -> None:
    tail = MemberTail(Artifacts(Settings().artifacts), 0)

    def new() -> list[str]:
        return list(tail.lines(game.job("apes")))

    game.start("apes")
    assert new() == []
    append("first\nhalf a li")
    assert new() == ["first"]
    assert new() == []
    append("ne\n")
    assert new() == ["half a line"]
    game.fail("apes", SLOT_LOST)
    append("lost")
    game.start("apes", at_s=30)
    append("second attempt\n")
    assert new() == ["lost", "second attempt"]
