"""Models in MLflow: exported once for each architecture, and not while every slot trains."""

import contextlib
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import mlflow.pytorch
import pytest
import safetensors.torch
import torch

from jobs.ensemble import Stacker, load_ensemble
from jobs.monkeynet import build_model
from jobs.plan import Combine, MemberPlan, ModelPlan
from orchestrator.artifacts import Artifacts
from orchestrator.errors import TrackingError
from orchestrator.results.networks import Parts, trained_ensemble
from orchestrator.state import MemberKey
from orchestrator.store import Store
from orchestrator.tracking.client import Experiment
from orchestrator.tracking.export import blank
from orchestrator.tracking.exporter import Exporter
from orchestrator.tracking.model import log_model
from orchestrator.tracking.runs import MODEL_TAG
from orchestrator.tracking.templates import PROGRAM, Architecture, Templates
from tests.orchestrator.cohorts import new_job, start, submit, take
from tests.orchestrator.tracked import DATA, SIDE, TrainJob, named_runs, project, projection_of


def parts_of(
    seed: int,
    members: int = 2,
    how: Combine = "mean",
    blocks: int = 0,
    dropout: float = 0.3,
    attention: bool = True,
) -> Parts:
    torch.manual_seed(seed)
    model = ModelPlan(turbo_blocks=blocks, dropout=dropout, attention=attention)
    networks = [build_model(model, len(DATA.classes), SIDE) for _ in range(members)]
    num_classes, stacker = len(DATA.classes), None
    if how == "stacking":
        weight = torch.randn(num_classes, members * num_classes)
        stacker = safetensors.torch.save({"weight": weight, "bias": torch.randn(num_classes)})
    return Parts(
        (MemberPlan(data=DATA, model=model),) * members,
        tuple(safetensors.torch.save(network.state_dict()) for network in networks),
        how,
        stacker,
    )


def _wanted(parts: Parts, images: torch.Tensor) -> torch.Tensor:
    stacker = parts.stacker and Stacker(**safetensors.torch.load(parts.stacker))
    with torch.no_grad():
        probs: torch.Tensor = load_ensemble(parts.plans, parts.weights, parts.how, stacker or None)(
            images
        )
    return probs


def _says(folder: Path, images: torch.Tensor) -> torch.Tensor:
    model = mlflow.pytorch.load_model(str(folder))
    with torch.no_grad():
        probs: torch.Tensor = model(images)
    return probs


@pytest.mark.parametrize(
    ("members", "how", "blocks"), [(1, "mean", 1), (3, "vote", 0), (2, "stacking", 0)]
)
def test_every_network_of_an_architecture_has_its_own_weights(
    tmp_path: Path, members: int, how: Combine, blocks: int
) -> None:
    templates, images = Templates(tmp_path / "templates"), torch.rand(5, 3, SIDE, SIDE)
    for seed in range(3):
        parts = parts_of(seed, members, how, blocks)
        templates.write(parts, tmp_path / f"model-{seed}")
        assert torch.equal(_says(tmp_path / f"model-{seed}", images), _wanted(parts, images))
    assert len(list((tmp_path / "templates").iterdir())) == 1


def test_architectures_do_not_share_a_template(tmp_path: Path) -> None:
    with Templates(tmp_path / "templates") as templates:
        for number, parts in enumerate([parts_of(0), parts_of(0, how="vote"), parts_of(0, 3)]):
            templates.write(parts, tmp_path / str(number))
    assert len(list((tmp_path / "templates").iterdir())) == 3


@pytest.mark.parametrize(("attention", "num_templates"), [(False, 1), (True, 2)])
def test_dropout_makes_no_other_architecture_but_before_attention(
    tmp_path: Path, attention: bool, num_templates: int
) -> None:
    images = torch.rand(2, 3, SIDE, SIDE)
    with Templates(tmp_path / "templates") as templates:
        for number, dropout in enumerate((0.0, 0.5, 0.2)):
            parts = parts_of(number, dropout=dropout, attention=attention)
            templates.write(parts, tmp_path / str(number))
            assert torch.equal(_says(tmp_path / str(number), images), _wanted(parts, images))
    assert len(list((tmp_path / "templates").iterdir())) == num_templates


def test_exporting_draws_no_random_numbers() -> None:
    architecture = Architecture.of(parts_of(0))
    before = torch.get_rng_state()
    network = blank(architecture)
    assert torch.equal(torch.get_rng_state(), before)
    assert sum(float(value.abs().sum()) for value in network.state_dict().values()) == 0


def test_a_model_of_a_known_architecture_is_written_without_torch(tmp_path: Path) -> None:
    parts = parts_of(0)
    Templates(tmp_path / "templates").write(parts, tmp_path / "first")
    code = (
        "import pickle, sys; from pathlib import Path;"
        "from orchestrator.tracking.templates import Templates;"
        "parts, folder = pickle.load(sys.stdin.buffer), Path(sys.argv[1]);"
        "Templates(folder / 'templates').write(parts, folder / 'second');"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], input=pickle.dumps(parts), check=True
    )
    images = torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(_says(tmp_path / "second", images), _wanted(parts, images))


def test_weights_that_no_export_has_are_an_error_and_no_model(tmp_path: Path) -> None:
    parts = parts_of(0)
    other = replace(parts, weights=(parts.weights[0], parts_of(0, blocks=1).weights[0]))
    with pytest.raises(TrackingError, match="no export fits it: it has weights of other names"):
        Templates(tmp_path / "templates").write(other, tmp_path / "model")


def test_a_folder_that_cannot_be_written_costs_no_template(tmp_path: Path) -> None:
    templates = Templates(tmp_path / "templates")
    templates.write(parts_of(0), tmp_path / "first")
    (template,) = (tmp_path / "templates").iterdir()
    before = template.stat().st_ino
    with pytest.raises(TrackingError, match=r"cannot be written: .*File too large"), _small_files():
        templates.write(parts_of(1), tmp_path / "second")
    assert template.stat().st_ino == before
    assert list((tmp_path / "templates").iterdir()) == [template]


@pytest.mark.usefixtures("own_exporter")
def test_an_export_whose_process_ends_is_an_error_and_no_more(tmp_path: Path) -> None:
    """Where torch cannot write on, it takes its process with it."""
    with Templates(tmp_path / "templates") as templates:
        with (
            pytest.raises(TrackingError, match="a model cannot be exported: its process ended"),
            _small_files(60_000),
        ):
            templates.write(parts_of(0), tmp_path / "first")
        assert not list((tmp_path / "templates").iterdir())
        templates.write(parts_of(0), tmp_path / "second")
    assert len(list((tmp_path / "templates").iterdir())) == 1


class Interrupted(BaseException):
    """As Ctrl-C, which would end the tests."""


def test_what_is_wrong_with_an_export_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = Exporter()
    (tmp_path / "full").write_text("")
    document = Architecture.of(parts_of(0)).to_dict()
    with pytest.raises(TrackingError, match=r"cannot be exported: .*(exist|directory)"):
        exporter.export(document, tmp_path / "full")
    with monkeypatch.context() as patched:  # Ctrl-C
        patched.setattr("orchestrator.tracking.exporter.json.dumps", Mock(side_effect=Interrupted))
        with pytest.raises(Interrupted):
            exporter.export(document, tmp_path / "never")
    assert exporter._process is None
    exporter.export(document, tmp_path / "free")
    assert (tmp_path / "free" / PROGRAM).exists()
    exporter.close()
    exporter.close()


@contextlib.contextmanager
def _small_files(most_bytes: int = 20_000) -> Iterator[None]:
    """No file may grow further, as where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("damage", ["cut", "gone", "of another network"])
def test_a_damaged_template_is_made_again(tmp_path: Path, damage: str) -> None:
    images, parts = torch.rand(2, 3, SIDE, SIDE), parts_of(1)
    with Templates(tmp_path / "templates") as templates:
        templates.write(parts_of(0), tmp_path / "first")
        _damage(templates, tmp_path, damage)
        templates.write(parts, tmp_path / "second")
        assert torch.equal(_says(tmp_path / "second", images), _wanted(parts, images))
        templates.write(parts, tmp_path / "third")
        assert torch.equal(_says(tmp_path / "third", images), _wanted(parts, images))


def _damage(templates: Templates, tmp_path: Path, damage: str) -> None:
    (template,) = (tmp_path / "templates").iterdir()
    program = template / PROGRAM
    if damage == "cut":
        program.write_bytes(program.read_bytes()[:1000])
    elif damage == "gone":
        program.unlink()
    else:
        templates.write(parts_of(0, 3), tmp_path / "other")
        program.write_bytes((tmp_path / "other" / PROGRAM).read_bytes())


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


def test_whoever_exports_for_longer_takes_the_others_model(
    store: Store, artifacts: Artifacts, experiment: Experiment, train_job: TrainJob, tmp_path: Path
) -> None:
    """Whoever publishes and a controller may both find that a model lacks."""
    train_job("apes", 1, "mean")
    submit(store, new_job("bears"))  # so that nobody logs models yet
    project(experiment, store, artifacts)
    run_id = named_runs(experiment)["apes"].info.run_id
    faster = Templates(tmp_path / "faster")
    logged: list[str] = []

    class Slower(Templates):
        def write(self, parts: Parts, folder: Path) -> None:
            super().write(parts, folder)
            logged.append(log_model(experiment, run_id, parts, {}, faster))
            experiment.client.set_tag(run_id, MODEL_TAG, logged[0])

    slower = Slower(tmp_path / "slower")
    logged.append(log_model(experiment, run_id, parts_of(0), {}, slower))
    assert logged[0] == logged[1]
    assert len(experiment.client.search_logged_models([experiment.id])) == 1


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
