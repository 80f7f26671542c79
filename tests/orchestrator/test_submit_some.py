"""`gamectl submit` where some teams cannot be admitted, or rules are not what they were."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.admission.files import read_paths
from orchestrator.errors import NoTeacher
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.workflows.submitting import run_cohort
from tests.orchestrator.cohorts import controller_elsewhere
from tests.orchestrator.commands import gamectl, phases

WriteCohort = Callable[..., Path]
Submit = Callable[..., tuple[int, str]]
BASE = "epochs: 1\nlearningRate: 0.05\n"
FRIEND = "purchases: [{item: herr-nilssons-friend}]\n"
STUDENT = "purchases: [{item: wisdom-extractor}]\n"


@pytest.fixture
def game(home: Path) -> Iterator[Store]:
    """The store, with a controller elsewhere that is at work on the cohort and trains nothing."""
    store = Store(Settings().store_url)
    controller_elsewhere(store)
    yield store
    store.close()


@pytest.fixture
def submit(game: Store, photos: Path) -> Submit:
    """Hands paths in; returns the exit code and what was said."""

    def run(*words: object) -> tuple[int, str]:
        done = gamectl("submit", *words, "--data", photos, "--detach")
        return done.exit_code, done.stderr

    return run


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (FRIEND, "className is 'n7'; the classes of the data are n0, n1, n2"),
        (STUDENT, "wisdom-extractor"),
    ],
)
def test_teams_that_do_not_fit_the_data_can_be_skipped(
    submit: Submit, write_cohort: WriteCohort, more: str, said: str
) -> None:
    folder = write_cohort({"apes": BASE, "owls": BASE + more})
    code, told = submit(folder)
    assert code == 1
    assert said in told
    assert "; --skip-refused submits the others" in told
    code, told = submit(folder, "--skip-refused")
    assert code == 0
    assert said in told
    assert phases() == {"apes": "Pending"}
    (folder / "apes.yaml").unlink()
    code, told = submit(folder, "--skip-refused")
    assert code == 1
    assert "submits the others" not in told


def test_teams_without_a_submission_left_can_be_skipped(
    submit: Submit, write_cohort: WriteCohort
) -> None:
    limit = "  limits: {submissionsPerTeam: 1}\n"
    submit(write_cohort({"apes": BASE}, spec=limit))
    folder = write_cohort({"apes": BASE.replace("0.05", "0.02"), "late": BASE}, spec=limit)
    assert submit(folder)[0] == 1
    code, told = submit(folder, "--skip-refused")
    assert code == 0
    assert "team 'apes' has handed in 1 revision, cohort 'small' allows 1" in told
    assert phases() == {"apes": "Pending", "late": "Pending"}


def test_a_loadout_alone_changes_no_rules(submit: Submit, write_cohort: WriteCohort) -> None:
    submit(write_cohort({"apes": BASE}))
    folder = write_cohort({"late": BASE}, spec="  budget: 1000\n  limits: {epochs: 7}\n")
    code, told = submit(folder / "late.yaml")
    assert code == 1
    assert "(budget is 1000, was 100, limits.epochs is 7, was 40)" in told
    assert "A loadout alone does not change them" in told
    code, told = submit(folder / "late.yaml", folder / "cohort.yaml")
    assert code == 0
    assert "its rules have changed: budget is 1000, was 100, limits.epochs" in told
    assert "; apes stay as they were admitted" in told
    assert "rules" not in submit(folder / "late.yaml")[1]


def test_all_teams_have_the_same_validation_images(
    submit: Submit, write_cohort: WriteCohort
) -> None:
    submit(write_cohort({"apes": BASE}))
    folder = write_cohort({"late": BASE}, spec="  data: {splitSeed: 7}\n")
    code, told = submit(folder / "late.yaml", folder / "cohort.yaml")
    assert code == 1
    assert "another validation split (data.splitSeed is 7, was 0)" in told
    assert "not handed in again: apes. Submit all teams" in told
    assert submit(folder)[0] == 0
    limit = "  data: {splitSeed: 8}\n  limits: {submissionsPerTeam: 1}\n"
    changed = {"apes": BASE.replace("0.05", "0.02"), "later": BASE}
    code, told = submit(write_cohort(changed, spec=limit), "--skip-refused")
    assert code == 1, "those without a submission left would stay on the old split"
    assert "not handed in again: apes" in told
    assert "rules have changed" not in told


def test_a_late_file_does_not_take_the_team_of_the_file_beside_it(
    submit: Submit, write_cohort: WriteCohort
) -> None:
    folder = write_cohort({"apes": BASE})
    assert submit(folder)[0] == 0
    forgotten = (folder / "apes.yaml").read_text().replace("0.05", "0.02")
    (folder / "late.yaml").write_text(forgotten)
    code, told = submit(folder / "late.yaml")
    assert code == 1
    assert f"late.yaml:3:18  team-taken  team is 'apes', as in {folder / 'apes.yaml'}" in told
    (folder / "apes.yaml").rename(folder / "mine.yaml")  # nobody's by its name
    assert submit(folder / "late.yaml")[0] == 0


def test_a_plan_says_whom_a_submission_would_refuse_for_want_of_a_teacher(
    home: Path, photos: Path, write_cohort: WriteCohort
) -> None:
    folder = write_cohort({"apes": BASE, "owls": BASE + STUDENT})
    done = gamectl("plan", folder, "--data", photos)
    assert done.exit_code == 1
    assert "owls.yaml" in done.stdout
    assert "no teacher fits this data, and submit refuses a student without one" in done.stdout
    told = json.loads(gamectl("plan", folder, "--data", photos, "-o", "json").stdout)
    assert [job["team"] for job in told["jobs"]] == ["apes"]
    assert [refused["team"] for refused in told["refused"]] == ["owls"]


def test_whoever_can_do_without_students_hears_that_it_is_about_a_teacher(
    home: Path, photos: Path, write_cohort: WriteCohort
) -> None:
    """As the demo, where the monkeys are drawn with other bits than the teacher's."""
    reading = read_paths([write_cohort({"apes": BASE, "owls": BASE + STUDENT})], other_data=True)
    with pytest.raises(NoTeacher) as refused:
        run_cohort(reading, photos, False, None, Settings())
    assert set(refused.value.reasons) == {"owls"}
    assert "--skip-refused" not in str(refused.value)


def test_who_tried_the_starter_goes_on_with_the_class(submit: Submit, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    assert gamectl("init", folder).exit_code == 0
    assert submit(folder)[0] == 0
    file = (folder / "first-team.yaml").rename(folder / "apes.yaml")
    file.write_text(file.read_text().replace("first-team", "apes"))
    code, told = submit(folder)
    assert code == 0
    assert "no file in the folder for first-team: its job stays in the cohort" in told
    assert phases() == {"first-team": "Pending", "apes": "Pending"}
