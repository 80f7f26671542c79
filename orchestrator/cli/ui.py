"""`gamectl ui`: MLflow's own UI on what was tracked.

In: the tracking URI of the settings. Out: a server in the foreground, or the address of the one
that runs already.
"""

import os
import socket
import sys

import click

from orchestrator import console
from orchestrator.errors import NotFound, Refused
from orchestrator.settings import Settings


@click.command(
    "ui",
    epilog="""\b
    Example:
      gamectl ui
      gamectl ui --port 5001""",
)
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def command(port: int, host: str) -> None:
    """Open the MLflow UI on what was tracked; Ctrl-C ends it."""
    settings = Settings()
    uri = settings.tracking_uri
    if uri.startswith(("http://", "https://")):
        console.print_text(f"MLflow runs already, at {uri}")
        return
    if settings.mlflow_tracking_uri is None and not (settings.root / "mlflow.db").exists():
        raise NotFound(
            f"nothing was tracked in {settings.root} yet; `gamectl submit PATH` or `gamectl demo` "
            "first"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Refused(
                f"cannot listen on {host}, port {port}: {error.strerror}; try --port {port + 1}"
            ) from error
    # Without its query the UI opens on pages for language models.
    page = f"http://{host}:{port}/#/experiments?workflowType=machine_learning"
    console.print_note(f"MLflow UI: {page}  (Ctrl-C ends it)")
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    words += ["--host", host, "--port", str(port), "--workers", "1"]
    if settings.mlflow_artifacts is not None:
        words += ["--default-artifact-root", settings.mlflow_artifacts.as_uri()]
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.execv(sys.executable, words)  # noqa: S606 - the server replaces this process
