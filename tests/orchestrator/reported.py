"""Cohorts with scores, for pages that show them: in a real store, without training."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.metrics import confusion_matrix, macro_recall, recall_per_class, wilson_interval
from jobs.plan import DataPlan, EpochReport, MemberPlan
from orchestrator.admission.cohort import Retry
from orchestrator.phases import Blame, Reason
from orchestrator.results.scorebook import ScoreBook, ScoredImage, TeamScore
from orchestrator.state import DataRecord, Fault, Job, MemberKey
from orchestrator.store import JobResult, NewJob, Store, TrainedWeights
from tests.orchestrator.cohorts import cohort

CLASSES = tuple(f"n{label}" for label in range(10))
BEGAN_AT = 1_795_800_000.0
LOST = Fault(Reason.SLOT_LOST, "the process of slot-1 ended", Blame.CLUSTER)
ITEMS = (
    ("Flip Trick", 10),
    ("Info Infusion", 20),
    ("Need for Shift: Tokyo Data Drift", 5),
    ("Speed Boost", 0),
)


@dataclass(frozen=True)
class MadeUp:
    """A team to put into the store. One without an accuracy fails, with the message."""

    team: str
    accuracy: float | None
    num_members: int = 1
    num_items: int = 2
    message: str = ""


def put(
    store: Store,
    teams: Sequence[MadeUp],
    classes: tuple[str, ...] = CLASSES,
    epochs: int = 20,
    num_slots: int = 2,
) -> tuple[Job, ...]:
    """Submits, trains and combines made-up teams as the cohort `small`."""
    data = DataRecord("drawn", "f", "t", classes)
    spec = cohort().model_dump(mode="json", by_alias=True)
    new = [_new_job(team, classes, epochs) for team in teams]
    store.submit("small", spec, data, new, BEGAN_AT, None)
    ledger = store.acquire("small", "test", BEGAN_AT, 1e12)
    free_at = [BEGAN_AT] * num_slots
    for job, team in zip(store.jobs("small"), teams, strict=True):
        for index in range(team.num_members):
            slot = free_at.index(min(free_at))
            key, at = MemberKey(job.id, index), free_at[slot]
            if index == 1:  # lost once
                number = ledger.start(key, f"slot-{slot}", "node", at).members[index].attempt
                ledger.fail(key, number, LOST, Retry(), at + 5)
                at += 6
            number = ledger.start(key, f"slot-{slot}", "node", at).members[index].attempt
            reports = [_epoch(n, epochs, team.accuracy or 0.1, index) for n in range(1, epochs + 1)]
            ledger.record_epochs([(key, number, report, at + report.epoch) for report in reports])
            free_at[slot] = at + epochs + 1
            if team.accuracy is None:
                fault = Fault(Reason.DIVERGED, team.message, Blame.TEAM)
                ledger.fail(key, number, fault, Retry(backoff_limit=0), free_at[slot])
                break
            ledger.succeed(key, number, TrainedWeights("w", "0" * 64, "p"), free_at[slot])
        if team.accuracy is not None:
            ledger.finish(job.id, JobResult(team.accuracy), free_at[slot])
    ledger.release()
    return store.jobs("small")


def made_up_book(
    jobs: Sequence[Job],
    teams: Sequence[MadeUp],
    classes: tuple[str, ...] = CLASSES,
    published: bool = True,
    images_a_class: int = 27,
) -> ScoreBook:
    """Scores in which some images are harder than others."""
    import numpy as np

    chance = random.Random(0)  # noqa: S311  # of made-up answers
    labels = [label for label in range(len(classes)) for _ in range(images_a_class)]
    hardness = [chance.random() for _ in labels]
    scores = []
    for job, team in zip(jobs, teams, strict=True):
        if team.accuracy is None:
            continue
        called = [
            label
            if chance.random() + hard < 2 * team.accuracy
            else (label + chance.choice((1, 1, 1, 2))) % len(classes)
            for label, hard in zip(labels, hardness, strict=True)
        ]
        counts = confusion_matrix(np.array(labels), np.array(called), len(classes))
        right = int(np.trace(counts))
        low, high = wilson_interval(right, len(labels))
        scores.append(
            TeamScore(
                job=job.uid,
                team=job.team,
                accuracy=right / len(labels),
                accuracy_low=low,
                accuracy_high=high,
                macro_recall=macro_recall(counts),
                recall_per_class=tuple(map(float, recall_per_class(counts))),
                confusion=tuple(tuple(map(int, row)) for row in counts),
                predicted=tuple(called),
            )
        )
    return ScoreBook(
        cohort="small",
        test_fingerprint="t",
        test_images=len(labels),
        classes=classes,
        images=tuple(
            ScoredImage(sha256=f"{row:064x}", label=label) for row, label in enumerate(labels)
        ),
        published=published,
        scores=tuple(scores),
    )


def _new_job(team: MadeUp, classes: tuple[str, ...], epochs: int) -> NewJob:
    bought = ITEMS[: team.num_items]
    lines = [
        {"item": title, "title": title, "quantity": 1, "price_bnn": price, "total_bnn": price}
        for title, price in bought
    ]
    total = sum(price for _, price in bought)
    plan = MemberPlan(data=DataPlan(fingerprint="f", classes=classes), epochs=epochs)
    return NewJob(
        team=team.team,
        loadout=f"team: {team.team}\n",
        receipt={"lines": lines, "total_bnn": total, "budget_bnn": 100},
        combine="mean",
        plans=tuple(
            plan.model_copy(update={"seed": 1000 * len(team.team) + index})
            for index in range(team.num_members)
        ),
        work=(1.0,) * team.num_members,
        kinds=("base",) * team.num_members,
        min_members=team.num_members,
    )


def _epoch(number: int, epochs: int, reached: float, index: int) -> EpochReport:
    share = (number / epochs) ** 0.6
    wobble = 0.03 * ((number * 7 + index * 3) % 5 - 2)
    return EpochReport(
        epoch=number,
        train_loss=2.3 - 1.6 * share,
        train_accuracy=min(1.0, 0.1 + reached * share),
        val_loss=2.3 - 1.5 * share + wobble,
        val_accuracy=max(0.0, min(1.0, 0.1 + (reached - 0.1) * share + wobble)),
        learning_rate=0.01,
        images_per_second=1000.0,
        seconds=1.0,
    )
