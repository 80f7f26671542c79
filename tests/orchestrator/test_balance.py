"""What loadouts are worth: the side cohort, the sums, and the table."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.admission.draft import read_draft
from orchestrator.admission.files import Reading, read_paths
from orchestrator.admission.loadout import Loadout
from orchestrator.admission.member_plans import member_plans
from orchestrator.errors import Refused
from orchestrator.measuring.balance import Balance, balance, data_label, section_name, side_cohort
from orchestrator.measuring.balance_table import legend, section, table
from orchestrator.phases import Phase
from orchestrator.results.scorebook import ScoreBook
from orchestrator.state import Job
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.job_states import job, member
from tests.orchestrator.test_leaderboard import score

WriteCohort = Callable[..., Path]
LOADOUTS = Path(__file__).parents[2] / "loadouts"
ENSEMBLE = """
seed: 7
purchases:
  - item: ensemble-enchanter
    members: [{}, {seed: 40}, {learningRate: 0.00002}]
"""


def loadouts(reading: Reading) -> dict[str, Loadout]:
    return {file.loadout.team: file.loadout for file in reading.files if file.loadout}


def test_every_loadout_is_there_once_a_seed(write_cohort: WriteCohort) -> None:
    folder = write_cohort({"plain": "epochs: 3\n", "trio": ENSEMBLE})
    reading = read_paths([folder])
    measured = side_cohort(reading, 3, "drawn-1a2b3c4d")
    assert measured.cohort.name == "small-drawn-1a2b3c4d"
    assert measured.cohort.spec == reading.cohort.spec
    assert measured.ok
    assert measured.cohort_path == folder / "cohort.yaml"
    assert sorted(loadouts(measured)) == [f"{t}-s{k}" for t in ("plain", "trio") for k in range(3)]
    seeds = {
        team: [plan.seed for plan in member_plans(loadout, reading.cohort)]
        for team, loadout in loadouts(measured).items()
    }
    assert [seeds[f"plain-s{k}"] for k in range(3)] == [[0], [1000], [2000]]
    assert [seeds[f"trio-s{k}"] for k in range(3)] == [
        [7, 40, 9],
        [1007, 1040, 1009],
        [2007, 2040, 2009],
    ]


def test_nothing_but_name_and_seeds_is_changed(write_cohort: WriteCohort) -> None:
    reading = read_paths([write_cohort({"trio": ENSEMBLE})])
    (original,) = loadouts(reading).values()
    changed = side_cohort(reading, 2, "x")
    plans = [
        [plan.model_copy(update={"seed": 0}) for plan in member_plans(each, reading.cohort)]
        for each in (original, *loadouts(changed).values())
    ]
    assert plans[0] == plans[1] == plans[2]
    assert {file.receipt for file in changed.files if file.loadout} == {
        file.receipt for file in reading.files if file.loadout
    }


@pytest.mark.parametrize(
    "class_name", ["n7", "1e5", "0o17", "no", "yes, it's: #1 \\U0001f412", " "]
)
def test_the_stored_text_is_a_loadout_that_says_the_same(
    class_name: str, write_cohort: WriteCohort, tmp_path: Path
) -> None:
    text = f"""
learningRate: 1e-05
purchases:
  - item: herr-nilssons-friend
    className: "{class_name}"
  - item: info-infusion
"""
    measured = side_cohort(read_paths([write_cohort({"apes": text})]), 2, "x")
    for file in measured.files:
        if file.loadout is None:
            continue
        (tmp_path / "stored.yaml").write_text(file.text)
        draft = read_draft(tmp_path / "stored.yaml")
        assert draft.problems == []
        assert draft.model == file.loadout
        assert draft.team == file.team


def test_the_committed_loadouts_can_be_measured() -> None:
    reading = read_paths([LOADOUTS / "balance"])
    assert reading.ok, [file.problems for file in reading.files]
    teams = {file.loadout.team: file for file in reading.files if file.loadout}
    assert all(Path(file.path).stem == team for team, file in teams.items())
    assert len(loadouts(side_cohort(reading, 3, "drawn-1a2b3c4d"))) == 3 * len(teams)
    best = teams["best"].loadout
    assert best is not None
    for bought in best.spec.purchases:
        without = teams[f"best-without-{bought.item}"].loadout
        assert without is not None
        others = [each for each in best.spec.purchases if each is not bought]
        assert list(without.spec.purchases) == others


def test_names_and_seeds_without_room_are_refused(write_cohort: WriteCohort) -> None:
    longest = "a" * 60
    reading = read_paths([write_cohort({longest: "seed: 9007199254730991\n"})])
    side_cohort(reading, 10, "d" * 57)
    with pytest.raises(Refused, match=r"team 'a{60}' has 60 characters; its runs are named"):
        side_cohort(reading, 11, "x")
    with pytest.raises(Refused, match="of 64 characters; allowed are 63"):
        side_cohort(reading, 1, "d" * 58)
    late = read_paths([write_cohort({longest: "seed: 9007199254740991\n"})])
    side_cohort(late, 1, "x")
    with pytest.raises(Refused, match="seed 9007199254741991; allowed is at most 9007199254740991"):
        side_cohort(late, 2, "x")


def test_each_version_of_the_data_has_a_name_of_its_own() -> None:
    assert section_name("drawn") == "drawn"
    assert section_name("/photos/10 Monkey_Species!/") == "10-monkey-species"
    assert section_name("/") == "data"
    assert data_label("drawn", "1a2b3c4d" * 8) == "drawn-1a2b3c4d"


ACCURACIES = {
    "none": (0.50, 0.54),
    "best": (0.70, 0.74),
    "best-without-flip-trick": (0.66, 0.68),
    "best-without-anything": (0.40, 0.44),
    "other-without-flip-trick": (0.60, 0.60),
    "failed": (),
    "half": (0.61,),
}


@pytest.fixture
def measured(store: Store) -> Callable[..., Balance]:
    """A function that sums up `ACCURACIES`, as two seeds of each, compared with a baseline."""

    def sum_up(baseline: str | None) -> Balance:
        submit(store, *(new_job(f"{team}-s{k}") for team in ACCURACIES for k in range(2)))
        jobs: dict[str, Job] = {
            job.team: replace(job, phase=Phase.SUCCEEDED, spent_bnn=30)
            for job in store.jobs("small")
        }
        book = ScoreBook(
            cohort="small",
            test_fingerprint="t",
            test_images=250,
            test_images_left_out=22,
            classes=("n0", "n1", "n2"),
            scores=tuple(
                score(jobs[f"{team}-s{k}"], accuracy)
                for team, accuracies in ACCURACIES.items()
                for k, accuracy in enumerate(accuracies)
            ),
        )
        return balance(dict.fromkeys(ACCURACIES, 30.0), 2, baseline, list(jobs.values()), book)

    return sum_up


def test_rows_are_sorted_by_mean_and_compared(measured: Callable[..., Balance]) -> None:
    rows = {row.loadout: row for row in measured("none").rows}
    assert list(rows) == [
        "best",
        "best-without-flip-trick",
        "other-without-flip-trick",
        "none",
        "best-without-anything",
        "failed",
        "half",
    ]
    best, without = rows["best"], rows["best-without-flip-trick"]
    assert best.mean == pytest.approx(0.72)
    assert best.spread == pytest.approx(0.04 / 2**0.5)  # of two values, with n - 1
    assert best.gain_points == pytest.approx(20)
    assert best.kept is None
    assert without.kept == pytest.approx(0.75)
    assert rows["best-without-anything"].kept == pytest.approx(-0.5)
    assert rows["other-without-flip-trick"].kept is None
    # Student's t of one degree of freedom is 12.7; equal differences count whole images.
    halves = [rows[name].gain_half_points for name in ("best-without-flip-trick", "best")]
    assert halves == [pytest.approx(12.7, abs=0.01), pytest.approx(1.467, abs=0.01)]
    assert rows["none"].gain_points == 0
    assert (rows["half"].mean, rows["half"].gain_points) == (None, None)
    assert (rows["failed"].mean, rows["failed"].gain_points) == (None, None)
    assert {row.spent_bnn for row in rows.values()} == {30}


def test_without_a_baseline_or_a_gain_nothing_is_compared(measured: Callable[..., Balance]) -> None:
    assert {row.gain_points for row in measured(None).rows} == {None}
    columns, _ = table(measured(None))
    assert columns == ["loadout", "spent", "runs", "accuracy", "spread"]
    assert {row.kept for row in measured("best").rows} == {None}
    assert {row.gain_points for row in measured("failed").rows} == {None}
    assert "no gains, as failed has no mean" in legend(measured("failed"))
    assert "gain" not in legend(measured(None))


def test_nothing_is_shared_of_a_gain_that_may_be_luck(measured: Callable[..., Balance]) -> None:
    rows = {row.loadout: row for row in measured("best-without-anything").rows}
    assert rows["best-without-flip-trick"].kept == pytest.approx(25 / 30)
    rows = {row.loadout: row for row in measured("best-without-flip-trick").rows}
    assert rows["best"].gain_points == pytest.approx(5)
    assert rows["best-without-anything"].kept is None  # 5 points more, give or take 12.7


def test_the_section_says_everything(measured: Callable[..., Balance]) -> None:
    text = section(measured("none"), "drawn", "gamectl balance loadouts/balance")
    lines = text.splitlines()
    assert lines[:5] == [
        "## drawn",
        "",
        "    gamectl balance loadouts/balance",
        "",
        "| loadout | spent | runs | accuracy | spread | gain | ± | kept |",
    ]
    assert lines[5] == "| --- | --: | --: | --: | --: | --: | --: | --: |"
    assert "| best | 30 | 2 | 72.0% | 2.8 | +20.0 | 1.5 | - |" in lines
    assert "| best-without-flip-trick | 30 | 2 | 67.0% | 1.4 | +15.0 | 12.7 | 75% |" in lines
    assert "| failed | 30 | 0 of 2 | - | - | - | - | - |" in lines
    assert "| half | 30 | 1 of 2 | - | - | - | - | - |" in lines
    assert "250 test images (22 more, which leak, are left out)" in lines[-1]
    assert "leak" not in legend(replace(measured("none"), test_images_left_out=0))


def test_with_one_seed_there_is_no_spread_to_explain(measured: Callable[..., Balance]) -> None:
    rows = tuple(replace(row, spread=None) for row in measured("none").rows)
    said = legend(replace(measured("none"), rows=rows, num_seeds=1))
    assert "mean over 1 seed, on 250" in said
    assert "spread" not in said


def test_runs_that_lost_members_are_named(store: Store) -> None:
    trained, lost = member(1, 0, Phase.SUCCEEDED), member(1, 1, Phase.FAILED)
    degraded = job(1, trained, lost, team="a-s0", phase=Phase.SUCCEEDED)
    whole = job(2, Phase.SUCCEEDED, team="b-s0", phase=Phase.SUCCEEDED)
    book = ScoreBook(
        cohort="small",
        test_fingerprint="t",
        test_images=3,
        classes=("n0", "n1", "n2"),
        scores=(score(degraded, 0.5), score(whole, 0.4)),
    )
    found = balance({"a": 1.0, "b": 2.0}, 1, None, [degraded, whole], book)
    assert found.to_dict()["degraded"] == ("a-s0 (1 of 2)",)
    assert "without members that were lost: a-s0 (1 of 2)" in legend(found)


def test_runs_share_no_seed_however_far_apart_members_are(tmp_path: Path) -> None:
    members = "{seed: 1000}, {seed: 2000}, {seed: 3500}"
    (tmp_path / "cohort.yaml").write_text("apiVersion: game/v1\nkind: Cohort\n")
    (tmp_path / "x.yaml").write_text(
        "apiVersion: game/v1\nkind: Loadout\nmetadata: {team: x}\nspec:\n  purchases:\n"
        f"    - {{item: ensemble-enchanter, members: [{members}]}}\n"
    )
    side = side_cohort(read_paths([tmp_path]), 3, "drawn-1a2b3c4d")
    seeds = [
        plan.seed
        for file in side.files
        if file.loadout is not None
        for plan in member_plans(file.loadout, side.cohort)
    ]
    assert seeds[:3] == [1000, 2000, 3500]
    assert seeds[3:6] == [5000, 6000, 7500]
    assert len(set(seeds)) == 9


def test_a_long_name_of_the_data_leaves_room_for_the_cohorts() -> None:
    label = data_label("/photos/" + "x" * 60, "1a2b3c4d" * 8)
    assert label == "x" * 24 + "-1a2b3c4d"
