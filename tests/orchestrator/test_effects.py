"""Items that other settings make useless: refused, and only where training really is the same."""

from typing import Any

import numpy as np
import pytest

from jobs.images import LabelledImages
from jobs.plan import MemberPlan
from jobs.train import train_member
from orchestrator.admission.admit import admit, member_plans
from orchestrator.admission.cohort import Cohort
from tests.orchestrator.pools import noise
from tests.orchestrator.test_admission import cohort, loadout

SQUIRREL_MONKEYS = {"item": "herr-nilssons-friend", "className": "class 1"}
STEP = {"item": "rate-rollercoaster", "schedule": "step"}
PLATEAU = {"item": "rate-rollercoaster", "schedule": "plateau"}
SETTINGS = {"epochs": 3, "batchSize": 8}
WASTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"item": "mixup-mixer"}, {"batchSize": 1, "epochs": 1}),
    ({"item": "learning-rate-decay"}, {"epochs": 1}),
    (STEP | {"every": 3}, {}),
    (PLATEAU | {"patience": 1}, {"learningRate": 5e-5}),
    ({"item": "tokyo-data-drift", "shift": 0.0078}, {"epochs": 1}),
    ({"item": "foggy-lens", "strength": 0.23}, {"epochs": 1}),
    (SQUIRREL_MONKEYS, {"batchSize": 1, "epochs": 1}),
]
OF_USE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"item": "mixup-mixer"}, {"batchSize": 2, "epochs": 1}),
    ({"item": "learning-rate-decay"}, {"epochs": 2}),
    (STEP | {"every": 2}, {}),
    ({"item": "tokyo-data-drift", "shift": 0.008}, {"epochs": 1}),
    ({"item": "foggy-lens", "strength": 0.3}, {"epochs": 1}),
    (SQUIRREL_MONKEYS, {"batchSize": 2, "epochs": 1}),
]


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    return noise(64)


def trained(plan: MemberPlan, images: LabelledImages) -> np.ndarray[Any, Any]:
    return train_member(plan, images, lambda _: None).val_probs


def with_and_without(
    purchase: dict[str, Any], settings: dict[str, Any], images: LabelledImages
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What networks that bought it, and that did not, say of the validation images."""
    classes = [f"class {label}" for label in range(1 + images.labels.max())]
    given = SETTINGS | settings
    (bought,), (bare,) = (
        member_plans(loadout(*items, **given), Cohort(), classes) for items in ([purchase], [])
    )
    return trained(bought, images), trained(bare, images)


@pytest.mark.parametrize(("purchase", "settings"), WASTED)
def test_what_trains_the_same_bits_is_not_sold(
    purchase: dict[str, Any], settings: dict[str, Any], images: LabelledImages
) -> None:
    (problem,) = admit(loadout(purchase, **SETTINGS | settings), Cohort()).problems
    assert problem.code == "no-effect"
    assert problem.message.endswith("; leave it out, or change that")
    np.testing.assert_array_equal(*with_and_without(purchase, settings, images))


@pytest.mark.parametrize(("purchase", "settings"), OF_USE)
def test_what_trains_other_bits_is_sold(
    purchase: dict[str, Any], settings: dict[str, Any], images: LabelledImages
) -> None:
    assert admit(loadout(purchase, **SETTINGS | settings), Cohort()).ok
    bought, bare = with_and_without(purchase, settings, images)
    assert not np.array_equal(bought, bare)


def test_a_class_cannot_be_weighed_where_only_the_teacher_decides() -> None:
    weighed = {"item": "herr-nilssons-friend"}
    alone = {"item": "wisdom-extractor", "alpha": 0}
    (problem,) = admit(loadout(weighed, alone), Cohort()).problems
    assert problem.code == "no-effect"
    assert "leaves labels out of the loss" in problem.message
    assert admit(loadout(weighed, alone | {"alpha": 0.1}), Cohort()).ok


def test_a_plateau_with_an_epoch_after_its_first_drop_is_sold() -> None:
    assert admit(loadout(PLATEAU | {"patience": 0}, **SETTINGS), Cohort()).ok


def test_what_one_member_can_use_is_sold() -> None:
    decay = {"item": "learning-rate-decay"}
    members = [{"epochs": 1}, {"epochs": 2}]
    ensemble = {"item": "ensemble-enchanter", "members": members}
    assert admit(loadout(decay, ensemble), Cohort()).ok
    members[1] = {"epochs": 1, "seed": 9}
    codes = [problem.code for problem in admit(loadout(decay, ensemble), Cohort()).problems]
    assert codes == ["no-effect"]


def test_epochs_that_no_member_trains_for_are_no_problem() -> None:
    members = [{"epochs": 10}, {"epochs": 9}]
    ensemble = {"item": "ensemble-enchanter", "members": members}
    rules = cohort(limits={"epochs": 10})
    assert admit(loadout(ensemble), rules).ok
    assert not admit(loadout(ensemble, epochs=20), rules).ok
    members.append({})
    assert not admit(loadout(ensemble), rules).ok
