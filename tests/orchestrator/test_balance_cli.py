"""`gamectl balance`: mistakes are found early, and what was measured is not measured again."""

import json
from collections.abc import Callable
from errno import EPIPE
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.orchestrator.commands import gamectl

WriteCohort = Callable[..., Path]


def test_mistakes_are_found_before_anything_is_run(
    write_cohort: WriteCohort, photos: Path, tmp_path: Path, home: Path
) -> None:
    folder = write_cohort({"apes": "epochs: 1\n", "b" * 62: "epochs: 1\n"})
    words = ["balance", folder, "--data", photos]
    too_long = gamectl(*words)
    assert "its runs are named" in too_long.stderr
    assert "no loadout 'none'" in gamectl(*words, "--baseline", "none").stderr
    assert "--output json is for programs" in gamectl(*words, "-o", "json").stderr
    nowhere = gamectl(*words, "-o", tmp_path / "nowhere" / "BALANCE.md")
    assert "there is no folder" in nowhere.stderr
    (folder / "cohort.yaml").unlink()
    assert "no file of kind Cohort" in gamectl(*words).stderr
    write_cohort({"apes": "epochs: 0\n"})
    refused = gamectl(*words)
    assert refused.exit_code == 1
    assert "out-of-range" in refused.stderr
    assert "nothing was measured" in refused.stderr
    assert not (home / "store.db").exists()
    (folder / f"{'b' * 62}.yaml").unlink()
    write_cohort({"apes": "epochs: 1\n"}, spec="  resources: {cpus: 1000}\n")
    misfit = gamectl(*words)
    assert "so nothing was measured; change them as said" in misfit.stderr
    assert "--skip-refused" not in misfit.stderr


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_two_loadouts_are_measured_once(
    write_cohort: WriteCohort,
    photos: Path,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    brisk = "epochs: 2\nlearningRate: 0.05\nseed: 3\n"
    folder = write_cohort(
        {"none": "epochs: 1\n", "brisk": brisk}, spec="  scoring: {excludeLeaked: true}\n"
    )
    file = tmp_path / "BALANCE.md"
    file.write_text("Kept.\n")
    file.chmod(0o640)
    link = tmp_path / "link.md"
    link.symlink_to(file)
    words = ["balance", folder, "--data", photos, "--seeds", "2"]
    done = gamectl(*words, "-o", link)
    assert done.exit_code == 0, done.output
    assert (link.readlink(), file.stat().st_mode & 0o777) == (file, 0o640)
    assert "4 jobs submitted" in done.stderr
    assert "brisk" in done.stdout
    text = file.read_text()
    assert text.startswith("Kept.\n\n<!-- data -->\n\n## data\n\n    gamectl balance cohort ")
    assert str(tmp_path) not in text  # what only this machine has
    assert text.count("| brisk | 0 | 2 |") == 1

    jobs = read_jobs()
    with monkeypatch.context() as patched:  # nobody reads what is printed
        patched.setattr(
            "orchestrator.console.print_table", Mock(side_effect=BrokenPipeError(EPIPE, "gone"))
        )
        file.write_text("Kept.\n")
        assert gamectl(*words, "-o", link).exit_code != 0
    assert file.read_text() == text
    again = gamectl(*words, "-o", link, "--output", "json")
    assert "nothing is run twice" in again.stderr
    assert read_jobs() == jobs
    assert file.read_text() == text
    result = json.loads(again.stdout)
    assert (result["num_seeds"], result["baseline"], result["test_images"]) == (2, "none", 18)
    rows = {row["loadout"]: row for row in result["rows"]}
    assert [len(row["accuracies"]) for row in rows.values()] == [2, 2]
    gain = 100 * (rows["brisk"]["mean"] - rows["none"]["mean"])
    assert rows["brisk"]["gain_points"] == pytest.approx(gain)

    assert "only side cohorts" in gamectl("score", "--publish").stderr
    board = json.loads(gamectl("leaderboard", "--cohort", result["cohort"], "-o", "json").stdout)
    assert board["published"] is False
    scores = [row["accuracy"] for row in board["rows"]]
    places = [1 + sum(other > score for other in scores) for score in scores]
    assert [row["rank"] for row in board["rows"]] == places, "nothing else tells them apart"


def read_jobs() -> Any:
    store = Store(Settings().store_url)
    try:
        (cohort,) = store.cohorts()
        return store.jobs(cohort.name)
    finally:
        store.close()
