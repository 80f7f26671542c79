"""The servers of docs/cluster.md, started by the page's own commands on this machine.

In: a folder. Out: PostgreSQL with the page's databases, MLflow with its passwords, a Ray head, and
the environment that the page gives to controllers and organizers. Places of this machine stand in
for the examples'; nothing else is changed. Used by `servers`.
"""

import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.orchestrator.mlflow_server import MlflowServer
from tests.orchestrator.postgres import Server, postgres_server
from tests.orchestrator.ray_head import BIN, free_port, ray_head

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "cluster.md"
PASSWORDS = ("GAME_PASSWORD", "MLFLOW_PASSWORD", "ADMIN_PASSWORD", "FLASK_SECRET_KEY")


@dataclass(frozen=True)
class Servers:
    """What runs, and what those who use it have in their environment."""

    database: Server
    mlflow: MlflowServer
    env: Mapping[str, str]


@contextmanager
def page_servers(folder: Path, num_cpus: int) -> Iterator[Servers]:
    """All of it for the length of a block; the Ray has one node with so many CPUs."""
    with ExitStack() as stack:
        with ThreadPoolExecutor(1) as meanwhile:
            code = {"PYTHONPATH": str(ROOT)}
            joining = meanwhile.submit(stack.enter_context, ray_head(lambda _: code, num_cpus))
            db_port, http_port = free_port(), free_port()
            database = stack.enter_context(postgres_server(True, "postgres", db_port))
            served, kept = folder / "mlflow", folder / "artifacts"
            served.mkdir()
            places = {
                "db.example:5432": f"127.0.0.1:{db_port}",
                "mlflow.example:5000": f"127.0.0.1:{http_port}",
                "--host 0.0.0.0 --port 5000": f"--host 127.0.0.1 --port {http_port}",
                "/srv/mlflow": str(served),
                "/mnt/game": str(kept),
            }
            env = {**os.environ, **{name: secrets.token_urlsafe(18) for name in PASSWORDS}}
            env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
            as_owner = {"PGHOST": str(database.socket_folder), "PGPORT": str(db_port)}
            _bash(_commands("init-databases.sh", places), {**env, **as_owner})
            starting = ["bash", "-ec", f"cd {ROOT}\n{_commands('mlflow server', places)}"]
            mlflow = MlflowServer(served, http_port, starting, env)
            stack.callback(mlflow.kill)
            mlflow.start()
            exports, _, _ = _commands("GAME_STORE", places).partition("gamectl ")
            said = _bash(f"{exports}\nenv -0", env)
            head = joining.result()
        environment = dict(line.split("=", 1) for line in said.split("\0") if "=" in line)
        environment |= {
            "RAY_ADDRESS": head.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(head.token_file),
            "GAME_HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT),
        }
        yield Servers(database, mlflow, environment)


def add_team(servers: Servers) -> Mapping[str, str]:
    """Adds MLflow's user of a team by the page's command; returns the team's environment."""
    places = {
        "http://mlflow.example:5000": servers.env["MLFLOW_TRACKING_URI"],
        "A-LONG-PASSWORD": (password := secrets.token_urlsafe(18)),
    }
    # The block says itself where MLflow is, and who asks.
    admin = {k: v for k, v in servers.env.items() if not k.startswith("MLFLOW_TRACKING_")}
    admin["ADMIN_PASSWORD"] = servers.env["MLFLOW_TRACKING_PASSWORD"]
    _bash(_commands("create_user", places), admin)
    user = {"MLFLOW_TRACKING_USERNAME": "howling-pixels", "MLFLOW_TRACKING_PASSWORD": password}
    return {**servers.env, **user}


def _commands(about: str, places: Mapping[str, str]) -> str:
    """The page's block of commands in which that is named, with places of this machine."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = (each for each in blocks if about in each)
    for there, here in places.items():
        block = block.replace(there, here)
    return str(block)


def _bash(script: str, env: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euc", script], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
