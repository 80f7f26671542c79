"""What is refused of a game, and what the commands say before there is one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.orchestrator.commands import gamectl, phases

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("home")]

BASE = "epochs: 3\nlearningRate: 0.05\n"
REFUSED = "epochs: 41\n"

WriteCohort = Callable[..., Path]


def test_one_refused_loadout_keeps_all_out(write_cohort: WriteCohort, photos: Path) -> None:
    folder = write_cohort({"apes": BASE, "greedy": REFUSED})
    done = gamectl("submit", folder, "--data", photos)
    assert done.exit_code == 1
    assert "greedy.yaml:5:11  over-limit" in done.stderr
    assert "--skip-refused" in done.stderr
    assert gamectl("get", "jobs").exit_code == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_refused_loadouts_can_be_skipped(write_cohort: WriteCohort, photos: Path) -> None:
    folder = write_cohort({"apes": BASE, "greedy": REFUSED})
    done = gamectl("submit", folder, "--data", photos, "--skip-refused")
    assert done.exit_code == 0, done.output
    assert phases() == {"apes": "Succeeded"}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_member_that_asks_for_too_much_is_refused_and_not_left_pending(
    write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"apes": BASE}, spec="  resources: {cpus: 64}\n")
    done = gamectl("submit", folder, "--data", photos)
    assert done.exit_code == 1
    assert "asks for 64 CPUs" in done.stderr


def test_no_cohort_file_is_said(write_cohort: WriteCohort, tmp_path: Path) -> None:
    folder = write_cohort({"apes": BASE})
    (folder / "cohort.yaml").unlink()
    done = gamectl("submit", folder)
    assert done.exit_code == 1
    assert "no file of kind Cohort" in done.stderr


def test_commands_that_need_a_cohort_say_what_to_run_first(home: Path) -> None:
    for words in (
        ["get", "jobs"], ["score"], ["leaderboard"], ["describe", "job", "apes"], ["classify", "x"],
    ):  # fmt: skip
        done = gamectl(*words)
        assert done.exit_code == 1
        assert done.stderr.startswith("error: nothing was submitted yet: there is no store in")
    assert "gamectl demo" in gamectl("ui").stderr
    assert not home.exists()


@pytest.mark.parametrize(
    "command",
    [
        "submit",
        "get",
        "get jobs",
        "describe",
        "describe job",
        "score",
        "leaderboard",
        "classify",
        "ui",
        "demo",
    ],
)
def test_help_shows_an_example(command: str) -> None:
    done = gamectl(*command.split(), "--help")
    assert done.exit_code == 0
    assert f"gamectl {command.split()[0]}" in done.stdout.partition("Example:")[2]
