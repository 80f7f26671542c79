"""What may be searched follows from the models, and nothing that is drawn leaves its bounds."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from orchestrator.admission.cohort import Cohort
from orchestrator.admission.draft import read_draft
from orchestrator.admission.files import LoadoutFile, read_paths
from orchestrator.admission.items import SHELVES
from orchestrator.admission.member_plans import member_plans
from orchestrator.admission.yaml_nodes import parse
from orchestrator.errors import Refused
from orchestrator.search.candidates import Candidate, candidates, patch, plan_of
from orchestrator.search.space import Choice, Odds, Whole, knobs_of

WriteCohort = Callable[..., Path]
Read = Callable[..., tuple[Cohort, LoadoutFile]]
LIMITS = "  budget: 900\n  limits: {epochs: 20, batchSize: 64}\n"
EVERYTHING = "epochs: 10\npurchases:\n" + "".join(
    f"  - item: {item.key()}\n"
    for shelf, items in SHELVES.items()
    for item in items
    if shelf != "own code" and item.key() not in ("learning-rate-decay", "info-infusion")
)
ENSEMBLE = """
learningRate: 0.05
purchases:
  - item: ensemble-enchanter
    members: [{}, {learningRate: 0.02, items: {drop-shield: {rate: 0.1}}}]
  - {item: drop-shield, rate: 0.4}
  - {item: rate-rollercoaster, schedule: step, factor: 0.4}
"""


@pytest.fixture
def read(write_cohort: WriteCohort) -> Read:
    def read_one(text: str, spec: str = LIMITS) -> tuple[Cohort, LoadoutFile]:
        reading = read_paths([write_cohort({"apes": text}, spec)])
        assert reading.ok, [file.problems for file in reading.files]
        return reading.cohort, next(file for file in reading.files if file.loadout is not None)

    return read_one


def draw(read: Read, text: str, number: int, member: int = 0, seed: int = 0) -> list[Candidate]:
    cohort, file = read(text)
    assert file.loadout is not None
    knobs = knobs_of(file.loadout, cohort, member)
    return candidates(file, cohort, knobs, member, number, seed)


def test_free_settings_and_unpriced_parameters_are_searched_and_no_others(read: Read) -> None:
    cohort, file = read(EVERYTHING)
    assert file.loadout is not None
    names = [knob.name for knob in knobs_of(file.loadout, cohort, 0)]
    unpriced = [
        f"{bought.item}.{type(bought).model_fields[name].alias or name}"
        for bought in file.loadout.spec.purchases
        for name in bought.tunable()
        if name != "class_name"  # a name: there is nothing to go by
    ]
    assert names == ["learningRate", "batchSize", "epochs", *unpriced]
    assert "herr-nilssons-friend.weight" in names
    # Neither a seed, nor how much was bought, nor the size of all images, nor what has a price.
    assert not {"seed", "neural-turbo-boost.blocks", "resolution-rocket.size"} & set(names)


def test_a_member_is_searched_around_its_own_settings(read: Read) -> None:
    cohort, file = read(ENSEMBLE)
    assert file.loadout is not None
    for member, rate, dropout in ((0, 0.05, 0.4), (1, 0.02, 0.1)):
        knobs = {knob.name: knob for knob in knobs_of(file.loadout, cohort, member)}
        assert knobs["learningRate"].value == rate
        assert knobs["drop-shield.rate"].value == dropout
        assert knobs["rate-rollercoaster.schedule"].range == Choice(
            ("cosine", "step", "one-cycle", "plateau")
        )
        assert not any(name.startswith("ensemble-enchanter") for name in knobs)


def test_nothing_that_is_drawn_leaves_its_bounds(read: Read) -> None:
    cohort, file = read(EVERYTHING)
    assert file.loadout is not None
    knobs = {knob.name: knob for knob in knobs_of(file.loadout, cohort, 0)}
    random = Random(1)  # noqa: S311  # no secret
    drawn = {name: [knob.range.draw(random) for _ in range(400)] for name, knob in knobs.items()}
    assert knobs["epochs"].range == Whole(5, 20)
    assert set(drawn["epochs"]) == set(range(5, 21))
    assert 1 <= min(map(int, drawn["batchSize"])) < 4
    assert 24 < max(map(int, drawn["batchSize"])) <= 64
    for name, values in drawn.items():
        reach = knobs[name].range
        if isinstance(reach, Odds):
            assert all(reach.low < float(value) < reach.high for value in values), name
            assert min(map(float, values)) < reach.centre < max(map(float, values)), name
    # Powers where the present value is a small share of what is allowed.
    decay = sorted(map(float, drawn["weight-decay.penalty"]))
    assert decay[0] == pytest.approx(1e-4 / 5, rel=0.1)
    assert decay[-1] == pytest.approx(5e-4, rel=0.1)
    assert decay[200] == pytest.approx(1e-4, rel=0.3)


def test_a_value_at_the_cohorts_limit_is_searched_below_it(read: Read) -> None:
    cohort, file = read("batchSize: 64")
    assert file.loadout is not None
    limits = cohort.spec.limits.model_copy(update={"batch_size": 64})
    spec = cohort.spec.model_copy(update={"limits": limits})
    tight = cohort.model_copy(update={"spec": spec})
    (knob,) = [k for k in knobs_of(file.loadout, tight, 0) if k.key == "batchSize"]
    drawn = {knob.range.draw(Random(seed)) for seed in range(200)}  # noqa: S311
    assert min(drawn) > 32
    assert 56 < max(drawn) <= 64


@pytest.mark.parametrize("value", ["0", "1"])
def test_a_value_at_its_bound_is_searched_around_the_shops_own(read: Read, value: str) -> None:
    cohort, file = read(f"purchases: [{{item: flip-trick, vertical: {value}}}]")
    assert file.loadout is not None
    (knob,) = [k for k in knobs_of(file.loadout, cohort, 0) if k.key == "vertical"]
    assert knob.range == Odds(0, 1, 0.2, whole=False)


def test_settings_that_are_kept_stay(read: Read) -> None:
    cohort, file = read("epochs: 4\n")
    assert file.loadout is not None
    kept = knobs_of(file.loadout, cohort, 0, ["epochs", "batchSize"])
    assert [knob.name for knob in kept] == ["learningRate"]
    with pytest.raises(Refused, match="did you mean batchSize"):
        knobs_of(file.loadout, cohort, 0, ["batchsize"])
    with pytest.raises(Refused, match="nothing is left to search"):
        knobs_of(file.loadout, cohort, 0, ["epochs", "batchSize", "learningRate"])


def test_candidates_are_admitted_differ_and_repeat(read: Read, tmp_path: Path) -> None:
    drawn = draw(read, EVERYTHING, 30)
    cohort, file = read(EVERYTHING)
    assert [each.number for each in drawn] == list(range(30))
    assert drawn[0].file.loadout == file.loadout
    plans = [plan_of(each, cohort, 0) for each in drawn]
    assert len(set(plans)) == 30
    assert {plan.seed for plan in plans} == {0}
    assert {plan.model.turbo_blocks for plan in plans} == {1}
    assert [each.settings for each in draw(read, EVERYTHING, 30)] == [e.settings for e in drawn]
    other = draw(read, EVERYTHING, 30, seed=1)
    assert other[0].settings == drawn[0].settings
    assert other[1].settings != drawn[1].settings
    for each in drawn[:10]:
        (tmp_path / "pasted.yaml").write_text(each.file.text)
        pasted = read_draft(tmp_path / "pasted.yaml")
        assert (pasted.problems, pasted.model) == ([], each.file.loadout)


def test_where_a_choice_leaves_no_use_for_a_parameter_it_is_taken_out(read: Read) -> None:
    text = "purchases: [{item: rate-rollercoaster, schedule: step, factor: 0.4, every: 3}]"
    for each in draw(read, text, 30):
        course = each.settings["rate-rollercoaster.schedule"]
        (bought,) = parse(each.file.text).root["spec"]["purchases"]  # type: ignore[index]
        assert ("every" in bought) <= (course == "step")
        assert ("factor" in bought) <= (course in ("step", "plateau"))
        assert (each.settings["rate-rollercoaster.every"] is None) == (course != "step")
        assert (each.settings["rate-rollercoaster.warmup"] is None) == (course != "one-cycle")


def test_what_a_cohort_refuses_is_not_tried(read: Read) -> None:
    text = "purchases: [{item: rate-rollercoaster}, {item: learning-rate-decay}]"
    drawn = draw(read, text, 30)
    courses = {each.settings["rate-rollercoaster.schedule"] for each in drawn}
    assert courses == {"cosine", "step", "plateau"}  # one-cycle and decay exclude each other


def test_a_few_possibilities_are_all_there_are(read: Read) -> None:
    cohort, file = read("epochs: 18\n")
    assert file.loadout is not None
    (epochs,) = knobs_of(file.loadout, cohort, 0, ["batchSize", "learningRate"])
    drawn = candidates(file, cohort, [epochs], 0, 100, 0)
    assert sorted(int(each.settings["epochs"] or 0) for each in drawn) == list(range(9, 21))


def test_the_patch_is_the_spec_and_says_what_was_changed(read: Read) -> None:
    for text, member in ((EVERYTHING, 0), (ENSEMBLE, 1), ("{}", 0)):
        own, *others = draw(read, text, 8, member)
        cohort, file = read(text)
        assert file.loadout is not None
        before = {knob.name: knob.value for knob in knobs_of(file.loadout, cohort, member)}
        for each in others:
            written = patch(each, own)
            root = parse(each.file.text).root
            assert parse(written).root == {"spec": root["spec"]}  # type: ignore[index]
            changed = {k for k, v in each.settings.items() if v not in (None, before[k])}
            assert written.count("  # ") == len(changed), (written, changed)
        assert "  # " not in patch(own, own)
    assert "learningRate: " in written
    assert "# was 0.01" in "".join(patch(each, own) for each in others)


def test_only_the_chosen_member_is_changed(read: Read) -> None:
    cohort, file = read(ENSEMBLE)
    assert file.loadout is not None
    before = member_plans(file.loadout, cohort)
    for each in draw(read, ENSEMBLE, 20, member=1)[1:]:
        assert each.file.loadout is not None
        after = member_plans(each.file.loadout, cohort)
        assert after[0] == before[0]
        assert after[1] != before[1]
        assert after[1].seed == before[1].seed
