"""Every schedule against torch's own, step by step, and against numbers written down."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import register_optimizer_step_pre_hook

from jobs.images import LabelledImages
from jobs.plan import EpochReport, MemberPlan, OptimizerPlan, Schedule, SchedulePlan
from jobs.rates import Plateau, Rates
from jobs.train import train_member

RATE = 0.2
EVERY_KIND = ["constant", "cosine", "step", "one-cycle", "plateau"]


def _all_rates(schedule: SchedulePlan, num_epochs: int, steps_per_epoch: int = 1) -> list[float]:
    rates = Rates(schedule, RATE, num_epochs, steps_per_epoch)
    return [rates.at(step, Plateau()) for step in range(num_epochs * steps_per_epoch)]


def _optimizer(rate: float = RATE) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate, momentum=0.9)


def _torchs(make: Callable[[torch.optim.SGD], LRScheduler], num_steps: int) -> list[float]:
    optimizer = _optimizer()
    scheduler = make(optimizer)
    rates = []
    for step in range(num_steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if step + 1 < num_steps:
            scheduler.step()
    return rates


def _shares(rates: list[float]) -> list[float]:
    return [rate / RATE for rate in rates]


# --- numbers written down ------------------------------------------------------------------------


def test_a_constant_rate_has_the_plans_bits():
    assert set(_all_rates(SchedulePlan(), 5, 7)) == {RATE}


def test_decay_every_epoch():
    shares = _shares(_all_rates(SchedulePlan(decay=0.5), 3, 2))
    assert shares == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])


def test_cosine_every_step():
    # (1 + cos(0, 45, 90, 135 degrees)) / 2, over two epochs of two steps
    shares = _shares(_all_rates(SchedulePlan(kind="cosine"), 2, 2))
    assert shares == pytest.approx([1, 0.85355339, 0.5, 0.14644661])


def test_step_every_few_epochs():
    schedule = SchedulePlan(kind="step", factor=0.1, every_epochs=2)
    assert _shares(_all_rates(schedule, 5)) == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_one_cycle_rises_and_falls():
    # Warm-up: 0.4 of 10 steps, so the peak is step 3. It starts at 1/25 and ends at 1/250,000.
    shares = _shares(_all_rates(SchedulePlan(kind="one-cycle", warmup=0.4), 5, 2))
    # a third of the way up half a cosine: 0.04 + 0.96 * (1 - cos 60°) / 2 = 0.28; two: 0.76
    assert shares[:4] == pytest.approx([0.04, 0.28, 0.76, 1])
    # a sixth, a half, the whole way down: cos 30° = 0.86602540, cos 90° = 0, cos 180° = -1
    assert shares[4] == pytest.approx(4e-6 + (1 - 4e-6) * 0.93301270)
    assert shares[6] == pytest.approx(0.500002)
    assert shares[9] == pytest.approx(4e-6)


def test_plateau_drops_when_patience_runs_out():
    schedule = SchedulePlan(kind="plateau", factor=0.5, patience_epochs=1)
    rates, plateau, shares = Rates(schedule, RATE, 9, 1), Plateau(), []
    # 0.99995 is less than one part in 10,000 below 1: not lower. Drops follow epochs 3 and 6.
    for epoch, loss in enumerate([2, 1, 0.99995, 1.5, 0.9, 0.95, 0.9, 0.95, 0.1]):
        shares.append(rates.at(epoch, plateau) / RATE)
        plateau = plateau.after(loss, schedule)
    assert shares == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert plateau == Plateau(lowest_loss=0.1, bad_epochs=0, num_drops=2)


def test_a_schedule_multiplies_the_decay():
    both = _shares(_all_rates(SchedulePlan(kind="cosine", decay=0.9), 4, 3))
    cosine = _shares(_all_rates(SchedulePlan(kind="cosine"), 4, 3))
    assert both == pytest.approx([share * 0.9 ** (i // 3) for i, share in enumerate(cosine)])


# --- torch, step by step -------------------------------------------------------------------------

SIZES = [(1, 1), (1, 7), (7, 1), (2, 5), (20, 13)]


@pytest.mark.parametrize(("epochs", "steps"), SIZES)
def test_cosine_equals_torchs(epochs, steps):
    expected = _torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, epochs * steps), epochs * steps)
    rates = _all_rates(SchedulePlan(kind="cosine"), epochs, steps)
    assert rates == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("epochs", "steps"), SIZES)
@pytest.mark.parametrize("warmup", [0.05, 0.29, 0.3, 0.9])
def test_one_cycle_equals_torchs(epochs, steps, warmup):
    total = epochs * steps
    expected = _torchs(
        lambda o: lr_scheduler.OneCycleLR(
            o, max_lr=RATE, total_steps=total, pct_start=warmup, cycle_momentum=False
        ),
        total,
    )
    rates = _all_rates(SchedulePlan(kind="one-cycle", warmup=warmup), epochs, steps)
    assert rates == pytest.approx(expected, rel=1e-9)


def test_step_equals_torchs():
    schedule = SchedulePlan(kind="step", factor=0.3, every_epochs=3)
    expected = _torchs(lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.3), 20)
    assert _all_rates(schedule, 20) == pytest.approx(expected)


def test_decay_equals_torchs():
    expected = _torchs(lambda o: lr_scheduler.ExponentialLR(o, gamma=0.93), 20)
    assert _all_rates(SchedulePlan(decay=0.93), 20) == pytest.approx(expected)


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_equals_torchs(patience):
    losses = (3 + torch.randn(60, generator=torch.Generator().manual_seed(patience))).tolist()
    optimizer = _optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(  # eps: torch stops dropping at rates near it
        optimizer, mode="min", factor=0.7, patience=patience, threshold=1e-4, eps=0
    )
    schedule = SchedulePlan(kind="plateau", factor=0.7, patience_epochs=patience)
    rates, plateau = Rates(schedule, RATE, len(losses), 1), Plateau()
    for epoch, loss in enumerate(losses):
        assert rates.at(epoch, plateau) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(loss)
        plateau = plateau.after(loss, schedule)
    assert plateau.num_drops > 5


# --- edges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 10), (2, 1), (10, 1)])
@pytest.mark.parametrize("warmup", [1e-9, 0.1, 0.5, 1 - 2**-53])
def test_every_rate_is_positive_and_none_above_the_plans(kind: Schedule, epochs, steps, warmup):
    rates = _all_rates(SchedulePlan(kind=kind, warmup=warmup), epochs, steps)
    assert all(0 < rate <= RATE for rate in rates)


def test_a_plateau_survives_a_checkpoint():
    plateau = Plateau().after(1.5, SchedulePlan()).after(2, SchedulePlan())
    assert Plateau(**json.loads(json.dumps(asdict(plateau)))) == plateau != Plateau()


# --- in a training -------------------------------------------------------------------------------


def _reports(plan: MemberPlan, data: LabelledImages) -> list[EpochReport]:
    reports: list[EpochReport] = []
    train_member(plan, data, reports.append)
    return reports


@contextmanager
def _rates_used() -> Iterator[list[float]]:
    rates: list[float] = []
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    try:
        yield rates
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["cosine", "one-cycle"])
def test_every_step_uses_the_schedules_rate_and_a_report_its_last(plan, labelled, kind):
    plan = plan.model_copy(update={"schedule": SchedulePlan(kind=kind)})
    with _rates_used() as used:
        reports = _reports(plan, labelled)
    optimizer = _optimizer(0.05)
    scheduler = (
        lr_scheduler.CosineAnnealingLR(optimizer, len(used))
        if kind == "cosine"
        else lr_scheduler.OneCycleLR(optimizer, 0.05, len(used), cycle_momentum=False)
    )
    for rate in used:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    per_epoch = len(used) // 3
    assert [report.learning_rate for report in reports] == used[per_epoch - 1 :: per_epoch]


def test_a_plateau_follows_the_validation_losses_that_are_reported(plan, labelled):
    schedule = SchedulePlan(kind="plateau", factor=0.5, patience_epochs=0, decay=0.99)
    plan = plan.model_copy(
        update={
            "schedule": schedule,
            "optimizer": OptimizerPlan(learning_rate=0.3),
            "epochs": 12,
        }
    )
    # Labels that say nothing about the images: the losses go up and down.
    noise = np.random.default_rng(0).permutation(labelled.labels)
    reports = _reports(plan, replace(labelled, labels=noise))
    optimizer = _optimizer(0.3)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    for epoch, report in enumerate(reports):
        rate = optimizer.param_groups[0]["lr"] * 0.99**epoch
        assert report.learning_rate == pytest.approx(rate)
        scheduler.step(report.val_loss)
    assert reports[-1].learning_rate < 0.2


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize(("epochs", "batch_size"), [(1, 1000), (1, 8), (3, 1000)])
def test_one_epoch_and_one_batch_an_epoch_are_enough(plan, labelled, kind, epochs, batch_size):
    plan = plan.model_copy(
        update={
            "schedule": SchedulePlan(kind=kind),
            "epochs": epochs,
            "batch_size": batch_size,
        }
    )
    assert len(_reports(plan, labelled)) == epochs
