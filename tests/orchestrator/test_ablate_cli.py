"""`gamectl ablate`: pairs of networks on real Ray, measured once."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.store import Store
from orchestrator.workflows.measuring import announce
from tests.orchestrator.cohorts import cohort
from tests.orchestrator.commands import gamectl
from tests.orchestrator.job_states import job

WriteCohort = Callable[..., Path]
LOADOUT = """
learningRate: 0.05
batchSize: 4
epochs: 2
purchases:
  - item: info-infusion
"""


def side_jobs() -> dict[str, Any]:
    store = Store(Settings().store_url)
    try:
        (cohort,) = store.cohorts()
        return {job.team: job for job in store.jobs(cohort.name)}
    finally:
        store.close()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster", "home")
def test_an_item_is_left_out_and_measured_once(
    write_cohort: WriteCohort, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_cohort({"apes": LOADOUT}) / "apes.yaml"
    words = ["ablate", file, "--data", photos, "--seeds", 2]
    done = gamectl(*words)
    assert done.exit_code == 0, done.output
    assert "4 jobs to run, 4 networks: about" in done.stderr
    assert "the networks: gamectl get jobs --cohort small-apes-ablation-data-" in done.stderr
    assert done.stdout.splitlines()[0].split() == [
        "left", "out", "cost", "without", "worth", "95%", "interval", "per", "B", "NN"
    ]  # fmt: skip
    assert max(map(len, done.stdout.splitlines())) <= 80
    with Image.open("apes-ablation.png") as picture:
        assert picture.format == "PNG"
    assert "test set" not in done.output
    assert "test images" not in done.output

    before = side_jobs()
    again = gamectl(*words, "--picture", "again.png", "--output", "json")
    assert "jobs to run" not in again.stderr
    assert side_jobs() == before
    assert Path("again.png").is_file()
    result = json.loads(again.stdout)
    whole = [before[f"whole-s{k}"].val_accuracy for k in range(2)]
    without = [before[f"without-info-infusion-s{k}"].val_accuracy for k in range(2)]
    (worth,) = result["worths"]
    assert (result["judged_by"], result["num_images"]) == ("validation", 12)
    assert result["accuracies"] == whole
    assert worth["accuracies"] == without
    assert worth["points"] == pytest.approx(
        [100 * (a - b) for a, b in zip(whole, without, strict=True)]
    )
    assert worth["points_per_bnn"] == pytest.approx(worth["mean_points"] / 20)

    # The organizer may let the hidden test set decide; the networks are there already.
    organizer = gamectl(*words, "--test-set", "--output", "json")
    assert organizer.exit_code == 0, organizer.output
    assert json.loads(organizer.stdout)["judged_by"] == "test"
    assert json.loads(organizer.stdout)["num_images"] == 18
    assert side_jobs() == before
    picture = Path("apes-ablation-test.png")
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600
    assert "for you alone" in organizer.stderr
    assert stat.S_IMODE(Path("apes-ablation.png").stat().st_mode) == 0o644
    assert "only side cohorts" in gamectl("score", "--publish").stderr


@pytest.mark.parametrize("rules", [{}, {"cluster": "http://head:8265"}])
def test_what_will_run_elsewhere_is_announced_without_a_time(
    rules: dict[str, str],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not rules:
        monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    jobs = [
        job(1, Phase.SUCCEEDED, phase=Phase.SUCCEEDED),
        job(2, Phase.FAILED, phase=Phase.FAILED),  # by the team's fault: it is not run again
        job(3, Phase.SUCCEEDED, Phase.RUNNING, Phase.PENDING, phase=Phase.RUNNING),
        job(4, Phase.PENDING),
    ]
    announce(jobs, cohort(**rules).spec, None, Settings())
    said = capsys.readouterr().err
    assert said == "2 jobs to run, 3 networks; Ctrl-C keeps what is done\n"
    announce(jobs[:2], cohort(**rules).spec, None, Settings())
    assert capsys.readouterr().err == ""


def test_mistakes_are_said_before_anything_is_run(
    write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort({"apes": "epochs: 1\n", "bad": "epochs: 0\n"})
    nothing = gamectl("ablate", folder / "apes.yaml", "--data", photos)
    assert nothing.exit_code == 1
    assert "buys nothing" in nothing.stderr
    refused = gamectl("ablate", folder / "bad.yaml", "-o", "json")  # no file stands under -o here
    assert "out-of-range" in refused.stderr
    assert "nothing was measured" in refused.stderr
    assert "is no loadout" in gamectl("ablate", folder / "cohort.yaml").stderr
    assert gamectl("ablate", folder).exit_code == 2
    assert gamectl("ablate", folder / "apes.yaml", "--picture", "x.jpg").exit_code == 2
    nowhere = gamectl("ablate", folder / "apes.yaml", "--picture", "/proc/x.png")
    assert "/proc/x.png cannot be written" in nowhere.stderr
    assert not (home / "store.db").exists()
