"""Admission: receipts, every reason to refuse, and the plan of every member."""

from typing import Any

import pytest

from orchestrator.admission.admit import Admission, admit, combine_of, member_plans
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.loadout import Loadout

THREE = {"item": "ensemble-enchanter", "members": [{}, {}, {}]}


def loadout(*purchases: dict[str, Any], **spec: object) -> Loadout:
    return Loadout.from_file(
        {
            "apiVersion": "game/v1",
            "kind": "Loadout",
            "metadata": {"team": "howling-pixels"},
            "spec": {**spec, "purchases": list(purchases)},
        }
    )


def cohort(**spec: object) -> Cohort:
    return Cohort.from_file({"apiVersion": "game/v1", "kind": "Cohort", "spec": spec})


def found(admission: Admission) -> list[tuple[tuple[str | int, ...], str]]:
    return [(problem.loc, problem.code) for problem in admission.problems]


def test_nothing_bought_costs_nothing() -> None:
    admission = admit(loadout(), Cohort())
    assert admission.ok
    assert admission.receipt.to_dict() == {"lines": [], "total_bnn": 0, "budget_bnn": 100}


def test_a_receipt_prices_every_unit() -> None:
    bought = loadout({"item": "neural-turbo-boost", "blocks": 3}, {"item": "speed-boost"})
    admission = admit(bought, cohort(prices={"neural-turbo-boost": 15}, budget=45))
    assert admission.ok
    assert admission.receipt.to_dict() == {
        "lines": [
            {"item": "neural-turbo-boost", "title": "Neural Turbo Boost", "quantity": 3,
             "price_bnn": 15, "total_bnn": 45},
            {"item": "speed-boost", "title": "Speed Boost", "quantity": 1,
             "price_bnn": 0, "total_bnn": 0},
        ],
        "total_bnn": 45,
        "budget_bnn": 45,
    }  # fmt: skip


def test_over_budget_shows_the_receipt() -> None:
    bought = loadout(THREE, {"item": "neural-turbo-boost", "blocks": 2}, {"item": "flip-trick"})
    (problem,) = admit(bought, Cohort()).problems
    assert (problem.loc, problem.code) == (("spec", "purchases"), "over-budget")
    receipt = "ensemble-enchanter 60 + neural-turbo-boost 40 (2 x 20) + flip-trick 10 = 110 B NN"
    assert problem.message == f"{receipt}; the budget is 100 B NN: 10 B NN too much"


def test_an_item_bought_twice_is_refused_and_charged_once() -> None:
    admission = admit(loadout({"item": "flip-trick"}, {"item": "flip-trick"}), Cohort())
    assert found(admission) == [(("spec", "purchases", 1, "item"), "bought-twice")]
    assert admission.receipt.total_bnn == 10


def test_off_the_shelf() -> None:
    admission = admit(loadout({"item": "flip-trick"}), cohort(offTheShelf=["flip-trick"]))
    assert found(admission) == [(("spec", "purchases", 0, "item"), "off-the-shelf")]


def test_limits_hold_for_every_member() -> None:
    members = [{}, {"epochs": 41}, {"batchSize": 257}, {"epochs": 40, "batchSize": 256}, {}, {}]
    admission = admit(
        loadout({"item": "ensemble-enchanter", "members": members}, epochs=41, batchSize=300),
        Cohort(),
    )
    at = ("spec", "purchases", 0, "members")
    assert found(admission) == [
        (("spec", "epochs"), "over-limit"),
        ((*at, 1, "epochs"), "over-limit"),
        (("spec", "batchSize"), "over-limit"),
        ((*at, 2, "batchSize"), "over-limit"),
        (at, "over-limit"),
    ]


def test_the_default_epochs_may_be_over_a_limit_too() -> None:
    rules = cohort(limits={"epochs": 10})
    admission = admit(loadout(), rules)
    assert found(admission) == [(("spec", "epochs"), "over-limit")]
    advice = "; the file says none: write `epochs: 10` under spec"
    assert admission.problems[0].message.endswith(advice)
    assert advice not in admit(loadout(epochs=20), rules).problems[0].message


def test_nobody_is_told_to_buy_what_is_not_sold() -> None:
    rules = {"imageSizePx": 48}
    (sold,) = admit(loadout(), cohort(limits=rules)).problems
    assert sold.message.endswith(": buy resolution-rocket with a smaller size")
    (not_sold,) = admit(loadout(), cohort(limits=rules, offTheShelf=["resolution-rocket"])).problems
    assert not_sold.message.endswith("sells no resolution-rocket: tell the organizer")
    (tiny,) = admit(loadout(), cohort(limits={"imageSizePx": 16})).problems
    assert tiny.message.endswith("no smaller ones than 32 px are sold: tell the organizer")


@pytest.mark.parametrize(
    ("purchases", "at"),
    [
        ([], ("spec",)),
        ([{"item": "resolution-rocket", "size": 65}], ("spec", "purchases", 0, "size")),
        ([{"item": "resolution-rocket"}], ("spec", "purchases", 0, "size")),
        ([{"item": "resolution-rocket", "size": 48}], None),
    ],
)
def test_images_have_a_limit(
    purchases: list[dict[str, Any]], at: tuple[str | int, ...] | None
) -> None:
    limit_px = 63 if not purchases else 64
    admission = admit(loadout(*purchases), cohort(limits={"imageSizePx": limit_px}))
    assert found(admission) == ([(at, "over-limit")] if at else [])


@pytest.mark.parametrize(
    ("size_px", "blocks", "rules", "said"),
    [
        (64, 5, {}, None),
        (64, 6, {}, "at most 5, or resolution-rocket with a size of 128 or more"),
        (128, 6, {}, None),
        (32, 5, {}, "at most 4, or resolution-rocket with a size of 64 or more"),
        (224, 7, {}, "of 224 px away to nothing; buy at most 6"),
        (64, 6, {"limits": {"imageSizePx": 127}}, "away to nothing; buy at most 5"),
        (64, 6, {"offTheShelf": ["resolution-rocket"]}, "away to nothing; buy at most 5"),
    ],
)
def test_pooling_must_leave_something(
    size_px: int, blocks: int, rules: dict[str, object], said: str | None
) -> None:
    purchases: list[dict[str, Any]] = [{"item": "neural-turbo-boost", "blocks": blocks}]
    purchases += [{"item": "resolution-rocket", "size": size_px}] if size_px != 64 else []
    problems = admit(loadout(*purchases), cohort(budget=1000, **rules)).problems
    if said is None:
        assert problems == ()
    else:
        (problem,) = problems
        assert (problem.loc, problem.code) == (
            ("spec", "purchases", 0, "blocks"), "nothing-left"
        )  # fmt: skip
        assert problem.message.endswith(said)


def test_a_member_tunes_only_what_is_bought() -> None:
    ensemble = {"item": "ensemble-enchanter", "members": [{}, {"items": {"flip-trick": {}}}]}
    at = ("spec", "purchases", 0, "members", 1, "items", "flip-trick")
    assert found(admit(loadout(ensemble), Cohort())) == [(at, "not-bought")]
    assert admit(loadout(ensemble, {"item": "flip-trick"}), Cohort()).ok


def test_every_problem_is_reported_at_once() -> None:
    bought = loadout(
        THREE, {"item": "neural-turbo-boost", "blocks": 6}, {"item": "flip-trick"}, THREE, epochs=99
    )
    codes = {code for _, code in found(admit(bought, cohort(offTheShelf=["flip-trick"])))}
    assert codes == {"bought-twice", "off-the-shelf", "over-budget", "over-limit", "nothing-left"}


def test_the_plan_of_a_single_member() -> None:
    bought = loadout({"item": "speed-boost"}, {"item": "info-infusion"}, learningRate=0.02, seed=7)
    rules = cohort(
        data={"validationFraction": 0.25, "splitSeed": 3},
        resources={"cpus": 2, "threads": 2, "gpus": 0.5, "precision": "bf16"},
    )
    (plan,) = member_plans(bought, rules, ["howler", "uakari"], "f00d")
    assert plan.data.model_dump() == {
        "fingerprint": "f00d",
        "classes": ("howler", "uakari"),
        "image_size_px": 64,
        "validation_fraction": 0.25,
        "train_fraction": 1.0,
        "split_seed": 3,
    }
    assert (plan.optimizer.learning_rate, plan.optimizer.momentum) == (0.02, 0.9)
    assert (plan.batch_size, plan.epochs, plan.seed) == (8, 20, 7)
    assert (plan.threads, plan.precision, plan.device) == (2, "bf16", "cuda")


def test_members_differ_in_what_they_say_and_in_nothing_else() -> None:
    ensemble = {
        "item": "ensemble-enchanter",
        "combine": "vote",
        "members": [
            {},
            {"learningRate": 0.05, "batchSize": 4, "epochs": 3, "seed": 100},
            {"items": {"whirl-and-swirl": {"degrees": 5}, "flip-trick": {"vertical": 0}}},
        ],
    }
    bought = loadout(
        ensemble, {"item": "whirl-and-swirl"}, {"item": "flip-trick", "horizontal": 0.4}, seed=7
    )
    plans = member_plans(bought, Cohort(), ["a", "b"], "f00d")
    assert [plan.seed for plan in plans] == [7, 100, 9]
    assert [plan.optimizer.learning_rate for plan in plans] == [0.01, 0.05, 0.01]
    assert [(plan.batch_size, plan.epochs) for plan in plans] == [(8, 20), (4, 3), (8, 20)]
    assert [plan.augment.rotate_degrees for plan in plans] == [15, 15, 5]
    assert [plan.augment.flip_horizontal_p for plan in plans] == [0.4, 0.4, 0.4]
    assert [plan.augment.flip_vertical_p for plan in plans] == [0.2, 0.2, 0]
    assert combine_of(bought) == "vote"


def test_a_job_without_an_ensemble_is_its_own_mean() -> None:
    assert combine_of(loadout()) == "mean"


def test_the_order_of_purchases_does_not_matter() -> None:
    items = [{"item": key} for key in ("flip-trick", "speed-boost", "weight-decay")]
    one = member_plans(loadout(*items), Cohort(), ["a", "b"], "f00d")
    other = member_plans(loadout(*reversed(items)), Cohort(), ["a", "b"], "f00d")
    assert one == other
