"""Ray, the store, MLflow, artifacts and the data: what the settings name, tried as a game would.

In: the settings of the environment. Out: `Finding`s. Each is opened by the module that opens it
for a game, imported when its turn has come.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.doctor.finding import Finding, Level
from orchestrator.doctor.software import installed_version

NO_EXPERIMENT = "gamectl-doctor"
"""A name that no cohort has, to ask MLflow for."""


def artifacts() -> Iterator[Finding]:
    """Whether the place of weights and checkpoints can be written."""
    from jobs.places import check_writable, is_there
    from orchestrator.settings import Settings

    place = Settings().artifacts
    there = not isinstance(place, Path) or is_there(place)
    try:
        check_writable(place)
    except OSError as error:
        advice = "GAME_ARTIFACTS names another folder or URI"
        said = error.strerror or str(error)
        yield Finding(Level.PROBLEM, "artifacts", f"{place}: {said}", advice)
    else:
        found = f"can be written: {place}" if there else f"none yet; they will be in {place}"
        yield Finding(Level.OK, "artifacts", found)


def store() -> Iterator[Finding]:
    """Whether the store opens, and what is in it; its schema is brought up to date, as always."""
    from orchestrator.opening import is_there, open_store, store_place
    from orchestrator.settings import Settings
    from orchestrator.state import newest_revisions
    from orchestrator.terminal.lookup import controller_of

    settings = Settings()
    if not is_there(settings):
        found = f"none yet {store_place(settings)}; `gamectl submit` makes it"
        yield Finding(Level.OK, "store", found)
        return
    with open_store(settings) as opened:
        cohorts = opened.cohorts()
        if not cohorts:
            yield Finding(Level.OK, "store", "opens; nothing was submitted yet")
            return
        name = cohorts[0].name
        jobs = newest_revisions(opened.jobs(name))
        left = sum(job.is_left for job in jobs)
        holder = controller_of(opened, name)
    found = f"opens; cohorts: {len(cohorts)}, newest: {name} with {len(jobs)} jobs, {left} left"
    if left and holder is None:
        advice = f"`gamectl resume --cohort {name}` goes on"
        yield Finding(Level.WARNING, "store", f"{found}, and no controller at work", advice)
    else:
        yield Finding(Level.OK, "store", found)


def mlflow() -> Iterator[Finding]:
    """Whether MLflow can be reached."""
    from orchestrator.settings import Settings

    settings = Settings()
    uri = settings.tracking_uri
    if uri.startswith("sqlite:///"):
        yield _mlflow_file(Path(unquote(uri.removeprefix("sqlite:///"))))
    else:
        yield _mlflow_server(uri)


def _mlflow_file(path: Path) -> Finding:
    if not path.exists():
        return Finding(Level.OK, "MLflow", f"nothing tracked yet in {path}")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            (runs,) = database.execute("SELECT count(*) FROM runs").fetchone()
    except sqlite3.Error as error:
        advice = "move the file away: `gamectl resume` writes it anew from the store"
        return Finding(Level.PROBLEM, "MLflow", f"{path}: {error}", advice)
    return Finding(Level.OK, "MLflow", f"{runs} runs in {path}; `gamectl ui` shows them")


def _mlflow_server(uri: str) -> Finding:
    from orchestrator.cluster.liveness import is_open
    from orchestrator.errors import NotFound, TrackingError
    from orchestrator.tracking.client import connect, without_user

    shown = without_user(uri)
    address = urlsplit(uri)
    port = address.port or {"http": 80, "https": 443}.get(address.scheme)
    if address.hostname and port and not is_open((address.hostname, port)):
        found = f"nothing answers at {shown}"
        return Finding(Level.PROBLEM, "MLflow", found, _mlflow_advice(found))
    try:
        connect(uri, None, NO_EXPERIMENT, create=False)
    except NotFound:
        return Finding(Level.OK, "MLflow", f"answers at {shown}")
    except TrackingError as error:
        return Finding(Level.PROBLEM, "MLflow", f"{shown}: {error}", _mlflow_advice(str(error)))
    return Finding(Level.OK, "MLflow", f"answers at {shown}")


def _mlflow_advice(said: str) -> str:
    """What helps where a server, or MLflow's client, said that; it tells statuses in words only."""
    if "error code 401" in said:
        do = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to a user that it has"
    elif "Invalid Host header" in said:
        do = "start it with this host, as the URI has it, in --allowed-hosts"
    else:
        do = "start it, or correct MLFLOW_TRACKING_URI"
    return f"{do}; games are played without it, and `gamectl resume` writes later what it lacks"


def data(named: str | None) -> Iterator[Finding]:
    """Whether the images are there: those named, those of the newest cohort, or the drawn ones."""
    from jobs.errors import DataError
    from jobs.image_folder import scan
    from jobs.places import is_uri
    from orchestrator.settings import Settings
    from orchestrator.sources import DRAWN, data_root
    from orchestrator.terminal.names import last_source

    settings = Settings()
    source = named or last_source(settings.store_url) or DRAWN
    cache = _cache_words(settings.image_cache)
    if source == DRAWN and not any(settings.data.glob("drawn-*")):
        found = f"the drawn monkeys; they are drawn when they are needed{cache}"
        yield Finding(Level.OK, "data", found)
        return
    if is_uri(source):
        found = f"{source}; it is fetched when it is needed{cache}"
        yield Finding(Level.OK, "data", found)
        return
    try:
        folder = scan(data_root(source, settings))
    except DataError as error:
        advice = "a folder with training/CLASS/* and validation/CLASS/* is wanted"
        head, *rest = (line.strip() for line in str(error).splitlines())
        found = " ".join([head, "; ".join(rest)]).strip()
        yield Finding(Level.PROBLEM, "data", found, advice)
        return
    found = (
        f"{source}: {len(folder.classes)} classes, {len(folder.training)} training and "
        f"{len(folder.test)} test images{cache}"
    )
    if folder.test:
        yield Finding(Level.OK, "data", found)
    else:
        advice = "no validation/: that will do for training, but `gamectl score` needs it"
        yield Finding(Level.WARNING, "data", found, advice)


def _cache_words(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    mib = sum(path.stat().st_size for path in files) / (1 << 20)
    return f"; decoded: {mib:.0f} MiB" if files else ""


def ray(deep: bool) -> Iterator[Finding]:
    """Whether the Ray that is joined answers; with `deep`, whether it starts or can be joined."""
    from orchestrator.cluster.connection import NOT_TO_JOIN, largest_node, ray_cluster
    from orchestrator.cluster.liveness import is_dashboard, is_open
    from orchestrator.settings import Settings

    address, version = Settings().ray_address, installed_version("ray")
    if is_dashboard(address):
        advice = NOT_TO_JOIN.format(address=address)
        yield Finding(Level.PROBLEM, "Ray", f"RAY_ADDRESS is {address}", advice)
        return
    advice = "start it (ray start --head), or unset RAY_ADDRESS to start one for each game"
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    can_be_asked = bool(host) and port.isdigit()
    if can_be_asked and not is_open((host.strip("[]"), int(port))):
        yield Finding(Level.PROBLEM, "Ray", f"nothing answers at {address}", advice)
        return
    if not deep:
        there = f"answers at {address}" if can_be_asked else f"RAY_ADDRESS is {address}, not tried"
        there = there if address else "is started for each game"
        yield Finding(Level.OK, "Ray", f"{version}; {there}; `gamectl doctor --deep` tries it")
        return
    began = time.monotonic()
    with ray_cluster(address):
        node = largest_node()
    took = time.monotonic() - began
    there = f"joined at {address}" if address else f"started and ended in {took:.0f} s"
    yield Finding(
        Level.OK, "Ray", f"{version}; {there}; largest node: {node.cpus:g} CPUs, {node.gpus:g} GPUs"
    )
