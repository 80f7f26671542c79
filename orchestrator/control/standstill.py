"""Time in which jobs stood still although they held slots: it is no team's.

In: seconds that the machine slept, by `sleep`, and of slots which of them wait for their workers.
Out: the jobs in the store as if they had begun so much later. Next on the path: `lifecycle`, which
judges deadlines by that time, and the queue, which shares out slots by it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator import lifecycle
from orchestrator.control.recorder import Recorder
from orchestrator.control.sleep import Sleep
from orchestrator.schedule import SlotState
from orchestrator.state import Job
from orchestrator.store import Ledger


@dataclass
class Standstill:
    """Accounts for it, in the ledger and in what `recorder` has still to write."""

    ledger: Ledger
    recorder: Recorder
    clock: Callable[[], float]
    sleep: Sleep
    _waited: frozenset[int] = field(default=frozenset(), init=False)
    """Jobs with a member that waited for its workers when it was looked last."""

    def now(self) -> float:
        """The time by which jobs run: without what was slept and is not accounted for yet."""
        return self.clock() - self.sleep.unaccounted_s()

    def account(self, jobs: Mapping[int, Job], slots: Sequence[SlotState]) -> Iterator[Job]:
        """Gives each job that changed by it.

        Raises `StoreError` where the store does not take it; the next time makes up for it.
        """
        if seconds := self.sleep.unaccounted_s():
            on_slots = {k: job for k, job in jobs.items() if job.active_since is not None}
            later = {k: lifecycle.begun_later(job, seconds) for k, job in on_slots.items()}
            yield from self.ledger.stood_still(later)
            self.recorder.begun_later(seconds)
            self.sleep.account_for(seconds)
        waiting = {slot.busy_with for slot in slots if slot.busy_with and not slot.begun}
        wait = frozenset(key.job_id for key in waiting)
        if looked_at := wait | self._waited:
            indices = {k: {key.index for key in waiting if key.job_id == k} for k in looked_at}
            now = self.clock()
            later = {k: lifecycle.waited(jobs[k], indices[k], now) for k in looked_at}
            yield from self.ledger.stood_still(later)
            self._waited = wait
