"""Where team code is trained and asked from: feeds a sandbox, checks its answers, judges them.

In: a plan with team code and its images, in a slot (`train_custom`) or where scores are made
(`predict_custom`). Out: what `jobs.train.train_member` would give, weights and probabilities; the
weights are bytes of which nothing outside a sandbox reads more than the header. Next on the path:
`jobs.ensemble`.

Validation labels, training images that the team has not bought, and test labels stay on this side,
and nothing that tells of them goes in: neither the order of images nor what their labels made of an
epoch, but for how often a plateau has lowered the learning rate. What a member says of its own
training is its own word; of validation, it is computed here.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jobs.checkpoint import CheckpointContent, read_checkpoint, write_checkpoint
from jobs.custom.answers import (
    MAX_LINE_CHARS,
    Unacceptable,
    check_weights,
    epoch_trained,
    printable,
    probabilities,
)
from jobs.custom.frames import Frame
from jobs.custom.session import Session
from jobs.errors import Diverged
from jobs.images import LabelledImages
from jobs.places import Where
from jobs.plan import EpochReport, MemberPlan, SandboxRules
from jobs.rates import Plateau
from jobs.split import split_images
from jobs.training_io import check_teaching, class_weights
from jobs.values import MemberResult, Teaching

ASKED_S = 300.0  # a trained network answers in seconds, and the organizer waits for it
LEAST_PROBABILITY = 1e-12  # so that the loss of a network that is sure and wrong is a number


def train_custom(
    plan: MemberPlan,
    data: LabelledImages,
    report: Callable[[EpochReport], None],
    should_stop: Callable[[], bool] | None,
    teaching: Teaching | None,
    checkpoint: Where | None,
    say: Callable[[str], None] | None,
    rules: SandboxRules,
    output: Callable[[bytes], None],
) -> MemberResult:
    """Train one member with its team's code in a sandbox; otherwise as `jobs.train.train_member`.

    Args:
        plan: what to train; has team code.
        data: the training part of the data at the plan's image size.
        report: called after every epoch, those first that are not trained again.
        should_stop: looked at several times a second.
        teaching: the teacher that the plan distils from.
        checkpoint: a path or URI to resume from and to write after every epoch, before its
            report.
        say: given lines on the training; they come from the sandbox.
        rules: the cohort's.
        output: given what the team's code prints, as it comes, from another thread.

    Raises:
        CheckpointError, DataError, Diverged, Stopped, ValueError: as `train_member`.
        SandboxError: there is no sandbox to be had on this node.
        TeamCodeError, TeamCodeTooLarge, TeamCodeOverLimit: the team's code is to blame.
    """
    size_px, classes = plan.data.image_size_px, plan.data.classes
    if plan.custom is None:
        raise ValueError("the plan has no team code: train it with jobs.train")
    if data.images.shape[1:] != (3, size_px, size_px):
        raise ValueError(
            f"images of shape {data.images.shape[1:]}; the plan needs (3, {size_px}, {size_px})"
        )
    check_teaching(plan, teaching, len(data.labels))
    class_weights(plan.loss, classes, "cpu")  # a class that is not there is no fault of the team's
    split = split_images(data.labels, data.groups, plan.data)
    val_images = data.images[split.validation]
    hidden = order_by_content(val_images)  # rows are sorted by label: their order would tell it
    val_labels = data.labels[split.validation][hidden]

    # 1. What is known of an earlier attempt.
    reports: list[EpochReport] = []
    payload = b""
    if checkpoint is not None:
        found = read_checkpoint(checkpoint, plan)
        if isinstance(found, CheckpointContent):
            reports = [EpochReport.model_validate(known) for known in found.values["reports"]]
            payload = found.payload
        elif found is not None and say is not None:
            say(found)
    plateau = Plateau()
    for known in reports:
        plateau = plateau.after(known.val_loss, plan.schedule)
        report(known)

    # 2. What the child is given: exactly what this team trains on.
    arrays = {
        "images": data.images[split.train],
        "labels": data.labels[split.train].astype(np.int64),
        "val_images": val_images[hidden],
    }
    teacher, weights = None, b""
    if plan.distill is not None and teaching is not None:
        teacher = teaching.spec.model_dump(mode="json")
        if teaching.logits is None:
            weights = teaching.weights
        else:
            arrays["teacher_logits"] = teaching.logits[split.train]

    with Session(plan, rules, arrays, output, should_stop) as session:
        order = {
            "plan": plan.model_dump(mode="json"),
            "arrays": session.arrays,
            "teacher": teacher,
            "epochs": len(reports),
            "drops": _drops(plan, plateau),
            "largest_bytes": session.largest_bytes,
        }
        session.send("train", order, [payload, weights])
        # 3. Its epochs: judged, kept, reported, and then answered.
        heard_s = time.perf_counter()
        while (frame := session.receive()).kind != "done":
            if frame.kind == "say":
                _pass_on(frame, session, say)
                continue
            if frame.kind != "epoch" or len(frame.blobs) != 2 or len(reports) == plan.epochs:
                raise Unacceptable(f"it sent {_kind(frame)} after epoch {len(reports)}")
            heard_s, before_s = time.perf_counter(), heard_s
            # Forecasts are made of how long epochs take, so a team's own word is not taken for it.
            trained = replace(
                epoch_trained(frame.fields, len(reports) + 1), seconds=heard_s - before_s
            )
            with session.ours():
                probs = probabilities(frame.blobs[0], len(val_labels), len(classes))
                done = trained.judged(*judge(probs, val_labels))
                reports.append(done)
                plateau = plateau.after(done.val_loss, plan.schedule)
                if checkpoint is not None:
                    values = {"reports": [known.model_dump() for known in reports]}
                    write_checkpoint(checkpoint, plan, values, frame.blobs[1])
                report(done)
            session.send("judged", {"drops": _drops(plan, plateau)})
        # 4. Its end.
        if len(reports) != plan.epochs:
            raise Unacceptable(f"it was done after {len(reports)} of {plan.epochs} epochs")
        if len(frame.blobs) != 2 or not frame.blobs[0]:
            raise Unacceptable("it was done without weights and probabilities")
        check_weights(frame.blobs[0])
        probs = probabilities(frame.blobs[1], len(val_labels), len(classes))
        val_probs = np.empty_like(probs)
        val_probs[hidden] = probs
        return MemberResult(weights=frame.blobs[0], val_probs=val_probs)


def predict_custom(
    plan: MemberPlan,
    weights: bytes,
    images: np.ndarray,
    rules: SandboxRules,
    output: Callable[[bytes], None],
) -> np.ndarray:
    """Ask a trained member with team code about images, in a sandbox.

    The images go in without labels, in the order of `order_by_content`: the same weights always
    give the same answers, also where a network looks at all images of a batch.

    Args:
        plan: what the member was trained by.
        weights: as `train_custom` returned them.
        images: (N, 3, S, S) uint8, of the plan's size.
        rules: the cohort's.
        output: given what the team's code prints, from another thread.

    Returns:
        Probabilities (N, C) float32, in the images' order.

    Raises:
        SandboxError: there is no sandbox to be had here.
        TeamCodeError, TeamCodeTooLarge, TeamCodeOverLimit: the team's code is to blame.
    """
    # Whoever asks need not have the GPU that it was trained on; other networks are asked so, too.
    plan = plan.model_copy(update={"device": "cpu"})
    order = order_by_content(images)
    shown = {"images": images[order]}
    with Session(plan, rules, shown, output, answers_within_s=ASKED_S) as session:
        fields = {"plan": plan.model_dump(mode="json"), "arrays": session.arrays}
        session.send("predict", fields, [weights])
        try:
            while (frame := session.receive()).kind == "say":
                _pass_on(frame, session, None)
        except Diverged as error:  # no training is under way that could
            raise Unacceptable(
                "it said that its training had diverged when it was asked"
            ) from error
        if frame.kind != "done" or len(frame.blobs) != 1:
            raise Unacceptable(f"it sent {_kind(frame)} instead of its probabilities")
        in_order = probabilities(frame.blobs[0], len(images), len(plan.data.classes))
    probs = np.empty_like(in_order)
    probs[order] = in_order
    return probs


def judge(probs: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return loss (mean cross-entropy) and accuracy of probabilities (N, C) for labels (N,)."""
    of_truth = probs[np.arange(len(labels)), labels].astype(np.float64)
    loss = -np.log(np.maximum(of_truth, LEAST_PROBABILITY)).mean()
    return float(loss), float((probs.argmax(axis=1) == labels).mean())


def order_by_content(images: np.ndarray) -> np.ndarray:
    """Return an order of images (N, ...) that is always the same and tells nothing of labels."""
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)


def _drops(plan: MemberPlan, plateau: Plateau) -> int:
    """Return how often the learning rate was lowered: all that a training has to know.

    Losses themselves would give labels away: with one epoch's exact loss, dozens of them.
    """
    return plateau.num_drops if plan.schedule.kind == "plateau" else 0


def _pass_on(frame: Frame, session: Session, say: Callable[[str], None] | None) -> None:
    line = frame.fields.get("line")
    if not isinstance(line, str) or frame.blobs:
        raise Unacceptable("it said something that is no line")
    session.count(max(frame.line_bytes, MAX_LINE_CHARS))
    if say is not None:
        say(printable(line, MAX_LINE_CHARS))


def _kind(frame: Frame) -> str:
    return f"{printable(frame.kind, 20)!r} with {len(frame.blobs)} blobs"
