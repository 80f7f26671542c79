"""`gamectl ui`: MLflow's own UI on a cohort's runs.

In: the tracking URI of the settings, and a cohort. Out: its experiment in a browser, from a server
in the foreground, or from the tracking server that runs already.
"""

import contextlib

import click

from orchestrator import console
from orchestrator.cli.common import cohort_option
from orchestrator.cli.numbers import WholeNumber
from orchestrator.errors import GameError, NotFound
from orchestrator.mlflow_ui import (
    USUAL_PORT,
    address,
    free_port,
    mlflow_ui,
    names_elsewhere,
    open_browser,
)
from orchestrator.opening import open_store, pick_cohort
from orchestrator.settings import Settings


@click.command(
    "ui",
    epilog="""\b
    Example:
      gamectl ui
      gamectl ui --cohort demo --no-browser
      gamectl ui --port 5001""",
)
@cohort_option
@click.option(
    "--port",
    type=WholeNumber(1, 65535),
    help=f"Port to listen on; the first free one from {USUAL_PORT} by default.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--browser/--no-browser", default=True, help="Open the page; by default, yes.")
def command(cohort: str | None, port: int | None, host: str, browser: bool) -> None:
    """Open the MLflow UI on a cohort: teams, phases, accuracy and receipts; Ctrl-C ends it.

    Where MLFLOW_TRACKING_URI names a server, its page of the cohort is opened.
    """
    settings = Settings()
    uri = settings.tracking_uri
    if settings.mlflow_tracking_uri is None and not (settings.root / "mlflow.db").exists():
        raise NotFound(
            f"nothing was tracked in {settings.root} yet; `gamectl submit PATH` or `gamectl demo` "
            "first"
        )
    page = _page(settings, cohort)
    if uri.startswith(("http://", "https://")):
        from orchestrator.tracking.client import without_user

        console.print_text(f"{without_user(uri).rstrip('/')}/{page}")
        if browser:
            open_browser(f"{without_user(uri).rstrip('/')}/{page}")
        return
    listening = free_port(host, port)
    log = settings.root / "mlflow-ui.log"
    settings.root.mkdir(parents=True, exist_ok=True)
    console.print_note("starting MLflow's server, which takes some seconds (Ctrl-C ends it)")
    with contextlib.suppress(KeyboardInterrupt):
        artifacts = settings.mlflow_artifacts
        with mlflow_ui(uri, artifacts, host, listening, log) as server:
            url = f"{address(host, listening)}/{page}"
            console.print_text(url)
            for name in names_elsewhere(host):
                console.print_note(f"from elsewhere: {address(name, listening)}/{page}")
            if browser and not open_browser(url):
                console.print_note("no browser to open here: paste the address into one")
            server.wait()
            console.print_note(f"MLflow's server ended with {server.returncode}; see {log}")
    console.print_note("MLflow's server is ended")


def _page(settings: Settings, cohort: str | None) -> str:
    """Where the cohort is in the UI; all experiments where nothing says which."""
    from orchestrator.tracking.client import connect
    from orchestrator.tracking.front_page import EXPERIMENTS, page_of

    name = cohort
    if name is None:
        with contextlib.suppress(NotFound), open_store(settings) as store:
            name = pick_cohort(store, None).name
    if name is None:
        return EXPERIMENTS
    try:
        uri, artifacts = settings.tracking_uri, settings.mlflow_artifacts
        return page_of(connect(uri, artifacts, name, create=False))
    except NotFound:
        if cohort is None:
            return EXPERIMENTS
        known: list[str] = []
        with contextlib.suppress(GameError), open_store(settings) as store:
            known = [record.name for record in store.cohorts()]
        if known and cohort not in known:  # mistyped, rather than not tracked yet
            raise NotFound(f"no cohort {cohort!r}; there are: {', '.join(known)}") from None
        raise
