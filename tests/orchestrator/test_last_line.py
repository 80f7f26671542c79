"""The process ends with its last line."""

import subprocess
import sys

PROGRAM = """
import gc
import sys
from orchestrator import cli

cli.main = lambda prog_name: sys.exit(f"{prog_name} has said its last line")
try:
    cli.run()
finally:
    print(gc.get_freeze_count())
"""


def test_nobody_looks_for_garbage_among_modules_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "gamectl has said its last line\n"
    assert int(done.stdout) > 10_000  # objects that Python leaves alone from now on
