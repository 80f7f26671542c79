"""Purchases that make no sense: with each other, for the members, or for the data."""

from typing import Any

import pytest

from jobs.drawn_monkeys import CLASS_NAMES
from orchestrator.admission.admit import DRAWN_CLASSES, admit, data_problems, member_plans
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.shop import CATALOG
from tests.orchestrator.test_admission import cohort, found, loadout


def test_items_combine_freely() -> None:
    purchases: list[dict[str, Any]] = [{"item": key} for key in CATALOG]
    purchases[-1]["members"] = [{}, {}]
    purchases[list(CATALOG).index("custom")]["file"] = "ours.py"
    assert admit(loadout(*purchases), cohort(budget=1000, allowCustomCode=True)).ok
    plans = member_plans(loadout(*purchases), Cohort())
    assert member_plans(loadout(*reversed(purchases)), Cohort()) == plans


NO_EFFECT = [
    {"item": "flip-trick", "horizontal": 0, "vertical": 0},
    {"item": "resolution-rocket", "size": 64},
    {"item": "herr-nilssons-friend", "weight": 1},
    {"item": "cutout-chaos", "probability": 0, "maxArea": 0.1},
]


@pytest.mark.parametrize("purchase", NO_EFFECT, ids=lambda purchase: purchase["item"])
def test_an_item_that_changes_nothing_is_refused(purchase: dict[str, Any]) -> None:
    at = ("spec", "purchases", 1, "item")
    assert found(admit(loadout({"item": "speed-boost"}, purchase), Cohort())) == [(at, "no-effect")]


def test_more_data_changes_nothing_where_all_have_it() -> None:
    bought = loadout({"item": "info-infusion"})
    (problem,) = admit(bought, cohort(data={"trainFraction": 1.0})).problems
    assert problem.code == "no-effect"
    assert "this cohort gives every team all training images" in problem.message
    assert admit(bought, cohort(data={"trainFraction": 0.99})).ok


def test_an_item_may_change_nothing_for_some_members() -> None:
    flips = {"item": "flip-trick", "horizontal": 0, "vertical": 0}
    members = [{}, {"items": {"flip-trick": {"vertical": 0.1}}}]
    ensemble = {"item": "ensemble-enchanter", "members": members}
    assert admit(loadout(flips, ensemble), Cohort()).ok
    members[1]["items"]["flip-trick"] = {"vertical": 0}
    assert found(admit(loadout(flips, ensemble), Cohort())) == [
        (("spec", "purchases", 0, "item"), "no-effect")
    ]


@pytest.mark.parametrize(
    ("members", "at"),
    [
        ([{}, {}], None),
        ([{}, {"seed": 0}], (1, "seed")),
        ([{"seed": 1}, {}], (1,)),
        ([{"seed": 1}, {"learningRate": 0.01}], (1,)),
        ([{"seed": 1}, {"learningRate": 0.02}], None),
        ([{"seed": 1}, {"items": {"flip-trick": {"vertical": 0.2}}}], (1,)),
        ([{"seed": 1}, {"items": {"flip-trick": {"vertical": 0.3}}}], None),
    ],
)
def test_two_members_must_not_be_one_network(
    members: list[dict[str, Any]], at: tuple[str | int, ...] | None
) -> None:
    ensemble = {"item": "ensemble-enchanter", "members": members}
    admission = admit(loadout({"item": "flip-trick"}, ensemble), Cohort())
    expected = [(("spec", "purchases", 1, "members", *at), "same-member")] if at else []
    assert found(admission) == expected


def rollercoaster(**parameters: object) -> dict[str, Any]:
    return {"item": "rate-rollercoaster", **parameters}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"every": 2}, "'every' changes nothing: it is for schedule step, and this one is cosine"),
        ({"schedule": "step", "patience": 3}, "for schedule plateau, and this one is step"),
        ({"schedule": "one-cycle", "factor": 0.5}, "for schedule step or plateau"),
        ({"schedule": "plateau", "warmup": 0.3}, "for schedule one-cycle"),
    ],
)
def test_a_parameter_of_another_schedule_is_refused(
    parameters: dict[str, object], said: str
) -> None:
    (problem,) = admit(loadout(rollercoaster(**parameters)), Cohort()).problems
    assert problem.loc == ("spec", "purchases", 0, list(parameters)[-1])
    assert problem.code == "not-used"
    assert said in problem.message


def tuned(*tunings: dict[str, object]) -> dict[str, Any]:
    """Return an ensemble whose members tune their schedules."""
    members = [{"items": {"rate-rollercoaster": tuning}} for tuning in tunings]
    return {"item": "ensemble-enchanter", "members": members}


MEMBER_0 = ("spec", "purchases", 1, "members", 0, "items", "rate-rollercoaster")


@pytest.mark.parametrize(
    ("parameters", "tunings", "at"),
    [
        ({"every": 2}, [{}, {"schedule": "step"}], None),
        ({"every": 2}, [{}, {"schedule": "plateau"}], ("spec", "purchases", 0, "every")),
        ({}, [{"every": 2}, {"schedule": "step"}], (*MEMBER_0, "every")),
        ({}, [{"schedule": "step", "every": 2}, {}], None),
        ({"schedule": "step", "every": 2}, [{"every": 3}, {"every": 4}], None),
    ],
)
def test_a_parameter_must_be_of_use_to_some_member(
    parameters: dict[str, object],
    tunings: list[dict[str, object]],
    at: tuple[str | int, ...] | None,
) -> None:
    admission = admit(loadout(rollercoaster(**parameters), tuned(*tunings)), Cohort())
    assert found(admission) == ([(at, "not-used")] if at else [])


@pytest.mark.parametrize("schedule", ["cosine", "step", "plateau"])
def test_decay_goes_with_other_schedules(schedule: str) -> None:
    purchases = [rollercoaster(schedule=schedule), {"item": "learning-rate-decay"}]
    assert admit(loadout(*purchases), Cohort()).ok


def test_decay_does_not_go_with_one_cycle() -> None:
    decay, one_cycle = {"item": "learning-rate-decay"}, {"schedule": "one-cycle"}
    at = ("spec", "purchases", 0, "schedule")
    assert found(admit(loadout(rollercoaster(**one_cycle), decay), Cohort())) == [(at, "conflict")]
    assert found(admit(loadout(rollercoaster(), tuned(one_cycle, {}), decay), Cohort())) == [
        ((*MEMBER_0, "schedule"), "conflict")
    ]
    both = loadout(rollercoaster(**one_cycle), tuned({}, {}), decay)
    assert found(admit(both, Cohort())) == [(at, "conflict")]


def test_a_class_must_be_one_of_the_data() -> None:
    bought = loadout({"item": "herr-nilssons-friend", "className": "howler"})
    (problem,) = data_problems(bought, ["howlers", "uakaris"])
    assert (problem.loc, problem.code) == (
        ("spec", "purchases", 0, "className"), "unknown-class"
    )  # fmt: skip
    assert problem.message == (
        "className is 'howler'; the classes of the data are howlers, uakaris; did you mean howlers?"
    )
    assert not list(data_problems(bought, ["howler", "uakari"]))
    (unsaid,) = data_problems(loadout({"item": "herr-nilssons-friend"}), ["howler", "uakari"])
    assert unsaid.message.endswith(
        "the file says none: write `className:` and one of them under the item"
    )


def test_every_member_names_a_class_of_the_data() -> None:
    members = [{}, {"items": {"herr-nilssons-friend": {"className": "b"}}}]
    ensemble = {"item": "ensemble-enchanter", "members": members}
    bought = loadout(ensemble, {"item": "herr-nilssons-friend", "className": "a"})
    purchases = ("spec", "purchases")
    own = (*purchases, 0, "members", 1, "items", "herr-nilssons-friend", "className")
    common = (*purchases, 1, "className")
    assert [problem.loc for problem in data_problems(bought, ["a", "c"])] == [own]
    assert [problem.loc for problem in data_problems(bought, ["b", "c"])] == [common]
    assert [problem.loc for problem in data_problems(bought, ["c"])] == [common, own]


def test_the_drawn_classes_are_known_before_the_data() -> None:
    bought = loadout({"item": "herr-nilssons-friend", "className": "howler"})
    assert [code for _, code in found(admit(bought, Cohort(), DRAWN_CLASSES))] == ["unknown-class"]
    assert admit(bought, Cohort()).ok
    assert tuple(CLASS_NAMES) == DRAWN_CLASSES
