"""What a controller imports when: not before its first member trains, and beside one that does."""

import subprocess
import sys
from pathlib import Path


def test_a_controller_comes_up_without_torch_and_mlflow() -> None:
    code = (
        "import sys\n"
        "from orchestrator.cluster import slots\n"
        "from orchestrator.control import controller, inputs, run, serve\n"
        "from orchestrator.results import truth\n"
        "from orchestrator.terminal import live\n"
        "from orchestrator.tracking import background\n"
        "print(sorted({'torch', 'mlflow', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_store_is_asked_while_mlflow_is_being_imported(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    words = [sys.executable, "-m", "tests.orchestrator.half_imported", url]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
