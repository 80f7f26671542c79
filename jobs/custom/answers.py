"""What team code's side of the channel says, checked: all of it may be forged.

In: frames, and what was printed. Out: values that can be used like our own, or an `Unacceptable`,
which says what is wrong in words for the team. Used by `jobs.custom.session` and
`jobs.custom.parent`; nothing here has an effect.
"""

import json
import math
import re
import signal
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from jobs.custom.usage import MIB
from jobs.errors import Diverged, JobsError, TeamCodeError, TeamCodeOverLimit, TeamCodeTooLarge
from jobs.monkeynet import build_model
from jobs.plan import MemberPlan, SandboxRules
from jobs.training_io import EpochTrained

BESIDE_STATE_BYTES = 1 * MIB  # random states, names, the history
MAX_LINE_CHARS = 1000
MAX_HEADER_BYTES = 4 * MIB  # names and shapes of tens of thousands of tensors
MAX_REASON_CHARS = 500
MAX_LINE = 1 << 20
LARGEST_NUMBER = 1e30
SUM_TOLERANCE = 1e-3
# What Python says where a process or a thread cannot be started.
NO_MORE_PROCESSES = ("Resource temporarily unavailable", "can't start new thread")
SIGNALS: dict[int, str] = {
    signal.SIGKILL: "the system ended it (SIGKILL), as it does where memory runs out",
    signal.SIGSEGV: "it crashed: segmentation fault (SIGSEGV)",
    signal.SIGBUS: "it crashed: bus error (SIGBUS)",
    signal.SIGABRT: "it crashed: abort (SIGABRT)",
    signal.SIGFPE: "it crashed: arithmetic error (SIGFPE)",
    signal.SIGXCPU: "it used more processor time than it may (customLimits.cpuSeconds)",
}
PLACES = {
    "build_model": "in build_model",
    "build_loss": "in build_loss",
    "augment": "in augment",
    "import": "while it was imported",
}


class Unacceptable(ValueError):
    """An answer that is not what was asked for."""


def largest_state_bytes(plan: MemberPlan, rules: SandboxRules) -> int:
    """The most that a sandbox may send at once; the game's own networks always fit."""
    largest = rules.state_mib * MIB
    if plan.custom is None or "build_model" in plan.custom.defines:
        return largest
    with torch.device("meta"):
        network = build_model(plan.model, len(plan.data.classes), plan.data.image_size_px)
    weights = sum(each.numel() * each.element_size() for each in network.parameters())
    return max(largest, 2 * weights + BESIDE_STATE_BYTES)


def epoch_trained(fields: Mapping[str, Any], epoch: int) -> EpochTrained:
    """Read what a member says about an epoch.

    Raises:
        Unacceptable: it is of another epoch, or not in finite numbers.
    """
    if type(fields.get("epoch")) is not int or fields["epoch"] != epoch:
        said = printable(str(fields.get("epoch")), 20)
        raise Unacceptable(f"it reported epoch {said} where epoch {epoch} was to come")
    accuracy = _number(fields, "train_accuracy")
    if not 0 <= accuracy <= 1:
        raise Unacceptable(f"it reported a train_accuracy of {accuracy:g}; 0 to 1 is possible")
    return EpochTrained(
        epoch=epoch,
        train_loss=_number(fields, "train_loss"),
        train_accuracy=accuracy,
        learning_rate=_number(fields, "learning_rate"),
        images_per_second=_number(fields, "images_per_second"),
        seconds=_number(fields, "seconds"),
    )


def probabilities(blob: bytes, num_images: int, num_classes: int) -> np.ndarray:
    """Read probabilities (num_images, num_classes) float32, each row of which adds up to 1.

    Raises:
        Unacceptable: they are of another size, not finite, or no probabilities.
    """
    wanted = num_images * num_classes * 4
    if len(blob) != wanted:
        raise Unacceptable(
            f"its probabilities are {len(blob)} bytes; {num_images} images of {num_classes} "
            f"classes need {wanted}"
        )
    probs = np.frombuffer(blob, "<f4").reshape(num_images, num_classes)
    if not np.isfinite(probs).all():
        raise Unacceptable("its probabilities are not all finite numbers")
    sums = probs.sum(axis=1, dtype=np.float64)
    if probs.min(initial=0) < 0 or np.abs(sums - 1).max(initial=0) > SUM_TOLERANCE:
        raise Unacceptable("its probabilities are negative, or do not add up to 1 for every image")
    return probs.astype(np.float32)


def check_weights(blob: bytes) -> None:
    """Look at the beginning of weights, which nothing outside a sandbox reads any further.

    Raises:
        Unacceptable: it is not that of a safetensors file.
    """
    length = int.from_bytes(blob[:8], "little")
    if len(blob) < 8 or length > min(len(blob) - 8, MAX_HEADER_BYTES):
        raise Unacceptable("its weights are no safetensors file")
    try:
        header = json.loads(blob[8 : 8 + length].decode())
    except (ValueError, RecursionError) as error:
        raise Unacceptable("its weights are no safetensors file") from error
    if not isinstance(header, dict):
        raise Unacceptable("its weights are no safetensors file")


def failure(fields: Mapping[str, Any], plan: MemberPlan, rules: SandboxRules) -> JobsError:
    """Make the error that a member failed with from what it says about it."""
    diverged = fields.get("diverged")
    if isinstance(diverged, dict):
        epoch, step = (
            value if type(value := diverged.get(name)) is int and 0 < value < 1 << 53 else 1
            for name in ("epoch", "step")
        )
        return Diverged(epoch, step, plan.optimizer.learning_rate)
    assert plan.custom is not None
    line = failed_line(fields, plan.custom.file)
    name = fields.get("error")
    error = name if isinstance(name, str) and re.fullmatch(r"\w{1,80}", name) else "error"
    message = printable(str(fields.get("message", "")), MAX_REASON_CHARS)
    where = PLACES.get(str(fields.get("in")), "in training")
    said = f"{error}: {message}" if message else f"{error} {where}"
    text = f"{place(plan.custom.file, line)}: {said}"
    if line is None and message:
        text += f" ({where})"
    if any(words in message for words in NO_MORE_PROCESSES):
        limit = f"{rules.processes} processes and threads are allowed (customLimits.processes)"
        return TeamCodeOverLimit(f"{text}; {limit}")
    too_large = fields.get("out_of_memory") is True
    return (TeamCodeTooLarge if too_large else TeamCodeError)(text)


def failed_line(fields: Mapping[str, Any], file: str) -> int | None:
    """Read in which line of the team's file it failed, where that is said."""
    line = fields.get("line")
    if fields.get("file") == file and type(line) is int and 0 < line < MAX_LINE:
        return line
    return None


def signalled(number: int) -> str:
    """Say that a signal ended it."""
    return SIGNALS.get(number, f"it was ended by signal {number}")


def place(file: str, line: int | None) -> str:
    """Name a line of a team's file as compilers do."""
    return file if line is None else f"{file}:{line}"


def dumped_line(output: bytes, file: str) -> int | None:
    """Find the team's innermost line in what Python's faulthandler wrote last, if it did."""
    dumps = re.split(rb"(?:Fatal Python error|Current thread|Thread) ", output)
    frame = re.compile(rb'^  File "' + re.escape(file.encode()) + rb'", line (\d{1,6}) in ', re.M)
    for dump in reversed(dumps[1:]):
        found = frame.search(dump)
        if found is not None:
            return int(found[1])
    return None


def printable(text: str, most_chars: int) -> str:
    """Cut a text, and take out what would move a terminal's cursor or begin a new line."""
    cut = text[: most_chars + 1]
    clean = "".join(char if char.isprintable() else " " for char in cut).strip()
    return clean if len(cut) <= most_chars else clean[: most_chars - 1] + "…"


def _number(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise Unacceptable(f"it reported no number as {name}")
    if not -LARGEST_NUMBER < value < LARGEST_NUMBER or not math.isfinite(value):
        raise Unacceptable(f"it reported a {name} that is not finite, or out of all proportion")
    return float(value)
