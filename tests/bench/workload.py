"""Random cohorts for the simulation: teams, jobs, lengths of members, and what people do meanwhile.

In: numbers of teams and members, a seed. Out: a `FakeCluster` with everything on its way into it.
A static cohort hands in everything at the start. In a late one teams come at any time, hand in
another revision while the last is live or after it has ended, and the organizer cancels, suspends,
resumes, retries and gives priorities. Used by `simulate`.
"""

import random

from orchestrator import operations
from orchestrator.admission.cohort import Cohort, CohortSpec
from orchestrator.fair_queue import Policy
from orchestrator.phases import Phase, Reason
from orchestrator.state import Job, Member, MemberKey
from tests.bench.fake_cluster import FakeCluster, Odds

ODDS = Odds(team=0.01, cluster=0.03)
MEDIAN_EPOCH_S, SPREAD = 6.0, 0.7
"""Of the log-normal distribution of the seconds of an epoch."""
SLOWEST_EPOCH_S = 60.0


class Workload:
    """Hands a random cohort in to a cluster: `num_members` members, over all revisions."""

    def __init__(
        self,
        num_teams: int,
        num_members: int,
        num_slots: int,
        policy: Policy,
        seed: int,
        late: bool,
    ) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._num_left = num_members
        self._late = late
        self._num_jobs = 0
        self.epoch_s: dict[MemberKey, float] = {}
        num_starts = max(1, num_teams // 40)
        rules = {"retry": {"backoffLimit": 1}, "queue": {"policy": policy, "maxWaitSeconds": 1e9}}
        self.spec: CohortSpec = Cohort.model_validate({"spec": rules}).spec
        self.cluster = FakeCluster(
            self.spec, num_slots, self.epoch_s, ODDS, seed, fairness_every=num_starts
        )
        self.cluster.on_end = self._ended
        # In a late cohort half of the members come with later revisions.
        num_first = max(num_teams, num_members // 2) if late else num_members
        self._sizes = range(1, max(2, round(2 * num_first / num_teams)))
        self._horizon_s = num_members / num_slots * 150.0
        for index, size in enumerate(self._first_sizes(num_teams, num_first)):
            is_late = late and index % 2 == 1
            at = self._random.uniform(0, self._horizon_s * 0.7) if is_late else 0.0
            self._hand_in(f"team-{index}", size, at)
        self.cluster.at(self._horizon_s * 0.3, self.cluster.restart)

    def _first_sizes(self, num_teams: int, num_members: int) -> list[int]:
        """Random numbers of members that add up."""
        sizes = [self._random.choice(self._sizes) for _ in range(num_teams)]
        while (too_many := sum(sizes) - num_members) != 0:
            step = -1 if too_many > 0 else 1
            for index in self._random.sample(range(num_teams), min(abs(too_many), num_teams)):
                sizes[index] = max(1, sizes[index] + step)
        return sizes

    def _hand_in(self, team: str, size: int, at: float) -> None:
        self._num_left -= size
        self.cluster.at(at, lambda: self._submit(team, size))

    def _job(self, team: str, revision: int, size: int) -> Job:
        self._num_jobs += 1
        job_id, now = self._num_jobs, self.cluster.now
        members = []
        for index in range(size):
            key, epochs = MemberKey(job_id, index), self._random.randint(5, 40)
            drawn_s = MEDIAN_EPOCH_S * self._random.lognormvariate(0, SPREAD)
            self.epoch_s[key] = min(drawn_s, SLOWEST_EPOCH_S)
            work = epochs * self.epoch_s[key]
            members.append(
                Member(key, Phase.PENDING, Reason.QUEUED, "", None, work, "plain", epochs)
            )
        return Job(
            id=job_id, uid=str(job_id), cohort="c", team=team, revision=revision,
            phase=Phase.PENDING, reason=Reason.QUEUED, message="", blame=None, combine="mean",
            spent_bnn=0.0, submitted_at=now, members=tuple(members), queued_at=now,
            min_members=max(1, size - self._random.randint(0, 1)),
        )  # fmt: skip

    def _submit(self, team: str, size: int) -> None:
        last = self._newest(team)
        job = self._job(team, 1 if last is None else last.revision + 1, size)
        if last is not None and not last.phase.terminal:
            self.cluster.operation(operations.superseded(last, job.revision, self.cluster.now))
        self.cluster.submit(job)
        if self._late:
            self._plan_wishes(job)

    def _newest(self, team: str) -> Job | None:
        job_id = self.cluster.newest.get(team)
        return None if job_id is None else self.cluster.jobs[job_id]

    def _soon(self) -> float:
        return self.cluster.now + self._random.uniform(0, self._horizon_s / 4)

    # --- what people do ---------------------------------------------------------------------------

    def _plan_wishes(self, job: Job) -> None:
        drawn = self._random.random()
        if drawn < 0.05:
            self._again(job, self._soon())
        elif drawn < 0.10:
            self.cluster.at(self._soon(), lambda: self._cancel(job.id))
        elif drawn < 0.15:
            self.cluster.at(self._soon(), lambda: self._suspend(job.id))
        elif drawn < 0.20:
            priority = self._random.choice([50, 200, 400])
            self.cluster.at(self._soon(), lambda: self._prioritize(job.id, priority))

    def _again(self, job: Job, at: float) -> None:
        """The team hands in another revision."""
        if self._num_left > 0:
            size = min(self._random.choice(self._sizes), self._num_left)
            self._hand_in(job.team, size, at)

    def _ended(self, job: Job) -> None:
        if not self._late or job.phase is Phase.SUPERSEDED:
            return
        if job.phase is Phase.SUCCEEDED:
            self._again(job, self.cluster.now)
        elif self._random.random() < 0.5:
            self.cluster.at(self.cluster.now + 30.0, lambda: self._retry(job.id))

    def _live(self, job_id: int) -> Job | None:
        job = self.cluster.jobs[job_id]
        return None if job.phase.terminal else job

    def _cancel(self, job_id: int) -> None:
        if (job := self._live(job_id)) is not None:
            self.cluster.operation(operations.cancelled(job, self.cluster.now))

    def _suspend(self, job_id: int) -> None:
        if (job := self._live(job_id)) is not None:
            self.cluster.operation(operations.suspended(job))
            resume_at = self.cluster.now + self._random.choice([0.1, 60.0, 600.0])
            self.cluster.at(resume_at, lambda: self._resume(job_id))

    def _resume(self, job_id: int) -> None:
        if (job := self._live(job_id)) is not None:
            self.cluster.operation(operations.resumed(job, self.cluster.now))

    def _prioritize(self, job_id: int, priority: int) -> None:
        if (job := self._live(job_id)) is not None:
            self.cluster.operation(operations.prioritized(job, priority))

    def _retry(self, job_id: int) -> None:
        job = self.cluster.jobs[job_id]
        is_newest = self.cluster.newest[job.team] == job_id
        if is_newest and job.phase in (Phase.FAILED, Phase.CANCELLED):
            self.cluster.operation(operations.retried(job, self.cluster.now))


def useful_s(cluster: FakeCluster, epoch_s: dict[MemberKey, float]) -> list[float]:
    """Slot-seconds of each member in which whole epochs were trained, each counted once."""
    return [
        member.epoch * epoch_s[member.key]
        for job in cluster.jobs.values()
        for member in job.members
    ]
