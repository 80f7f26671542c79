"""What attempts leave: results that no other attempt's replace, checkpoints that are removed."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.artifacts import Artifacts
from orchestrator.moves import with_member
from orchestrator.phases import Phase
from orchestrator.state import Job
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, submit


def _job(store: Store) -> Job:
    submit(store, new_job("a", num_members=2))
    return store.jobs("small")[0]


def _with(job: Job, index: int, phase: Phase, attempt: int = 1) -> Job:
    return with_member(job, replace(job.members[index], phase=phase, attempt=attempt))


def _checkpoint(artifacts: Artifacts, job: Job, index: int) -> Path:
    path = artifacts.checkpoint_path(job, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"state")
    return path


def test_an_attempt_that_comes_late_replaces_no_later_ones_results(
    store: Store, artifacts: Artifacts
) -> None:
    job, probs = _job(store), np.full((2, 3), 1 / 3, np.float32)
    later = artifacts.save(job, 0, 2, b"of another processor", probs)
    first = artifacts.save(job, 0, 1, b"of the first attempt", np.eye(3, dtype=np.float32))
    assert artifacts.weights(later) == b"of another processor"
    assert np.array_equal(artifacts.val_probs(later), probs)
    assert artifacts.weights(first) == b"of the first attempt"


def test_a_trained_members_checkpoint_is_removed_and_no_other(
    store: Store, artifacts: Artifacts
) -> None:
    job = _job(store)
    paths = [_checkpoint(artifacts, job, index) for index in range(2)]
    running = _with(_with(job, 0, Phase.RUNNING), 1, Phase.RUNNING)
    artifacts.drop_checkpoints(running, job)
    artifacts.sweep()
    assert all(path.exists() for path in paths)
    artifacts.drop_checkpoints(_with(running, 0, Phase.SUCCEEDED), running)
    artifacts.sweep()
    assert [path.exists() for path in paths] == [False, True]


def test_whoever_sees_a_job_first_removes_what_was_left(store: Store, artifacts: Artifacts) -> None:
    job = _with(_job(store), 0, Phase.SUCCEEDED)
    path = _checkpoint(artifacts, job, 0)
    artifacts.drop_checkpoints(job, job)
    artifacts.sweep()
    assert path.exists(), "it was looked for when the member ended"
    artifacts.drop_checkpoints(job, None)
    artifacts.sweep()
    assert not path.exists()


def test_a_member_that_was_trained_again_leaves_none_either(
    store: Store, artifacts: Artifacts
) -> None:
    before = _with(_job(store), 0, Phase.SUCCEEDED)
    path = _checkpoint(artifacts, before, 0)
    artifacts.drop_checkpoints(_with(before, 0, Phase.SUCCEEDED, attempt=2), before)
    artifacts.sweep()
    assert not path.exists()


def test_of_a_superseded_job_only_what_still_trains_keeps_one(
    store: Store, artifacts: Artifacts
) -> None:
    before = _with(_job(store), 1, Phase.RUNNING)
    paths = [_checkpoint(artifacts, before, index) for index in range(2)]
    superseded = replace(before, phase=Phase.SUPERSEDED)
    artifacts.drop_checkpoints(superseded, before)
    artifacts.sweep()
    assert [path.exists() for path in paths] == [False, True]
    artifacts.drop_checkpoints(_with(superseded, 1, Phase.CANCELLED), superseded)
    artifacts.sweep()
    assert not paths[1].exists()
