"""The items: what each writes into a plan, in which bounds, and that none is in another's way."""

from itertools import combinations
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.plan import CustomPlan, DataPlan, DistillPlan, MemberPlan
from orchestrator.admission.enchanter import MEMBER_ITEMS, MemberItems
from orchestrator.admission.items.custom import Custom
from orchestrator.admission.purchase import Purchase
from orchestrator.admission.shop import CATALOG

PLAN = MemberPlan(data=DataPlan(fingerprint="f", classes=("a", "b")))
SCHEDULE = "rate-rollercoaster"
CLOSED = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}


CODE = CustomPlan(
    file="ours.py", source="def augment(images, generator): ...", defines=("augment",)
)
REQUIRED = {"custom": {"file": "ours.py"}}
"""Parameters without a default."""


def bought(key: str, **parameters: object) -> Purchase:
    given = {"item": key, **REQUIRED.get(key, {}), **parameters}
    purchase = CATALOG[key].from_file(given)
    return purchase.with_code(CODE) if isinstance(purchase, Custom) else purchase


def flat(value: dict[str, Any], name: str = "") -> dict[str, object]:
    """Return {"section.field": value} of a plan."""
    found: dict[str, object] = {}
    for key, inner in value.items():
        path = f"{name}.{key}" if name else key
        found |= flat(inner, path) if isinstance(inner, dict) else {path: inner}
    return found


def changes(purchase: Purchase) -> dict[str, object]:
    """Return what a purchase changes in a plan."""
    before, after = flat(PLAN.model_dump()), flat(purchase.apply(PLAN).model_dump())
    return {name: value for name, value in after.items() if before.get(name, ...) != value}


@pytest.mark.parametrize(
    ("key", "parameters", "changed"),
    [
        ("info-infusion", {}, {"data.train_fraction": 1.0}),
        ("resolution-rocket", {}, {"data.image_size_px": 96}),
        ("resolution-rocket", {"size": 64}, {}),
        ("flip-trick", {}, {"augment.flip_horizontal_p": 0.2, "augment.flip_vertical_p": 0.2}),
        ("flip-trick", {"horizontal": 1, "vertical": 0}, {"augment.flip_horizontal_p": 1}),
        ("whirl-and-swirl", {}, {"augment.rotate_degrees": 15}),
        ("whirl-and-swirl", {"degrees": 30}, {"augment.rotate_degrees": 30}),
        ("tokyo-data-drift", {}, {"augment.shift_fraction": 0.1}),
        ("foggy-lens", {}, {"augment.blur_strength": 1}),
        ("cutout-chaos", {}, {"augment.erase_p": 0.5}),
        ("cutout-chaos", {"maxArea": 0.1}, {"augment.erase_p": 0.5, "augment.erase_max_area": 0.1}),
        ("cutout-chaos", {"probability": 0, "maxArea": 0.1}, {}),
        ("mixup-mixer", {}, {"augment.mixup_alpha": 0.2}),
        ("neural-turbo-boost", {"blocks": 3}, {"model.turbo_blocks": 3}),
        ("drop-shield", {}, {"model.dropout": 0.5}),
        ("focus-lens", {}, {"model.attention": True}),
        ("speed-boost", {}, {"optimizer.momentum": 0.9}),
        ("weight-decay", {}, {"optimizer.weight_decay": 1e-4}),
        ("learning-rate-decay", {}, {"schedule.decay": 0.95}),
        (SCHEDULE, {}, {"schedule.kind": "cosine"}),
        (SCHEDULE, {"schedule": "step", "every": 2, "factor": 0.1},
         {"schedule.kind": "step", "schedule.every_epochs": 2, "schedule.factor": 0.1}),
        (SCHEDULE, {"schedule": "plateau", "patience": 0, "factor": 0.1},
         {"schedule.kind": "plateau", "schedule.patience_epochs": 0, "schedule.factor": 0.1}),
        (SCHEDULE, {"schedule": "one-cycle", "warmup": 0.1},
         {"schedule.kind": "one-cycle", "schedule.warmup": 0.1}),
        (SCHEDULE, {"schedule": "one-cycle", "every": 2}, {"schedule.kind": "one-cycle"}),
        ("herr-nilssons-friend", {}, {"loss.focus_class": "n7", "loss.focus_weight": 5}),
        ("herr-nilssons-friend", {"className": "n1", "weight": 1}, {}),
        ("wisdom-extractor", {"alpha": 0},
         {"distill.temperature": 3, "distill.alpha": 0, "distill.teacher": None}),
        ("custom", {}, {"custom.file": "ours.py", "custom.source": CODE.source,
                        "custom.defines": ("augment",)}),
        ("ensemble-enchanter", {"members": [{}, {}]}, {}),
    ],
)  # fmt: skip
def test_an_item_writes_its_technique_into_the_plan(
    key: str, parameters: dict[str, object], changed: dict[str, object]
) -> None:
    assert changes(bought(key, **parameters)) == changed


def test_without_wisdom_there_is_no_distillation() -> None:
    assert PLAN.distill is None
    assert bought("wisdom-extractor").apply(PLAN).distill == DistillPlan(temperature=3, alpha=0.5)


# Each with all that it can write, by parameters that are not the plan's defaults.
WRITERS = [
    *(bought(item.key()) for item in MEMBER_ITEMS if item.key() != SCHEDULE),
    bought(SCHEDULE, schedule="step", every=2, factor=0.1),
    bought(SCHEDULE, schedule="plateau", patience=1, factor=0.1),
    bought(SCHEDULE, schedule="one-cycle", warmup=0.1),
]


def test_no_two_items_write_the_same_field() -> None:
    for one, other in combinations(WRITERS, 2):
        both = changes(one).keys() & changes(other).keys()
        assert not both or one.item == other.item


def test_items_commute() -> None:
    for one, other in combinations(WRITERS, 2):
        if one.item != other.item:
            assert one.apply(other.apply(PLAN)) == other.apply(one.apply(PLAN))


def test_members_may_differ_in_what_carries_no_price_and_is_not_shared() -> None:
    tunable = {field.alias for field in MemberItems.model_fields.values()}
    priced, without = "neural-turbo-boost", {"info-infusion", "focus-lens"}
    shared = {"resolution-rocket", "custom"}
    assert tunable == CATALOG.keys() - {priced, *shared, *without, "ensemble-enchanter"}


@pytest.mark.parametrize(
    ("key", "parameter"),
    [(item.key(), name) for item in MEMBER_ITEMS for name in item.parameters()],
)
def test_a_default_and_the_bounds_are_allowed_and_fit_the_plan(key: str, parameter: str) -> None:
    """The schema's bounds are tried: closed ones are taken, open and lower ones are not."""
    field = CATALOG[key].model_fields[parameter]
    name = field.alias or parameter
    schema = CATALOG[key].json_schema()["properties"][name]
    good = [REQUIRED[key][name] if key in REQUIRED else schema["default"]]
    good += schema.get("enum", [])
    good += [schema[bound] for bound in CLOSED if bound in schema]
    schedules = ["cosine", "step", "plateau", "one-cycle"] if key == SCHEDULE else []
    for value in good:
        for others in [{}, *({"schedule": schedule} for schedule in schedules)]:
            bought(key, **{**others, name: value}).apply(PLAN)
    bad = [schema[bound] for bound in CLOSED.values() if bound in schema]
    bad += [schema["minimum"] - 1] if "minimum" in schema else []
    bad += [schema["maximum"] + 1] if "maximum" in schema else []
    assert bad or schema["type"] == "string"
    for value in bad:
        with pytest.raises(ValidationError):
            bought(key, **{name: value})
