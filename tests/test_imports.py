"""What is imported before it is needed: nothing that somebody would wait for."""

import ast
import importlib
import re
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
    code = "import orchestrator.tracking.projection, sys; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


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
        "print('torch' in sys.modules)\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_modules_are_used_by_those_that_they_name() -> None:
    root = Path(__file__).parents[1]
    paths = [
        path for package in ("jobs", "orchestrator") for path in (root / package).rglob("*.py")
    ]
    trees = {
        ".".join(path.relative_to(root).with_suffix("").parts): ast.parse(path.read_text())
        for path in paths
    }
    imports: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                imports[name] |= {node.module, *(f"{node.module}.{it.name}" for it in node.names)}
            elif isinstance(node, ast.Import):
                imports[name] |= {each.name for each in node.names}
    wrong = []
    for name, tree in trees.items():
        text = " ".join((ast.get_docstring(tree) or "").split())
        named = name.removesuffix(".__init__")
        for said in re.findall(r"Used by ([^.;:(]*)", text):
            for user in re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)`", said):
                users = [n for n in trees if f".{n}.".find(f".{user}.") >= 0]
                found = any(
                    i == named or i.startswith(f"{named}.") for n in users for i in imports[n]
                )
                wrong += [] if found else [f"{named}: used by {user}"]
    assert wrong == []


BENCHES = sorted(path.stem for path in (Path(__file__).parent / "bench").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", BENCHES)
def test_what_runs_seldom_finds_what_it_is_made_of(name: str) -> None:
    importlib.import_module(f"tests.bench.{name}")
