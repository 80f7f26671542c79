"""What a controller does not import before its first member trains: a class waits for that."""

import subprocess
import sys


def test_a_controller_comes_up_without_torch_and_mlflow() -> None:
    code = (
        "import sys, orchestrator.run, orchestrator.serve, orchestrator.controller, "
        "orchestrator.inputs, orchestrator.slots, orchestrator.truth, orchestrator.live, "
        "orchestrator.tracking.background\n"
        "print(sorted({'torch', 'mlflow', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
