"""Models in MLflow: exported once for each architecture, and not while every slot trains."""

from pathlib import Path

import mlflow.pytorch
import pytest
import torch

from jobs.ensemble import Ensemble
from jobs.monkeynet import build_model
from jobs.plan import ModelPlan
from orchestrator.artifacts import Artifacts
from orchestrator.finish import trained_ensemble
from orchestrator.state import MemberKey
from orchestrator.store import Store
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.templates import PROGRAM, Templates
from tests.orchestrator.cohorts import new_job, start, submit, take
from tests.orchestrator.tracked import DATA, SIDE, TrainJob, named_runs, project, projection_of


def _ensemble(seed: int, members: int = 2, how: str = "mean", blocks: int = 0) -> Ensemble:
    torch.manual_seed(seed)
    plan = ModelPlan(turbo_blocks=blocks, dropout=0.3, attention=True)
    networks = [build_model(plan, len(DATA.classes), SIDE) for _ in range(members)]
    return Ensemble(networks, how)  # type: ignore[arg-type]


def _says(folder: Path, images: torch.Tensor) -> torch.Tensor:
    model = mlflow.pytorch.load_model(str(folder))
    with torch.no_grad():
        probs: torch.Tensor = model(images)
    return probs


@pytest.mark.parametrize(("members", "how", "blocks"), [(1, "mean", 1), (3, "vote", 0)])
def test_every_network_of_an_architecture_has_its_own_weights(
    tmp_path: Path, members: int, how: str, blocks: int
) -> None:
    templates, images = Templates(tmp_path / "templates"), torch.rand(5, 3, SIDE, SIDE)
    for seed in range(3):
        model = _ensemble(seed, members, how, blocks)
        templates.write(model, DATA, tmp_path / f"model-{seed}")
        assert torch.equal(_says(tmp_path / f"model-{seed}", images), model(images))
    assert len(list((tmp_path / "templates").iterdir())) == 1


def test_architectures_do_not_share_a_template(tmp_path: Path) -> None:
    templates = Templates(tmp_path / "templates")
    for number, model in enumerate([_ensemble(0), _ensemble(0, how="vote"), _ensemble(0, 3)]):
        templates.write(model, DATA, tmp_path / str(number))
    assert len(list((tmp_path / "templates").iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "gone", "of another network"])
def test_a_damaged_template_is_made_again(tmp_path: Path, damage: str) -> None:
    templates, images = Templates(tmp_path / "templates"), torch.rand(2, 3, SIDE, SIDE)
    templates.write(_ensemble(0), DATA, tmp_path / "first")
    (template,) = (tmp_path / "templates").iterdir()
    program = template / PROGRAM
    if damage == "cut":
        program.write_bytes(program.read_bytes()[:1000])
    elif damage == "gone":
        program.unlink()
    else:
        templates.write(_ensemble(0, 3), DATA, tmp_path / "other")
        program.write_bytes((tmp_path / "other" / PROGRAM).read_bytes())
    model = _ensemble(1)
    templates.write(model, DATA, tmp_path / "second")
    assert torch.equal(_says(tmp_path / "second", images), model(images))
    templates.write(model, DATA, tmp_path / "third")
    assert torch.equal(_says(tmp_path / "third", images), model(images))


def test_a_model_waits_until_a_slot_has_nothing_to_train(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 1, "mean")
    submit(store, new_job("bears"))
    projection = projection_of(experiment, store, artifacts)
    projection.sync()
    run = named_runs(experiment)["apes"]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["val_accuracy"] == store.jobs("small")[0].val_accuracy
    assert not experiment.client.search_logged_models([experiment.id])
    (key,) = [MemberKey(job.id, 0) for job in store.jobs("small") if job.team == "bears"]
    ledger = take(store, 150.0)
    attempt = start(ledger, key, 151.0)
    projection.sync()
    assert not experiment.client.search_logged_models([experiment.id])
    store.cancel("small", "bears", 200.0)
    ledger.halt(key, attempt, 201.0)
    projection.sync()
    (model,) = experiment.client.search_logged_models([experiment.id])
    assert (model.source_run_id, model.name) == (run.info.run_id, "model")
    assert {m.key for m in model.metrics} >= {"val_accuracy", "spent_bnn"}
    assert model.params["purchases"] == "flip-trick"


def test_a_model_that_lacks_is_written_by_the_next_process(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob
) -> None:
    train_job("apes", 2, "mean")
    submit(store, new_job("bears"))
    project(experiment, store, artifacts)
    store.cancel("small", "bears", 200.0)
    project(experiment, store, artifacts)
    run_id = named_runs(experiment)["apes"].info.run_id
    images = torch.rand(3, 3, SIDE, SIDE)
    with torch.no_grad():
        wanted = trained_ensemble(store.jobs("small")[0], store, artifacts)(images)
    model = mlflow.pytorch.load_model(f"runs:/{run_id}/model")
    assert torch.equal(model(images), wanted)
