"""The child of a sandbox, without a sandbox: a plain process, or a thread, behind a socket."""

import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from jobs.custom.child import seed_others, serve
from jobs.custom.frames import CHANNEL_FD, Channel, Frame, share
from jobs.custom.team_code import MODULE
from jobs.images import LabelledImages
from jobs.lessons import EpochTrained
from jobs.plan import (
    AugmentPlan,
    CustomPlan,
    DistillPlan,
    EpochReport,
    MemberPlan,
    ModelPlan,
    OptimizerPlan,
    SchedulePlan,
    TeacherSpec,
)
from jobs.rates import Plateau
from jobs.split import split_images
from jobs.teacher import Teaching, build_classifier, teacher_logits
from jobs.train import MemberResult, train_member
from tests.jobs.attempts import digest, history

pytestmark = pytest.mark.slow

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


def _with(plan: MemberPlan, source: str, **changes: Any) -> MemberPlan:
    names = ("build_model", "build_loss", "augment")
    defines = tuple(name for name in names if f"def {name}(" in source)
    custom = CustomPlan(file="net.py", source=source, defines=defines)
    return plan.model_copy(update={"custom": custom, **changes})


@pytest.fixture(autouse=True)
def _forget_the_module() -> Iterator[None]:
    states = random.getstate(), np.random.get_state()
    yield
    sys.modules.pop(MODULE, None)
    random.setstate(states[0])
    np.random.set_state(states[1])


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


class Lessons:
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


def _told(plan: MemberPlan, data: LabelledImages, teaching: Teaching | None = None) -> Told:
    return Lessons(plan, data, teaching).run()


def _failed(plan: MemberPlan, data: LabelledImages) -> dict[str, Any]:
    end = _told(plan, data).end
    assert end is not None
    assert end.kind == "failed"
    return end.fields


# --- the same bits -------------------------------------------------------------------------------

SPEC = TeacherSpec(sha256="0" * 64, image_size_px=16)
MIXED = AugmentPlan(rotate_degrees=15, flip_horizontal_p=0.2, erase_p=0.5, mixup_alpha=0.4)


@pytest.fixture(scope="module")
def teaching() -> Teaching:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(3)
        state = build_classifier("resnet18", 3).state_dict()
    return Teaching(SPEC, safetensors.torch.save(state))


@pytest.mark.parametrize("change", ["nothing more", "augmented", "taught", "taught by logits"])
def test_a_file_that_builds_our_network_gives_our_bits(plan, labelled, teaching, change):
    plan = plan.model_copy(update={"model": ModelPlan(dropout=0.2), "epochs": 2})
    given = None
    if change == "augmented":
        schedule = SchedulePlan(kind="one-cycle")
        plan = plan.model_copy(update={"augment": MIXED, "schedule": schedule})
    if change.startswith("taught"):
        plan = plan.model_copy(update={"distill": DistillPlan(teacher=SPEC)})
        given = teaching
    if change == "taught by logits":
        logits = teacher_logits(teaching, labelled.images, 3, 1)
        given = Teaching(SPEC, b"", logits)
    reports: list[EpochReport] = []
    expected = train_member(plan, labelled, reports.append, teaching=given)

    told = _told(_with(plan, MONKEY), labelled, given)
    assert digest(told.result(len(expected.val_probs))) == digest(expected)
    assert told.lines == []
    for said, report in zip(told.reports, reports, strict=True):
        judged = ("val_loss", "seconds", "images_per_second")
        assert said.model_dump(exclude={*judged}) == report.model_dump(exclude={*judged})
        assert said.val_loss == pytest.approx(report.val_loss, rel=1e-5)


def test_killed_after_an_epoch_and_resumed(plan, labelled):
    """In processes of their own: with every random state, a plateau, and the judgement missing."""
    schedule = SchedulePlan(kind="plateau", patience_epochs=0)
    fast = OptimizerPlan(learning_rate=0.2, momentum=0.9)
    plan = _with(plan, RANDOM, epochs=5, schedule=schedule, optimizer=fast)
    lessons = Lessons(plan, labelled)
    with Process(lessons.arrays) as child:
        lessons.order(child.channel, child.arrays)
        whole = lessons.hear(child.channel)
    rates = [report.learning_rate for report in whole.reports]
    assert rates[2] < rates[1]  # or the second epoch's judgement would decide nothing

    with Process(lessons.arrays) as child:
        lessons.order(child.channel, child.arrays)
        first = lessons.hear(child.channel, num_epochs=2)
        assert child.end() == -signal.SIGKILL
    with Process(lessons.arrays) as child:
        lessons.order(child.channel, child.arrays, first)
        rest = lessons.hear(child.channel, before=first)
    assert rest.lines == ["resumed after epoch 2 from the checkpoint"]
    assert history(first.reports + rest.reports) == history(whole.reports)
    num_val = len(lessons.val_labels)
    assert digest(rest.result(num_val)) == digest(whole.result(num_val))


def test_resumed_after_the_last_epoch(plan, labelled):
    lessons = Lessons(_with(plan, MONKEY), labelled)
    whole = lessons.run()
    again = lessons.run(before=whole)
    assert (again.reports, again.lines) == ([], ["resumed after epoch 3 from the checkpoint"])
    assert again.end == whole.end


def test_the_other_random_states_are_fixed_for_every_epoch():
    drawn = []
    for seed, epoch in ((1, 0), (1, 1), (2**62, 0), (1, 0)):
        seed_others(seed, epoch)
        drawn.append((random.random(), float(np.random.rand())))  # noqa: S311
    assert drawn[0] == drawn[-1]
    assert len({value for pair in drawn for value in pair}) == 6


# --- predictions ---------------------------------------------------------------------------------


def _predicted(plan: MemberPlan, images: np.ndarray, weights: bytes) -> Frame:
    with InThread({"images": images}) as child:
        fields = {"plan": plan.model_dump(mode="json"), "arrays": child.arrays}
        child.channel.send("predict", fields, [weights])
        return child.channel.receive()


@pytest.mark.parametrize("source", [RANDOM, "def augment(images, generator): return images"])
def test_weights_predict_what_they_predicted_in_training(plan, labelled, source):
    plan = _with(plan, source)
    lessons = Lessons(plan, labelled)
    trained = _told(plan, labelled).result(len(lessons.val_labels))
    answer = _predicted(plan, lessons.arrays["val_images"], trained.weights)
    assert answer.kind == "done"
    assert answer.blobs == (trained.val_probs.tobytes(),)


@pytest.mark.parametrize("weights", [b"", b"no safetensors at all", "of another network"])
def test_weights_that_do_not_fit(plan, labelled, weights):
    if isinstance(weights, str):
        weights = train_member(plan, labelled, lambda _: None).weights
    answer = _predicted(_with(plan, RANDOM), labelled.images[:3], weights)
    assert answer.kind == "failed"
    assert answer.fields["in"] == "build_model"
    assert "does not take the weights that it was trained to" in answer.fields["message"]


# --- failures ------------------------------------------------------------------------------------


def test_a_failure_in_a_later_epoch_names_the_line(plan, labelled, capfd):
    source = """
def augment(images, generator):
    augment.calls += 1
    if augment.calls == 9:
        raise ValueError(f"{augment.calls} is too many")
    return images

augment.calls = 0
"""
    told = _told(_with(plan, source), labelled)
    assert len(told.reports) == 1
    assert told.end is not None
    assert told.end.fields == {
        "error": "ValueError", "message": "9 is too many", "file": "net.py", "line": 5,
        "in": "augment", "diverged": None, "out_of_memory": False,
    }  # fmt: skip
    printed = capfd.readouterr().err
    assert 'File "net.py", line 5, in augment\n    raise ValueError(' in printed


NARROW = "assert len(images) < 3\n        features = self.second"
FAILURES = {
    "import": ("import nothing_of_this_name\ndef augment(a, b): ...", "ModuleNotFoundError", 1),
    "build_model": ("def build_model(classes, px):\n    raise SystemExit", "SystemExit", 2),
    "build_loss": ("def build_loss(weights):\n    return lambda a, b: a.shape[7]", "IndexError", 2),
    "augment": ("\n\ndef augment(images, generator):\n    return images[1:]", "TypeError", 3),
    "training": (RANDOM.replace("features = self.second", NARROW), "AssertionError", 16),
}


@pytest.mark.parametrize("where", FAILURES)
def test_failures_say_where(plan, labelled, where):
    source, error, line = FAILURES[where]
    failed = _failed(_with(plan, source), labelled)
    assert (failed["error"], failed["line"], failed["in"]) == (error, line, where)


def test_memory_that_is_not_there(plan, labelled):
    source = "import torch\n\ndef augment(images, generator):\n    return torch.empty(2**60)"
    failed = _failed(_with(plan, source), labelled)
    assert failed["out_of_memory"] is True
    assert failed["line"] == 4


def test_a_loss_that_is_no_number_is_divergence(plan, labelled):
    source = """
calls = []

def build_loss(class_weights):
    def loss(logits, targets):
        calls.append(1)
        return logits.sum() * (float("nan") if len(calls) == 3 else 1e-9)
    return loss
"""
    failed = _failed(_with(plan, source), labelled)
    assert failed["diverged"] == {"epoch": 1, "step": 3, "learning_rate": 0.05}
    assert failed["error"] == "Diverged"


def test_outputs_in_validation_that_are_no_numbers_are_divergence(plan, labelled):
    source = RANDOM.replace(
        "features = self.norm(features)",
        "features = self.norm(features / (1 if self.training or len(images) == 2 else 0))",
    )
    failed = _failed(_with(plan, source), labelled)
    assert failed["diverged"]["epoch"] == 1


def test_a_resumed_training_with_another_network(plan, labelled):
    lessons = Lessons(_with(plan, MONKEY), labelled)
    before = lessons.run(num_epochs=2)
    lessons.plan = _with(plan, RANDOM)
    told = lessons.run(before=before)
    assert told.end is not None
    assert told.end.kind == "failed"
    assert told.end.fields["in"] == "build_model"
    assert told.end.fields["message"].startswith(
        "after epoch 2 the training began anew, and this time build_model built another network"
    )


# --- the process ---------------------------------------------------------------------------------

HANGS = """
import os
import resource
import sys

print("limit", resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.get_inheritable(3))
print("modules", sorted(name for name in ("orchestrator", "ray", "mlflow") if name in sys.modules))

def augment(images, generator):
    print("hanging", flush=True)
    while True:
        pass
"""


def test_a_process_says_where_it_hangs_and_keeps_its_limits(plan, labelled):
    lessons = Lessons(_with(plan, HANGS), labelled)
    with Process(lessons.arrays, {"open_files": 77}) as child:
        lessons.order(child.channel, child.arrays)
        assert child.process.stdout is not None
        lines = []
        while (line := child.process.stdout.readline()) != b"hanging\n":
            assert line
            lines.append(line.decode())
        assert lines == ["limit 77 False\n", "modules []\n"]
        child.process.send_signal(signal.SIGUSR1)
        while re.search(rb'File "net\.py", line 1[012] in augment', line) is None:
            line = child.process.stdout.readline()
            assert line
        assert child.process.poll() is None


def test_a_process_whose_other_side_has_gone_ends(plan, labelled):
    lessons = Lessons(_with(plan, MONKEY), labelled)
    with Process(lessons.arrays) as child:
        child.channel.close()
        assert child.process.wait(timeout=60) == 0
