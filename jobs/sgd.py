"""torch's gradient descent, without loading torch's compiler.

In: parameters and the settings of `torch.optim.SGD`. Out: the same steps, to the bit. Used by
`jobs.train`; nothing is compiled here.

An optimizer's methods are wrapped in calls of torch._dynamo, so the first of them imports it: one
to three seconds of processor time and 84 MB that every slot would pay before its first step (torch
2.15). Below are the same methods without wrappers.
"""

import inspect
from typing import Any

import torch


class PlainSGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum and weight decay; hooks on steps are called."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        inspect.unwrap(torch.optim.Optimizer.zero_grad)(self, set_to_none)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients."""
        inspect.unwrap(torch.optim.SGD.step)(self, closure)
