"""Who won: jobs and scores in one ranking.

In: the jobs of a cohort and its score book. Out: rows in order, ready for a table or for JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.phases import Phase
from orchestrator.results.scorebook import ScoreBook, TeamScore
from orchestrator.state import Job, newest_revisions, withdrawn


@dataclass(frozen=True)
class Row:
    """A team's place. Without a score it has no rank."""

    rank: int | None
    team: str
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    macro_recall: float | None
    spent_bnn: float
    num_members: int
    num_members_trained: int
    """Fewer where the job succeeded without members that were lost."""
    phase: Phase

    @property
    def degraded(self) -> bool:
        """Whether its network has fewer members than the team bought."""
        network = self.accuracy is not None or self.phase is Phase.SUCCEEDED
        return network and self.num_members_trained < self.num_members


@dataclass(frozen=True)
class Leaderboard:
    """The ranking of a cohort."""

    cohort: str
    test_images: int
    test_images_left_out: int
    published: bool
    rows: tuple[Row, ...]
    num_unscored: int
    """Teams whose newest job has succeeded and has no score."""

    def to_dict(self) -> dict[str, Any]:
        """The form of `-o json`."""
        return asdict(self)


def standing(jobs: Sequence[Job], accuracies: Mapping[str, float], published: bool) -> list[Job]:
    """The job of each team that is ranked, the best first; accuracies go by uid.

    That is a team's newest job, if it has an accuracy. What was `published` stands until it is
    published again: there it is the newest one that has an accuracy, whatever a team has handed in
    since. Teams that were withdrawn have none. Equal accuracies go to the team that spent less,
    then to the earlier submission.
    """
    newest = newest_revisions(jobs)
    if published:
        out = withdrawn(jobs)
        scored = [j for j in jobs if j.uid in accuracies and j.revision > out.get(j.team, 0)]
        newest = list({j.team: j for j in sorted(scored, key=lambda j: j.revision)}.values())
    ranked = [job for job in newest if job.uid in accuracies]
    return sorted(ranked, key=lambda j: (-accuracies[j.uid], j.spent_bnn, j.submitted_at))


def scored(jobs: Sequence[Job], book: ScoreBook) -> list[tuple[Job, TeamScore]]:
    """The jobs that are ranked, with their scores, the best first."""
    scores = {score.job: score for score in book.scores}
    accuracies = {uid: score.accuracy for uid, score in scores.items()}
    ranked = standing(jobs, accuracies, book.published)
    return [(job, scores[job.uid]) for job in ranked]


def unranked(jobs: Sequence[Job], ranked: Sequence[Job]) -> list[Job]:
    """The newest job of each team that is not among the ranked.

    By validation accuracy, those without one last; equal ones by name.
    """
    teams = {job.team for job in ranked}
    rest = [job for job in newest_revisions(jobs) if job.team not in teams]
    return sorted(rest, key=lambda j: (j.val_accuracy is None, -(j.val_accuracy or 0), j.team))


def unscored(jobs: Sequence[Job], book: ScoreBook | None) -> list[Job]:
    """The newest job of each team that has a network, but no score of it, as by `unranked`."""
    succeeded = [job for job in unranked(jobs, ()) if job.phase is Phase.SUCCEEDED]
    return [job for job in succeeded if book is None or book.find(job) is None]


def leaderboard(jobs: Sequence[Job], book: ScoreBook) -> Leaderboard:
    """Ranks by test accuracy, then by fewer nuggets spent, then by earlier submission.

    Teams whose newest job has no score stand below, as `unranked` has them.
    """
    ranked = scored(jobs, book)
    rows = [
        Row(
            rank,
            job.team,
            found.accuracy,
            found.accuracy_low,
            found.accuracy_high,
            found.macro_recall,
            job.spent_bnn,
            len(job.members),
            job.members_trained,
            job.phase,
        )
        for rank, (job, found) in enumerate(ranked, start=1)
    ]
    rows += [
        Row(
            None, job.team, None, None, None, None, job.spent_bnn,
            len(job.members), job.members_trained, job.phase,
        )
        for job in unranked(jobs, [job for job, _ in ranked])
    ]  # fmt: skip
    return Leaderboard(
        book.cohort,
        book.test_images,
        book.test_images_left_out,
        book.published,
        tuple(rows),
        len(unscored(jobs, book)),
    )
