"""Several processes that train one member together, step by step.

In: torch's process group, which whoever started the processes has made (Ray Train, say), and each
worker's gradients. Out: their sum, which makes every worker take the same step; and what the first
worker alone does, told to all. `jobs.train` asks here; `jobs.epoch_plan` says who does which
images.

The gradient is that of the whole batch. torch's DistributedDataParallel takes the mean of the
workers' means instead, which is another number where parts are uneven or classes count differently;
after its first step it also groups gradients anew, so that a training that was resumed would add
them in another order than one that was not. Here all gradients travel as one vector and are added
in the order of the workers, whatever connects them: the same plan gives the same bits.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn

from jobs.errors import JobsError, WorkerLost
from jobs.plan import MemberPlan

T = TypeVar("T")


@dataclass(frozen=True)
class Workers:
    """One of the workers, and how many there are. A worker alone talks to nobody."""

    rank: int = 0
    num_workers: int = 1

    @classmethod
    def of(cls, plan: MemberPlan) -> "Workers":
        """Return this process's place among the plan's workers.

        Raises:
            ValueError: the process group is of another size than the plan says.
        """
        is_one_of_many = distributed.is_available() and distributed.is_initialized()
        num_there = distributed.get_world_size() if is_one_of_many else 1
        if num_there != plan.workers:
            raise ValueError(
                f"the plan's number of workers is {plan.workers}, and the process group's is "
                f"{num_there}: start as many processes as the plan says"
            )
        return cls(distributed.get_rank() if is_one_of_many else 0, num_there)

    @property
    def alone(self) -> bool:
        """Whether there is one worker only."""
        return self.num_workers == 1

    def seed_dropout(self, seed: int, epoch: int, device: str) -> None:
        """Give each of several workers masks of its own for an epoch, from torch's global state."""
        if self.alone:
            return
        state = np.random.SeedSequence([seed, epoch, self.rank]).generate_state(1, np.uint64)
        torch.default_generator.manual_seed(int(state[0]))
        if device == "cuda":
            torch.cuda.manual_seed(int(state[0]))

    def add_up(self, parameters: Iterable[nn.Parameter], values: Tensor) -> Tensor:
        """Give every parameter the sum of all workers' gradients.

        Args:
            parameters: the same for all workers; one without a gradient counts as 0.
            values: (k,) float32, to be summed on the way.

        Returns:
            the sums (k,) of `values`.

        Raises:
            WorkerLost: another worker cannot be reached.
        """
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        own = torch.cat([*(gradient.reshape(-1) for gradient in gradients), values])
        everyones = [torch.empty_like(own) for _ in range(self.num_workers)]
        with self._together():
            distributed.all_gather(everyones, own)
        total, *others = everyones
        for other in others:
            total += other
        start = 0
        for parameter in trained:
            stop = start + parameter.numel()
            parameter.grad = total[start:stop].view_as(parameter)
            start = stop
        return total[start:]

    def by_first(self, act: Callable[[], T]) -> T:
        """Return to all workers what `act` returns to the first one, which alone calls it.

        What it raises on purpose, a `JobsError`, all of them raise.

        Raises:
            WorkerLost: another worker cannot be reached.
        """
        if self.alone:
            return act()
        outcome: list[Any] = [None]
        if self.rank == 0:
            try:
                outcome = [act()]
            except JobsError as error:
                outcome = [error]
        with self._together():
            distributed.broadcast_object_list(outcome, src=0)
        if isinstance(outcome[0], JobsError):
            raise outcome[0]
        return cast(T, outcome[0])

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # of the process group, whichever library it is made by
            raise WorkerLost(self.rank, self.num_workers, str(error).partition("\n")[0]) from error
