"""What a training is handed and what it hands back, as plain values that cross processes.

In: a teacher's weights or answers, a trained network's weights and predictions. Out: the same, for
`jobs.train` and for whoever deals with its results. This module needs no torch, whose import takes
seconds of a processor: the controller handles these values and computes nothing with them.
"""

from dataclasses import dataclass, field

import numpy as np

from jobs.plan import SandboxRules, TeacherSpec


@dataclass(frozen=True)
class MemberResult:
    """A trained member, as it is after its last epoch."""

    weights: bytes  # the model's state dict, safetensors
    val_probs: np.ndarray  # (N_val, C) float32, in the order of Split.validation


@dataclass(frozen=True)
class Teaching:
    """What a student's slot is given of its teacher."""

    spec: TeacherSpec
    weights: bytes  # the state dict in float32, safetensors
    logits: np.ndarray | None = None  # (N, C) float32, of the whole training part, unaugmented


@dataclass(frozen=True)
class Place:
    """Where an attempt keeps what outlives it: absolute paths of files, in folders yet to be made.

    Every node that members train on has to see them, on a shared disk where there are several, or
    in an object store: then these are URIs.
    """

    checkpoint: str
    """Written after every epoch; the next attempt of the member goes on from it."""
    log: str
    """What the attempt has to say."""
    sandbox: SandboxRules = field(default_factory=SandboxRules)
    """What a team's own code may use, where the plan has any."""
