"""torch's optimizers, without loading torch's compiler.

In: parameters and the settings of `torch.optim.SGD` or `torch.optim.LBFGS`. Out: the same steps, to
the bit. `jobs.train` takes the ones, `jobs.stacking` the others; nothing is compiled here.

An optimizer's methods are wrapped in calls of torch._dynamo, so the first of them imports it: one
to three seconds of processor time and 84 MB that every slot would pay before its first step, and a
controller with its first stacked job (torch 2.15). Below are the same methods without wrappers.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _Unwrapped(torch.optim.Optimizer):
    """What all optimizers have in common."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with settings of their own."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        inspect.unwrap(torch.optim.Optimizer.zero_grad)(self, set_to_none)


class Descent(_Unwrapped, torch.optim.SGD):
    """Stochastic gradient descent with momentum and weight decay; hooks on steps are called."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step along the gradients."""
        inspect.unwrap(torch.optim.SGD.step)(self, closure)


class QuasiNewton(_Unwrapped, torch.optim.LBFGS):
    """L-BFGS, for smooth functions of few parameters."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> None:  # type: ignore[override]
        """Minimise what `closure` computes, with its gradients, as far as the settings say."""
        inspect.unwrap(torch.optim.LBFGS.step)(self, closure)
