"""A training of team code in a real sandbox, and what hostile code is made of."""

import textwrap
from typing import Any

import pytest

from jobs.custom.parent import train_custom
from jobs.custom.sandbox import unavailable
from jobs.errors import JobsError
from jobs.images import LabelledImages
from jobs.plan import CustomPlan, EpochReport, MemberPlan, SandboxRules
from jobs.train import MemberResult

MISSING = unavailable(SandboxRules())
needs_sandbox = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
NETWORK = """
from torch import nn
def build_model(num_classes, size_px):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes))
"""
# Ours shares its process: what it may write to the channel, so may a team.
FORGED = """
import json, os, time
import numpy as np
def send(kind, fields=(), blobs=()):
    head = dict(fields, kind=kind, sizes=[len(blob) for blob in blobs])
    os.write(3, json.dumps(head).encode() + b"\\n" + b"".join(blobs))
epoch = dict(epoch=1, train_loss=1.0, train_accuracy=0.5, learning_rate=0.1,
             images_per_second=1.0, seconds=1.0)
probs = np.full((15, 3), 1 / 3, np.float32)
def augment(images, generator):
    return images
"""
FIRST = FORGED.count("\n") + 1  # the number of a line put behind it


class Attempt:
    """One training of a file, and what came of it."""

    def __init__(self, plan: MemberPlan, data: LabelledImages) -> None:
        self.plan, self.data = plan, data
        self.reports: list[EpochReport] = []
        self.said: list[str] = []
        self.printed = b""

    def train(self, source: str, epochs: int = 1, **limits: Any) -> MemberResult:
        names = ("build_model", "build_loss", "augment")
        source = textwrap.dedent(source)
        defines = tuple(name for name in names if f"def {name}(" in source)
        custom = CustomPlan(file="net.py", source=source, defines=defines)
        plan = self.plan.model_copy(update={"custom": custom, "epochs": epochs})

        def output(some: bytes) -> None:
            self.printed += some

        rules = SandboxRules(**limits)
        report, say = self.reports.append, self.said.append
        return train_custom(plan, self.data, report, None, None, None, say, rules, output)

    def failure(self, source: str, **limits: Any) -> JobsError:
        with pytest.raises(JobsError) as caught:
            self.train(source, **limits)
        return caught.value
