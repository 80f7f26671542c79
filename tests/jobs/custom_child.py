"""The child of a sandbox, in a plain process or a thread, and the other side that talks with it."""

import json
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jobs.custom.child import serve
from jobs.custom.frames import CHANNEL_FD, Channel, Frame, share
from jobs.images import LabelledImages
from jobs.plan import CustomPlan, EpochReport, MemberPlan
from jobs.rates import Plateau
from jobs.split import split_images
from jobs.teacher import Teaching
from jobs.train import MemberResult
from jobs.training_io import EpochTrained

REPOSITORY = Path(__file__).parents[2]
RUN = """
import os, sys
os.dup2(int(sys.argv.pop()), 3)
sys.path.insert(0, sys.argv.pop())
from jobs.custom.child import main
main()
"""
LARGEST_BLOB = 64 << 20
# A file that builds the plan's own network: with it, the bits are those of the plan without a file.
MONKEY = """
from jobs.monkeynet import build_model as monkeynet
from jobs.plan import ModelPlan

def build_model(num_classes, size_px):
    return monkeynet(ModelPlan(dropout=0.2), num_classes, size_px)
"""
# Every random state that team code may use, a weight used twice, and running means.
RANDOM = """
import random
import numpy as np
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, size_px):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3 * size_px**2, num_classes)

    def forward(self, images):
        features = self.second(torch.relu(self.first(images)))
        features = self.norm(features).flatten(1)
        return self.head(nn.functional.dropout(features, 0.1, self.training))

def build_model(num_classes, size_px):
    return Net(num_classes, size_px)

def build_loss(class_weights):
    smoothed = nn.CrossEntropyLoss(class_weights, label_smoothing=0.1)
    return lambda logits, targets: smoothed(logits, targets) * (1 + 0.1 * random.random())

def augment(images, generator):
    noise = torch.rand(images.shape, generator=generator)
    return images + 0.05 * noise + 0.01 * float(np.random.rand()) + 0.01 * torch.rand(1)
"""


def with_code(plan: MemberPlan, source: str, **changes: Any) -> MemberPlan:
    names = ("build_model", "build_loss", "augment")
    defines = tuple(name for name in names if f"def {name}(" in source)
    custom = CustomPlan(file="net.py", source=source, defines=defines)
    return plan.model_copy(update={"custom": custom, **changes})


class Process:
    """A child in a process of its own, with nothing of this one's environment."""

    def __init__(self, arrays: dict[str, np.ndarray], limits: dict[str, int] | None = None) -> None:
        self.shared = {name: share(array) for name, array in arrays.items()}
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours, LARGEST_BLOB)
        descriptors = [theirs.fileno(), *(array.fd for array in self.shared.values())]
        assert CHANNEL_FD not in descriptors
        given = [] if limits is None else [json.dumps(limits)]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", RUN, *given, str(REPOSITORY), str(theirs.fileno())],
            pass_fds=descriptors, env={}, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        theirs.close()
        self.arrays = {name: array.described() for name, array in self.shared.items()}

    def __enter__(self) -> "Process":
        assert self.channel.receive().kind == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.channel.close()
        for array in self.shared.values():
            array.close()

    def end(self) -> int:
        """Kill it if it runs; its exit status."""
        assert self.process.stdout is not None
        self.process.kill()
        self.process.stdout.close()
        return self.process.wait()


class InThread:
    """A child in this process: quick, and good for whatever does not end it."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours, LARGEST_BLOB)
        # The child closes the descriptors that it has mapped: here they are its own.
        self.arrays = {name: share(array).described() for name, array in arrays.items()}
        self.thread = threading.Thread(target=self._serve, args=(Channel(theirs, LARGEST_BLOB),))

    @staticmethod
    def _serve(channel: Channel) -> None:
        with suppress(EOFError, ConnectionError):
            serve(channel)
        channel.close()

    def __enter__(self) -> "InThread":
        self.thread.start()
        assert self.channel.receive().kind == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self.thread.join()


@dataclass
class Told:
    """What a training told, judged as the other side judges it."""

    reports: list[EpochReport] = field(default_factory=list)
    checkpoint: bytes = b""
    lines: list[str] = field(default_factory=list)
    end: Frame | None = None
    plateau: Plateau = field(default_factory=Plateau)

    def result(self, num_val: int) -> MemberResult:
        assert self.end is not None
        assert self.end.kind == "done", self.end.fields
        weights, probs = self.end.blobs
        return MemberResult(weights, np.frombuffer(probs, "<f4").reshape(num_val, -1))


class ChildTraining:
    """What the other side has, and how it talks with a child about it."""

    def __init__(
        self, plan: MemberPlan, data: LabelledImages, teaching: Teaching | None = None
    ) -> None:
        split = split_images(data.labels, data.groups, plan.data)
        self.plan, self.teaching = plan, teaching
        self.val_labels = data.labels[split.validation]
        self.arrays = {
            "images": data.images[split.train],
            "labels": data.labels[split.train],
            "val_images": data.images[split.validation],
        }
        if teaching is not None and teaching.logits is not None:
            self.arrays["teacher_logits"] = teaching.logits[split.train]

    def run(self, num_epochs: int = 1000, before: Told | None = None) -> Told:
        """A whole conversation with a child in a thread."""
        with InThread(self.arrays) as child:
            self.order(child.channel, child.arrays, before)
            return self.hear(child.channel, num_epochs, before)

    def order(self, channel: Channel, arrays: dict[str, Any], before: Told | None = None) -> None:
        blobs = [before.checkpoint] if before else []
        if self.teaching is not None:
            blobs = [*(blobs or [b""]), self.teaching.weights]
        fields = {
            "plan": self.plan.model_dump(mode="json"),
            "arrays": arrays,
            "teacher": self.teaching and self.teaching.spec.model_dump(mode="json"),
            "epochs": len(before.reports) if before else 0,
            "drops": before.plateau.num_drops if before else 0,
        }
        channel.send("train", fields, blobs)

    def hear(self, channel: Channel, num_epochs: int = 1000, before: Told | None = None) -> Told:
        """Answer until the end, or until so many epochs have been sent and judged."""
        told = Told(plateau=before.plateau if before else Plateau())
        while True:
            frame = channel.receive()
            if frame.kind == "say":
                told.lines.append(frame.fields["line"])
            elif frame.kind != "epoch":
                told.end = frame
                return told
            else:
                told.reports.append(self._judged(frame))
                val_loss = told.reports[-1].val_loss
                told.plateau = told.plateau.after(val_loss, self.plan.schedule)
                told.checkpoint = frame.blobs[1]
                if len(told.reports) == num_epochs:
                    return told
                channel.send("judged", {"drops": told.plateau.num_drops})

    def _judged(self, frame: Frame) -> EpochReport:
        probs = np.frombuffer(frame.blobs[0], "<f4").reshape(len(self.val_labels), -1)
        of_truth = probs[np.arange(len(probs)), self.val_labels]
        loss = -float(np.log(of_truth.clip(1e-12)).mean())
        accuracy = torch.from_numpy(probs.argmax(axis=1) == self.val_labels).float().mean().item()
        return EpochTrained(**frame.fields).judged(loss, accuracy)


def train(plan: MemberPlan, data: LabelledImages, teaching: Teaching | None = None) -> Told:
    return ChildTraining(plan, data, teaching).run()
