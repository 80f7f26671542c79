"""A run in MLflow, and how far it has come.

In: a job or a member. Out: a `Run` with the tags and the status that say what of it MLflow shows,
and what they have to be. Pure. Next on the path: `projection`, which makes them so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import mlflow.entities

from orchestrator.phases import Phase
from orchestrator.state import Job, Member
from orchestrator.tracking.params import ms

# How far a job's run has come; each is set once what it names is there as a whole.
DESCRIBED_TAG = "game.described"
MODEL_TAG = "game.model"
COUNTS_TAG, COUNTS, COUNTS_NOT = "counts", "yes", "no"
"""Whether a job's run is the one that counts for its team, as the experiment's page lists it."""
NOTE_TAG = "mlflow.note.content"
PARENT_TAG = "mlflow.parentRunId"

STATUS = {
    Phase.PENDING: "SCHEDULED",
    Phase.RUNNING: "RUNNING",
    Phase.SUCCEEDED: "FINISHED",
    Phase.FAILED: "FAILED",
    Phase.CANCELLED: "KILLED",
    Phase.SUPERSEDED: "KILLED",
}


@dataclass
class Run:
    """What this process knows of a run in MLflow."""

    id: str
    artifact_uri: str
    status: str
    ended_ms: int | None
    said: dict[str, str]
    """The tags that it has, the marks above among them."""
    has_params: bool
    """MLflow writes all of them or none."""
    epoch: int | None
    """The last epoch that MLflow has; None where it has to be asked."""

    @classmethod
    def created(cls, info: mlflow.entities.RunInfo, said: dict[str, str]) -> Self:
        """A new one, with these tags and nothing else."""
        uri, status = info.artifact_uri, info.status
        return cls(info.run_id, uri, status, None, said, has_params=False, epoch=0)

    @classmethod
    def found(cls, run: mlflow.entities.Run) -> Self:
        """One that another process has written."""
        info, said, params = run.info, dict(run.data.tags), bool(run.data.params)
        uri, status, ended_ms = info.artifact_uri, info.status, info.end_time
        return cls(info.run_id, uri, status, ended_ms, said, has_params=params, epoch=None)

    def shows_end_of(self, ended: Job | Member, at: float) -> bool:
        """Whether it was closed with this end, which comes last; a retry leads to another one."""
        return (
            ended.phase.terminal
            and (self.status, self.ended_ms) == (STATUS[ended.phase], ms(at))
            and self.said.get("phase") == ended.phase
        )


def key_of(job: Job, member: Member) -> str:
    """Names a member's run, as the job's uid does the job's."""
    return f"{job.uid}/m{member.index}"


def shows_end_of(job: Job, runs: Mapping[str, Run]) -> bool:
    """Whether nothing of a job is left to write: of its runs, all or some may have been deleted."""
    its = runs.get(job.uid)
    if its is None or not its.shows_end_of(job, end_of(job)):
        return False
    members = [runs.get(key_of(job, member)) for member in job.members if member.attempt > 0]
    return all(run is not None and run.said.get(PARENT_TAG) == its.id for run in members)


def condition_tags(it: Job | Member) -> dict[str, str]:
    """What tags say of a job's or a member's phase, and why it is in it."""
    return {
        "phase": str(it.phase),
        "reason": str(it.reason),
        "message": it.message,
        "blame": it.blame or "",
    }


def attempt_tags(member: Member) -> dict[str, str]:
    """What tags say of a member's last attempt."""
    return {
        "attempt": str(member.attempt),
        "slot": member.slot or "",
        "node": member.node or "",
        "started_at": f"{member.started_at or 0:.3f}",
        "ended_at": f"{member.ended_at:.3f}" if member.ended_at else "",
    }


def end_of(job: Job) -> float:
    """When it ended; one that never started ended when it was submitted."""
    return job.ended_at or job.submitted_at
