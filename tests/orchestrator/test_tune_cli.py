"""`gamectl tune`: trials on real Ray Tune, and settings that give what they promise."""

import json
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from PIL import Image

from jobs.custom.sandbox import unavailable
from jobs.images import LabelledImages
from jobs.plan import CustomPlan, EpochReport, MemberPlan, OptimizerPlan, SandboxRules
from jobs.train import train_member
from orchestrator.admission.cohort import Resources
from orchestrator.admission.files import read_paths
from orchestrator.admission.yaml_nodes import parse
from orchestrator.search import run
from orchestrator.search.run import Desk
from orchestrator.settings import Settings
from orchestrator.submission import prepare
from orchestrator.tracking.client import connect
from orchestrator.tracking.trials import TrialLog
from tests.conftest import NUM_CPUS
from tests.orchestrator.commands import gamectl
from tests.orchestrator.tracked import DATA
from tests.orchestrator.waiting import until

WriteCohort = Callable[..., Path]
LOADOUT = """
learningRate: 0.001
batchSize: 4
epochs: 2
seed: 5
purchases:
  - item: speed-boost
  - item: resolution-rocket
    size: 32
"""
RULES = SandboxRules()
GOOD = MemberPlan(data=DATA, epochs=2, batch_size=8, optimizer=OptimizerPlan(learning_rate=0.05))
DIVERGING = GOOD.model_copy(update={"optimizer": OptimizerPlan(learning_rate=1e30)})
ENDLESS = GOOD.model_copy(update={"epochs": 5000})
OWN_CODE = """
from torch import nn

def build_model(num_classes, size_px):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size_px**2, num_classes))
"""


class Heard:
    """What the search was told; Ctrl-C comes once all trials but the last have ended."""

    def __init__(self, num_trials: int) -> None:
        self.epochs: dict[int, list[EpochReport]] = {}
        self.ends: dict[int, str | None] = {}
        self._last = num_trials - 1

    def on_epoch(self, number: int, report: EpochReport) -> None:
        self.epochs.setdefault(number, []).append(report)
        if number == self._last == len(self.ends):
            signal.raise_signal(signal.SIGINT)

    def on_end(self, number: int, fault: str | None) -> None:
        self.ends[number] = fault


def without_times(reports: list[EpochReport]) -> list[dict[str, Any]]:
    return [report.model_dump(exclude={"seconds", "images_per_second"}) for report in reports]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_trials_train_as_members_do_fail_alone_and_end_with_ctrl_c(
    images: LabelledImages, capfd: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.search.tuner import Listener, run_trials

    plans = [GOOD, DIVERGING]
    if unavailable(RULES) is None:
        own = CustomPlan(file="own.py", source=OWN_CODE, defines=("build_model",))
        plans.append(GOOD.model_copy(update={"custom": own}))
    plans.append(ENDLESS)
    heard, ref = Heard(len(plans)), ray.put(images)
    listener = Listener(heard.on_epoch, heard.on_end)
    inputs = [[ref]] * len(plans)
    assert not run_trials(plans, inputs, Resources(), RULES, None, listener)
    assert set(heard.ends) == set(range(len(plans) - 1))
    assert heard.ends[0] is None
    assert "learning rate" in (heard.ends[1] or "")
    alone: list[EpochReport] = []
    train_member(GOOD, images, alone.append)
    assert without_times(heard.epochs[0]) == without_times(alone)
    if len(plans) == 4:  # trained in its sandbox
        assert heard.ends[2] is None
        assert len(heard.epochs[2]) == GOOD.epochs
    said = capfd.readouterr()
    assert "Configuration for experiment" not in said.out + said.err, "Tune is silent"
    until(lambda: ray.available_resources().get("CPU") == NUM_CPUS)  # nothing trains any more


class Trials:
    """What Tune would tell its scheduler of four trials."""

    def __init__(self) -> None:
        from orchestrator.search.tuner import TRIAL, asha

        self.scheduler = asha()
        self.trials = [SimpleNamespace(trial_id=str(n), config={TRIAL: n}) for n in range(4)]
        for trial in self.trials:
            self.scheduler.on_trial_add(None, trial)

    def verdict(self, number: int, epoch: int, epochs: int, accuracy: float) -> str:
        """What becomes of a trial after that epoch; it is over after its last one."""
        from orchestrator.search.tuner import METRIC, TIME, percent

        trial, result = self.trials[number], {TIME: percent(epoch, epochs), METRIC: accuracy}
        said: str = self.scheduler.on_trial_result(None, trial, result)
        if epoch == epochs:
            self.scheduler.on_trial_complete(None, trial, result)
        return said


def test_what_a_short_trial_came_to_is_not_held_against_the_beginning_of_others() -> None:
    verdict = Trials().verdict
    verdict(1, 1, 2, 0.50)
    verdict(1, 2, 2, 0.90)
    assert verdict(2, 1, 3, 0.30) == "CONTINUE", "nobody else was asked after a third"
    assert verdict(3, 1, 3, 0.20) == "STOP"


def test_a_long_training_is_not_stopped_for_what_it_cannot_know_yet() -> None:
    """Accuracies as three trainings of the drawn monkeys had them, with one cycle of the rate."""
    verdict = Trials().verdict
    verdict(1, 5, 10, 0.50)
    assert verdict(1, 9, 10, 0.70) == "CONTINUE"
    assert verdict(2, 10, 20, 0.60) == "CONTINUE"  # when it had as many epochs as the first in all
    assert verdict(3, 10, 20, 0.40) == "STOP"
    verdict(0, 10, 20, 0.10)
    assert verdict(0, 19, 20, 0.10) == "CONTINUE", "the loadout's own settings come to their end"


@pytest.fixture
def hidden(photos: Path, tmp_path: Path) -> Path:
    """The photos, with a hidden part that nothing can read."""
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    for file in (folder / "validation").rglob("*.png"):
        file.write_bytes(b"not to be opened")
    return folder


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_the_best_settings_give_what_was_found(
    write_cohort: WriteCohort, hidden: Path, photos: Path, tmp_path: Path, home: Path
) -> None:
    folder = write_cohort({"apes": LOADOUT}, "  limits: {epochs: 3}\n")
    better, image = tmp_path / "better.yaml", tmp_path / "tuning.png"
    words = ["tune", folder / "apes.yaml", "--trials", 5, "--picture", image]
    done = gamectl(*words, "--data", hidden, "--output", "json", "-o", better)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert "test set" not in done.output
    assert "test images" not in done.output
    assert (found["validation_images"], found["team"]) == (12, "apes")
    assert found["searched"][-1] == "speed-boost.momentum"
    trials = {trial["number"]: trial for trial in found["trials"]}
    assert len(trials) == 5
    assert trials[0]["state"] == "complete", "what the others are compared with is not stopped"
    complete = [each for each in trials.values() if each["state"] == "complete"]
    best = trials[found["best"]]
    assert best["val_accuracy"] == max(each["val_accuracy"] for each in complete)
    with Image.open(image) as drawn:
        assert drawn.size == (1920, 1080)

    # MLflow has every trial, below the run of the search.
    settings = Settings()
    experiment = connect(settings.tracking_uri, None, found["experiment"], create=False)
    runs = {run.info.run_name: run for run in experiment.client.search_runs([experiment.id])}
    assert {f"trial {number}" for number in trials} < set(runs)
    (search,) = [run for name, run in runs.items() if name.startswith("search")]
    in_mlflow = runs[f"trial {best['number']}"]
    assert in_mlflow.data.tags["mlflow.parentRunId"] == search.info.run_id
    assert in_mlflow.data.params["search.batchSize"] == str(best["settings"]["batchSize"])
    assert search.data.metrics["best_val_accuracy"] == best["val_accuracy"]
    assert search.info.status == "FINISHED"
    with suppress(KeyboardInterrupt), TrialLog(experiment, "cut short", 1.0):
        raise KeyboardInterrupt
    (cut_short,) = experiment.client.search_runs(
        [experiment.id], "attributes.run_name = 'cut short'"
    )
    assert cut_short.info.status == "FAILED"

    # As an ordinary member, and with the patch pasted: the same bits.
    root: Any = parse(better.read_text()).root
    if found["patch"] is not None:
        assert parse(found["patch"]).root == {"spec": root["spec"]}
    reading = read_paths([better, folder / "cohort.yaml"], other_data=True)
    assert reading.ok, [file.problems for file in reading.files]
    prepared = prepare(reading, str(photos), settings)  # with the hidden part, as for a submission
    ((plan,),) = [job.plans for job in prepared.jobs]
    epochs: list[EpochReport] = []
    train_member(plan, prepared.decoded.training(32), epochs.append)
    assert epochs[-1].val_accuracy == best["val_accuracy"]
    history = experiment.client.get_metric_history(in_mlflow.info.run_id, "val_loss")
    assert [metric.value for metric in history] == [report.val_loss for report in epochs]


@pytest.mark.parametrize(("num_epochs", "state"), [(0, None), (1, "stopped"), (99, "complete")])
def test_ctrl_c_pressed_twice_keeps_what_has_ended(
    write_cohort: WriteCohort,
    photos: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_epochs: int,
    state: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)

    def train(plans: list[MemberPlan], *given: Any) -> bool:
        desk = next(each for each in given if isinstance(each, Desk))
        values = dict.fromkeys(EpochReport.model_fields, 0.5)
        for epoch in range(1, min(plans[0].epochs, num_epochs) + 1):
            desk.on_epoch(0, EpochReport.model_validate(values | {"epoch": epoch}))
        if num_epochs >= plans[0].epochs:
            desk.on_end(0, None)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_train", train)
    file = write_cohort({"apes": LOADOUT}) / "apes.yaml"
    done = gamectl("tune", file, "--data", photos, "--trials", 3, "--output", "json")
    if state is not None:
        assert [trial["state"] for trial in json.loads(done.stdout)["trials"]] == [state]
    else:
        assert done.exit_code == 130
        assert "stopped before anything was tried" in done.stderr


def test_mistakes_are_said_before_anything_is_trained(
    write_cohort: WriteCohort, photos: Path, home: Path, tmp_path: Path
) -> None:
    folder = write_cohort({"apes": LOADOUT})
    file = folder / "apes.yaml"
    assert "did you mean batchSize" in gamectl("tune", file, "--keep", "batchsize").stderr
    assert "--member 1: the loadout has 1 network" in gamectl("tune", file, "--member", 1).stderr
    assert gamectl("tune", file, "--trials", 1).exit_code == 2
    assert gamectl("tune", file, "--picture", "x.jpg").exit_code == 2
    assert "no folder" in gamectl("tune", file, "--picture", tmp_path / "no" / "x.png").stderr
    assert "/proc/x.png cannot" in gamectl("tune", file, "--picture", "/proc/x.png").stderr
    assert "--output json is for programs" in gamectl("tune", file, "-o", "json").stderr
    assert "no folder" in gamectl("tune", file, "-o", tmp_path / "no" / "x.yaml").stderr
    assert "is no loadout" in gamectl("tune", folder / "cohort.yaml").stderr
    write_cohort({"apes": LOADOUT}, "  resources: {workersPerMember: 2}\n")
    assert "workersPerMember: 1" in gamectl("tune", file).stderr
    write_cohort({"apes": LOADOUT}, "  resources: {cpus: 1000}\n")
    too_large = gamectl("tune", file, "--data", photos)
    assert "lower resources.cpus" in too_large.stderr
    (folder / "own.py").write_text(OWN_CODE)
    own = "purchases: [{item: custom, file: own.py}]\n"
    write_cohort({"apes": own}, "  allowCustomCode: true\n")
    astray = gamectl("tune", file, "-o", tmp_path / "x.yaml")
    assert "x.yaml would not find own.py" in astray.stderr
    write_cohort({"apes": "epochs: 0\n"})
    refused = gamectl("tune", file)
    assert "out-of-range" in refused.stderr
    assert "nothing was tried" in refused.stderr
    assert refused.stdout == ""
    assert not (home / "mlflow.db").exists()
