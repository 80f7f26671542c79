"""Who won: jobs and scores in one ranking.

In: the jobs of a cohort and its score book. Out: rows in order, ready for a table or for JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from orchestrator.phases import Phase
from orchestrator.results.scorebook import ScoreBook, TeamScore
from orchestrator.state import Job, newest_revisions, withdrawn


@dataclass(frozen=True)
class Place:
    """A place in a ranking, which teams share that nothing tells apart: 1, 1=."""

    rank: int
    shared: bool

    def __str__(self) -> str:
        return f"{self.rank}=" if self.shared else str(self.rank)


@dataclass(frozen=True)
class Row:
    """A team's place. Without a score it has no rank."""

    rank: int | None
    shared: bool
    """Whether other teams have the same rank."""
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
    def place(self) -> str:
        """The rank as tables have it."""
        return "-" if self.rank is None else str(Place(self.rank, self.shared))

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
    newer: tuple[str, ...]
    """What ranked teams have handed in since, in words."""

    def to_dict(self) -> dict[str, Any]:
        """The form of `-o json`."""
        return asdict(self)


def standing(jobs: Sequence[Job], accuracies: Mapping[str, float], published: bool) -> list[Job]:
    """The job of each team that is ranked, the best first; accuracies go by uid.

    That is a team's newest job, if it has an accuracy. What was `published` stands until it is
    published again: there it is the newest one that has an accuracy, whatever a team has handed in
    since. Teams that were withdrawn have none. Equal accuracies go to the team that spent less,
    then to the earlier submission; who is level in that, too, shares a `place`, and comes in the
    order of the jobs.
    """
    newest = newest_revisions(jobs)
    if published:
        out = withdrawn(jobs)
        scored = [j for j in jobs if j.uid in accuracies and j.revision > out.get(j.team, 0)]
        newest = list({j.team: j for j in sorted(scored, key=lambda j: j.revision)}.values())
    ranked = [job for job in newest if job.uid in accuracies]
    return sorted(ranked, key=lambda j: _worth(j, accuracies))


def places(ranked: Sequence[Job], accuracies: Mapping[str, float]) -> list[Place]:
    """The place of each job in a `standing`, by standard competition ranking: 1, 1, 3."""
    found: list[Place] = []
    for _, group in groupby(ranked, key=lambda j: _worth(j, accuracies)):
        level = len(list(group))
        found += [Place(len(found) + 1, level > 1)] * level
    return found


def _worth(job: Job, accuracies: Mapping[str, float]) -> tuple[float, float, float]:
    """What teams are ranked by; the lowest is the best."""
    return (-accuracies[job.uid], job.spent_bnn, job.submitted_at)


def scored(jobs: Sequence[Job], book: ScoreBook) -> list[tuple[Job, TeamScore, Place]]:
    """The jobs that are ranked, with their scores and places, the best first."""
    scores = {score.job: score for score in book.scores}
    accuracies = {uid: score.accuracy for uid, score in scores.items()}
    ranked = standing(jobs, accuracies, book.published)
    found = places(ranked, accuracies)
    return [(job, scores[job.uid], place) for job, place in zip(ranked, found, strict=True)]


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

    Teams that are level in all three share a rank. Teams whose newest job has no score
    stand below, as `unranked` has them.
    """
    ranked = scored(jobs, book)
    rows = [
        Row(
            place.rank,
            place.shared,
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
        for job, found, place in ranked
    ]
    rows += [
        Row(
            None, False, job.team, None, None, None, None, job.spent_bnn,
            len(job.members), job.members_trained, job.phase,
        )
        for job in unranked(jobs, [job for job, _, _ in ranked])
    ]  # fmt: skip
    return Leaderboard(
        book.cohort,
        book.test_images,
        book.test_images_left_out,
        book.published,
        tuple(rows),
        len(unscored(jobs, book)),
        tuple(
            f"{job.team} r{job.revision} ({job.phase})"
            for job in newest_revisions(jobs)
            if job.team in {each.team for each, _, _ in ranked} and book.find(job) is None
        ),
    )
