"""Time in which jobs stood still although they held slots: it is no team's.

In: seconds that the machine slept, by `sleep`, and of slots which of them wait for their workers.
Out: the jobs in the store as if they had begun so much later. Next on the path: `lifecycle`, which
judges deadlines by that time, and the queue, which shares out slots by it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator import lifecycle
from orchestrator.control.recorder import Recorder
from orchestrator.control.sleep import Sleep
from orchestrator.schedule import SlotState
from orchestrator.state import Job, MemberKey
from orchestrator.store import Ledger

TELL_EVERY_S = 5.0
"""How often the store is told of those that wait; it is when one has begun or ended, too."""


@dataclass
class Standstill:
    """Accounts for it, in the ledger and in what `recorder` has still to write."""

    ledger: Ledger
    recorder: Recorder
    clock: Callable[[], float]
    sleep: Sleep
    _until: dict[MemberKey, float] = field(default_factory=dict, init=False)
    """Until when members have waited, those that the store does not know to have begun."""
    _waiting: frozenset[MemberKey] = field(default=frozenset(), init=False)
    """Those that wait."""
    _told_at: float = field(default=float("-inf"), init=False)

    def now(self) -> float:
        """The time by which jobs run: without what was slept and is not accounted for yet."""
        return self.clock() - self.sleep.unaccounted_s()

    def account(self, jobs: Mapping[int, Job], slots: Sequence[SlotState]) -> tuple[Job, ...]:
        """Returns the jobs that changed by it.

        Raises `StoreError` where the store does not take it; the next time makes up for it.
        """
        changed: tuple[Job, ...] = ()
        if seconds := self.sleep.unaccounted_s():
            on_slots = {k: job for k, job in jobs.items() if job.active_since is not None}
            changed = self.ledger.stood_still(on_slots, seconds)
            self.recorder.begun_later(seconds)
            self.sleep.account_for(seconds)
        now = self.clock()
        self._waiting = frozenset(s.busy_with for s in slots if s.busy_with and not s.begun)
        self._until.update((key, now) for key in self._waiting)
        if not self._until:
            return changed
        ended = self._until.keys() - self._waiting
        late = not self._told_at <= now < self._told_at + TELL_EVERY_S
        if ended or late or self.recorder.pending():
            changed += self.ledger.waited(self._until, self._waiting)
            self._told_at = now
            for key in ended:
                del self._until[key]
        return changed

    def as_told(self, job: Job) -> Job:
        """The job with what the store was not told yet of members that wait."""
        return lifecycle.waited(job, self._until, ()).job if self._until else job
