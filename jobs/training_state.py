"""Everything that changes while a member trains, as one value.

In: a `MemberPlan`. Out: a `TrainingState` at its start; `jobs.train` moves it on, step by step.
Between two epochs it can be taken apart into tensors and plain values, which `jobs.checkpoint`
keeps in a file, and put together again: what follows then has the same bits.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jobs.monkeynet import build_model
from jobs.plan import EpochReport, MemberPlan
from jobs.rates import Plateau
from jobs.sgd import PlainSGD


@dataclass
class TrainingState:
    """A member between two steps; torch's global random state, which dropout uses, belongs to it.

    The learning rate does not: it is a function of plan, step and plateau.
    """

    device: str
    model: nn.Module
    optimizer: torch.optim.SGD
    shuffling: torch.Generator
    augmenting: torch.Generator
    mixing: np.random.Generator
    step: int = 0  # steps done
    plateau: Plateau = field(default_factory=Plateau)
    history: list[EpochReport] = field(default_factory=list)  # one for each whole epoch

    @classmethod
    def start(
        cls,
        plan: MemberPlan,
        shuffle_seed: int,
        augment_seed: int,
        mixup_seed: int,
        model: nn.Module | None = None,
    ) -> "TrainingState":
        """Return the state before the first step; weights come from torch's global random state.

        `model` is the network to train; None: the plan's own.
        """
        if model is None:
            model = build_model(plan.model, len(plan.data.classes), plan.data.image_size_px)
        model = model.to(plan.device)
        return cls(
            device=plan.device,
            model=model,
            optimizer=PlainSGD(
                model.parameters(),
                lr=plan.optimizer.learning_rate,
                momentum=plan.optimizer.momentum,
                weight_decay=plan.optimizer.weight_decay,
            ),
            shuffling=torch.Generator().manual_seed(shuffle_seed),
            augmenting=torch.Generator().manual_seed(augment_seed),
            mixing=np.random.Generator(np.random.PCG64(mixup_seed)),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, momentum and torch's random states by name, in memory of their own.

        All are on the CPU and contiguous: a team's network may share one weight between layers, or
        hold it in another layout, neither of which safetensors takes.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            momentum = self.optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
        tensors["random.shuffling"] = self.shuffling.get_state()
        tensors["random.augmenting"] = self.augmenting.get_state()
        tensors["random.global"] = torch.default_generator.get_state()
        if self.device == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        return own(tensors)

    def values(self) -> dict[str, Any]:
        """Return the rest as plain values, which JSON keeps exactly."""
        return {
            "step": self.step,
            "plateau": asdict(self.plateau),
            "mixing": self.mixing.bit_generator.state,
            "history": [report.model_dump() for report in self.history],
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Become the state that `tensors()` and `values()` were taken from.

        Raises:
            ValueError, TypeError, KeyError, RuntimeError: they are not of such a network and
                optimizer, or no random states; the state is as it was.
        """
        # What can fail comes first, on objects of its own.
        self._check_fits(tensors)
        step, plateau = int(values["step"]), Plateau(**values["plateau"])
        history = [EpochReport.model_validate(report) for report in values["history"]]
        mixing = np.random.Generator(np.random.PCG64())
        mixing.bit_generator.state = values["mixing"]
        shuffling, augmenting, dropping = (
            _generator(tensors[f"random.{name}"]) for name in ("shuffling", "augmenting", "global")
        )
        momenta = {
            parameter: torch.empty_like(parameter, requires_grad=False)
            for name, parameter in self.model.named_parameters()
            if f"momentum.{name}" in tensors
        }

        self.step, self.plateau, self.history = step, plateau, history
        self.shuffling, self.augmenting, self.mixing = shuffling, augmenting, mixing
        torch.default_generator.set_state(dropping.get_state())
        if self.device == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"])
        self.model.load_state_dict(
            {name: tensors[f"model.{name}"] for name in self.model.state_dict()}
        )
        for name, parameter in self.model.named_parameters():
            if parameter in momenta:
                momentum = momenta[parameter].copy_(tensors[f"momentum.{name}"])
                self.optimizer.state[parameter]["momentum_buffer"] = momentum

    def _check_fits(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise ValueError for other tensors; a weight without gradients so far has no momentum."""
        wanted = _kinds(self.tensors())
        if self.optimizer.param_groups[0]["momentum"] > 0:
            momenta = {f"momentum.{name}": p for name, p in self.model.named_parameters()}
            wanted |= _kinds({name: p for name, p in momenta.items() if name in tensors})
        if wanted != _kinds(tensors):
            raise ValueError("these are the tensors of another network or optimizer")


def own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the CPU, contiguous, each into memory that it shares with no other."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in tensors.items()}


def _generator(state: Tensor) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(state)
    return generator
