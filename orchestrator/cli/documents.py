"""Jobs and events as `-o json` has them: keys that stay.

In: values of the store. Out: what JSON is made of. Used by `get` and `describe`.
"""

from typing import Any

from orchestrator.forecasting.outlook import Outlook
from orchestrator.state import Event, Job


def event_document(event: Event, cohort: str) -> dict[str, Any]:
    """An event in the form of `-o json`; times in seconds since 1970."""
    keys = ["id", "at", "kind", "team", "revision", "member", "reason", "message"]
    return {"cohort": cohort, **{key: getattr(event, key) for key in keys}}


def job_document(job: Job, outlook: Outlook, until: float) -> dict[str, Any]:
    """A job in the form of `-o json`; times in seconds since 1970, spans in seconds.

    `until` is the moment to which the spans of what goes on are known.
    """
    return {
        "cohort": job.cohort,
        "team": job.team,
        "revision": job.revision,
        "phase": job.phase,
        "reason": job.reason,
        "message": job.message,
        "blame": job.blame,
        "priority": job.priority,
        "suspended": job.suspended,
        "position": outlook.positions.get(job.id),
        "expected_finish": outlook.finish.get(job.id),
        "val_accuracy": job.val_accuracy,
        "spent_bnn": job.spent_bnn,
        "num_members": len(job.members),
        "members_trained": job.members_trained,
        "min_members": job.min_members,
        "submitted_at": job.submitted_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "active_seconds": job.active_seconds_at(until),
        "slot_seconds": job.slot_seconds_at(until),
        "members": [
            {
                "index": member.index,
                "phase": member.phase,
                "reason": member.reason,
                "message": member.message,
                "blame": member.blame,
                "attempt": member.attempt,
                "team_failures": member.team_failures,
                "cluster_failures": member.cluster_failures,
                "not_before": member.not_before,
                "slot": member.slot,
                "node": member.node,
                "started_at": member.started_at,
                "ended_at": member.ended_at,
                "epoch": member.epoch,
                "epochs": member.epochs,
                "val_accuracy": member.val_accuracy,
            }
            for member in job.members
        ],
    }
