"""What is imported before it is needed: nothing that somebody would wait for."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest


def test_no_command_imports_what_takes_long_before_it_is_called() -> None:
    code = (
        "import importlib, sys\n"
        "from orchestrator.cli import COMMANDS\n"
        "slow = {'torch', 'ray', 'mlflow', 'sqlalchemy', 'alembic', 'numpy', 'rich'}\n"
        "for name, (place, _) in COMMANDS.items():\n"
        "    importlib.import_module(place.partition(':')[0])\n"
        "    if found := sorted(slow & set(sys.modules)):\n"
        "        sys.exit(f'{name} imports {found}; import them where they are used')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_whoever_follows_the_store_for_mlflow_has_no_torch_before_a_model_is_logged() -> None:
    code = "import orchestrator.tracking.projection, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_controller_combines_members_without_torch() -> None:
    code = (
        "import sys, types, numpy, orchestrator.control.controller\n"
        "from orchestrator.results.finish import job_result\n"
        "from orchestrator.results.truth import ValidationTruth\n"
        "truth = ValidationTruth(*[numpy.arange(4) % 2] * 2, {})\n"
        "kept = types.SimpleNamespace(save_stacker=lambda job, content: None)\n"
        "for how in ('mean', 'vote', 'stacking'):\n"
        "    job, probs = types.SimpleNamespace(combine=how), numpy.full((4, 2), 0.5, 'f4')\n"
        "    assert job_result(job, [probs] * 3, truth, kept).val_accuracy <= 0.5\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


BENCHES = sorted(path.stem for path in (Path(__file__).parent / "bench").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", BENCHES)
def test_what_runs_seldom_finds_what_it_is_made_of(name: str) -> None:
    importlib.import_module(f"tests.bench.{name}")
