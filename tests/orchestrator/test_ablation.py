"""What items are worth: what is left out, what cannot be, the sums, the table and the picture."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.ablation.picture import picture
from orchestrator.ablation.table import COLUMNS, legend, rows
from orchestrator.ablation.worth import Ablation, Kept, Variants, Worth, ablation, to_run, variants
from orchestrator.admission.files import LoadoutFile, Reading, read_paths
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.member_plans import member_plans
from orchestrator.errors import Refused
from orchestrator.measuring.balance import side_cohort
from orchestrator.state import Job
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, submit

WriteCohort = Callable[..., Path]

PLAIN = """
learningRate: 0.05
purchases:
  - item: flip-trick
  - item: drop-shield
    rate: 0.3
  - item: speed-boost
"""


@pytest.fixture
def read(write_cohort: WriteCohort) -> Callable[..., tuple[Reading, LoadoutFile]]:
    def read_one(text: str, spec: str = "  budget: 200\n") -> tuple[Reading, LoadoutFile]:
        reading = read_paths([write_cohort({"apes": text}, spec)])
        assert reading.ok, [file.problems for file in reading.files]
        return reading, next(file for file in reading.files if file.loadout is not None)

    return read_one


def left_out(all_of_it: Variants) -> list[tuple[str, ...]]:
    return [variant.items for variant in all_of_it.each]


def loadout_of(file: LoadoutFile) -> Loadout:
    assert file.loadout is not None
    return file.loadout


Read = Callable[..., tuple[Reading, LoadoutFile]]


def test_each_item_is_left_out_once_and_nothing_else_changes(read: Read) -> None:
    reading, file = read(PLAIN)
    all_of_it = variants(file, reading.cohort)
    assert left_out(all_of_it) == [(), ("flip-trick",), ("drop-shield",), ("speed-boost",)]
    assert [each.cost_bnn for each in all_of_it.each] == [0, 10, 10, 0]
    assert all_of_it.kept == ()
    (whole,) = member_plans(loadout_of(file), reading.cohort)
    plans = [member_plans(loadout_of(each.file), reading.cohort)[0] for each in all_of_it.each]
    base = type(whole)(data=whole.data)
    assert plans[0] == whole
    assert plans[1] == whole.model_copy(update={"augment": base.augment})
    assert plans[2] == whole.model_copy(update={"model": base.model})
    momentum = whole.optimizer.model_copy(update={"momentum": 0.0})
    assert plans[3] == whole.model_copy(update={"optimizer": momentum})
    spent = [each.file.receipt.total_bnn for each in all_of_it.each if each.file.receipt]
    assert spent == [20, 10, 10, 20]


def test_what_hangs_together_is_left_out_together(read: Read) -> None:
    deep = (
        "purchases: [{item: resolution-rocket, size: 128}, {item: neural-turbo-boost, blocks: 6}]"
    )
    reading, file = read(deep)
    all_of_it = variants(file, reading.cohort)
    # Without larger images six blocks pool everything away; without blocks the images may stay.
    assert left_out(all_of_it) == [
        (), ("resolution-rocket", "neural-turbo-boost"), ("neural-turbo-boost",)
    ]  # fmt: skip
    assert [each.cost_bnn for each in all_of_it.each] == [0, 125, 120]
    assert all_of_it.each[1].team == "without-resolution-rocket"


def test_what_members_say_of_an_item_goes_with_it(read: Read) -> None:
    reading, file = read("""
purchases:
  - item: ensemble-enchanter
    members:
      - {}
      - {items: {drop-shield: {rate: 0.2}, rate-rollercoaster: {schedule: step}}}
  - {item: drop-shield, rate: 0.4}
  - {item: rate-rollercoaster, factor: 0.3}
""")
    all_of_it = variants(file, reading.cohort)
    assert left_out(all_of_it)[1:] == [
        ("ensemble-enchanter",), ("drop-shield",), ("rate-rollercoaster",)
    ]  # fmt: skip
    # The factor was for the member with another schedule, and would be refused without it.
    (alone,) = member_plans(loadout_of(all_of_it.each[1].file), reading.cohort)
    assert (alone.schedule.kind, alone.model.dropout) == ("cosine", 0.4)
    pair = member_plans(loadout_of(all_of_it.each[2].file), reading.cohort)
    assert [plan.model.dropout for plan in pair] == [0, 0]
    assert [plan.schedule.kind for plan in pair] == ["cosine", "step"]


def test_an_ensemble_is_compared_with_its_first_member_seed_for_seed(read: Read) -> None:
    reading, file = read(
        """
seed: 5
purchases:
  - item: flip-trick
  - item: ensemble-enchanter
    members:
      - {learningRate: 0.05, epochs: 4, seed: 3, items: {flip-trick: {vertical: 0.2}}}
      - {learningRate: 0.06, epochs: 10, seed: 4007}
""",
        "  limits: {epochs: 10}\n",
    )
    all_of_it = variants(file, reading.cohort)
    assert (left_out(all_of_it)[-1], all_of_it.kept) == (("ensemble-enchanter",), ())
    runs = side_cohort(to_run(reading, all_of_it, 10), 2, "drawn").files
    plans = {f.loadout.team: member_plans(f.loadout, reading.cohort) for f in runs if f.loadout}
    for number in range(2):
        (alone,) = plans[f"without-ensemble-enchanter-s{number}"]
        assert alone == plans[f"whole-s{number}"][0]


def test_what_cannot_be_left_out_is_said_with_the_reason(read: Read) -> None:
    reading, file = read("""
purchases:
  - item: ensemble-enchanter
    members: [{seed: 1}, {seed: 1, items: {flip-trick: {vertical: 0}}}]
  - item: flip-trick
""")
    all_of_it = variants(file, reading.cohort)
    assert left_out(all_of_it) == [(), ("ensemble-enchanter",)]
    (kept,) = all_of_it.kept
    assert kept.item == "flip-trick"
    assert kept.reason.startswith("member 1 would be the same network as member 0")
    small = "  limits: {imageSizePx: 48}\n"
    reading, file = read("purchases: [{item: resolution-rocket, size: 48}]", small)
    (kept,) = variants(file, reading.cohort).kept
    assert "images are 64 px wide" in kept.reason


def test_without_purchases_there_is_nothing_to_leave_out(read: Read) -> None:
    reading, file = read("epochs: 3\n")
    with pytest.raises(Refused, match="buys nothing"):
        variants(file, reading.cohort)


def test_the_side_cohort_has_each_seed_and_a_name_with_room(read: Read) -> None:
    reading, file = read(PLAIN, "  limits: {submissionsPerTeam: 1}\n")
    all_of_it = variants(file, reading.cohort)
    side = side_cohort(to_run(reading, all_of_it, len("-x-12345678")), 2, "x-12345678")
    assert side.cohort.name == "small-apes-ablation-x-12345678"
    assert side.cohort.spec.limits.submissions_per_team is None
    teams = [each.team for each in side.files]
    assert teams[:4] == ["whole-s0", "whole-s1", "without-flip-trick-s0", "without-flip-trick-s1"]
    seeds = [member_plans(loadout_of(each), side.cohort)[0].seed for each in side.files]
    assert seeds == [0, 1000] * 4
    long = [to_run(reading, replace(all_of_it, team=team * 63), 40) for team in "ab"]
    names = {each.cohort.name for each in long}
    assert len(names) == 2
    assert all(len(name) == 63 - 40 for name in names)


ACCURACIES = {
    "whole": (0.60, 0.62, 0.64),
    "without-flip-trick": (0.58, 0.61, 0.60),
    "without-drop-shield": (0.61, None, 0.63),
    "without-speed-boost": (0.70, 0.72, 0.74),
}


@pytest.fixture
def measured(read: Read, store: Store) -> Ablation:
    reading, file = read(PLAIN)
    submit(store, *(new_job(f"{team}-s{k}") for team in ACCURACIES for k in range(3)))
    jobs: dict[str, Job] = {job.team: replace(job, spent_bnn=20) for job in store.jobs("small")}
    known = {
        jobs[f"{team}-s{k}"].uid: value
        for team, values in ACCURACIES.items()
        for k, value in enumerate(values)
        if value is not None
    }
    all_of_it = variants(file, reading.cohort)
    kept = replace(all_of_it, kept=(Kept("x", "y"),))
    return ablation(kept, 3, list(jobs.values()), known, "validation", 219)


def test_worth_is_the_mean_of_the_differences_at_each_seed(measured: Ablation) -> None:
    assert [worth.items[0] for worth in measured.worths] == [
        "flip-trick", "speed-boost", "drop-shield"
    ]  # fmt: skip
    flip, boost, drop = measured.worths
    assert flip.points == pytest.approx((2, 1, 4))
    assert flip.mean_points == pytest.approx(7 / 3)
    half = 4.302653 * (7 / 3) ** 0.5 / 3**0.5  # their variance is 7/3
    assert (flip.low_points, flip.high_points) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert flip.points_per_bnn == pytest.approx(7 / 30)
    assert flip.verdict == "unclear"
    # Every seed agrees to the bit of a float.
    assert boost.mean_points == pytest.approx(-10)
    assert boost.verdict == "hurts"
    assert boost.points_per_bnn is None  # it cost nothing
    assert drop.points[1] is None
    assert (drop.mean_points, drop.low_points, drop.points_per_bnn) == (None, None, None)
    assert measured.mean == pytest.approx(0.62)
    assert measured.failed == ("without-drop-shield-s1",)
    assert (measured.team, measured.spent_bnn, measured.cohort) == ("apes", 20, "small")


def test_table_and_legend_say_it(measured: Ablation) -> None:
    assert [len(row) for row in rows(measured)] == [len(COLUMNS)] * 4
    assert rows(measured)[0][:3] == ["nothing", "20", "62.0%"]
    assert rows(measured)[1] == ["flip-trick", "10", "59.7%", "+2.3", "-1.5 to +6.1", "+0.23"]
    assert rows(measured)[3] == ["drop-shield", "10", "1 of 3 failed", "-", "-", "-"]
    text = legend(measured)
    assert "219 validation images" in text
    assert "Student's t over the seeds" in text
    assert "no worth where a network failed" in text
    told = legend(replace(measured, num_seeds=1))
    assert "one seed cannot tell worth from luck: use --seeds 3" in told


def test_the_picture_is_drawn_of_whatever_there_is(measured: Ablation) -> None:
    for result in (measured, replace(measured, worths=(), mean=None)):
        with Image.open(io.BytesIO(picture(result))) as drawn:
            assert drawn.format == "PNG"
            assert drawn.width == 1920


def test_equal_differences_are_no_certainty(read: Read, store: Store) -> None:
    reading, file = read(PLAIN)
    submit(store, *(new_job(f"{team}-s{k}") for team in ACCURACIES for k in range(2)))
    jobs: dict[str, Job] = {job.team: job for job in store.jobs("small")}
    without = {team: 0.60 if team == "whole" else 0.59 for team in ACCURACIES}
    known = {jobs[f"{team}-s{k}"].uid: without[team] for team in ACCURACIES for k in range(2)}
    all_of_it = variants(file, reading.cohort)

    def first(num_images: int) -> Worth:
        return ablation(all_of_it, 2, list(jobs.values()), known, "test", num_images).worths[0]

    assert first(100).mean_points == pytest.approx(1)
    assert first(100).verdict == "unclear"  # one image of a hundred
    assert first(10_000).verdict == "helps"
