"""What a command imports before it is called: nothing that `--help` and Tab would wait for."""

import subprocess
import sys


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
