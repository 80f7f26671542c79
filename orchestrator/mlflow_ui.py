"""MLflow's own server on this game's runs, for as long as somebody looks at its pages.

In: where MLflow keeps runs, an address, and a file for what the server says. Out: pages in a
browser, until Ctrl-C. Used by `gamectl ui`; a tracking server that runs elsewhere needs none.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from orchestrator.errors import Refused, TrackingError

START_FOR_S = 180.0
LOOK_EVERY_S = 0.2
END_FOR_S = 5.0
USUAL_PORT = 5000
PORTS_TRIED = 50
LAST_PORT = 65535
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told, not bound
"""Addresses to listen on that stand for all of a machine's, and what it calls itself."""


def free_port(host: str, port: int | None) -> int:
    """The port to listen on: the one that is asked for, or the first free one from 5000.

    Raises `Refused` where it is taken, or the address is none of this machine's.
    """
    wanted = [port] if port is not None else range(USUAL_PORT, USUAL_PORT + PORTS_TRIED)
    reason = ""
    for number in wanted:
        try:
            family, *_ = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, number))
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return number
    if port is None:
        raise Refused(f"cannot listen on {host}: {reason}; say --host 127.0.0.1, or --port PORT")
    another = f"--port {port + 1}, or " if port < LAST_PORT else ""
    raise Refused(f"cannot listen on {host}, port {port}: {reason}; try {another}without --port")


@contextmanager
def mlflow_ui(
    tracking_uri: str, artifacts: Path | None, host: str, port: int, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers, ended with the block, or with SIGTERM and SIGHUP.

    Raises `TrackingError` where it does not start.
    """
    words = [sys.executable, "-m", "mlflow", "server"]
    words += ["--host", host, "--port", str(port), "--workers", "1"]
    if artifacts is not None:
        words += ["--default-artifact-root", artifacts.as_uri()]
    # What runs evaluations of language models takes as long to start as all the rest.
    quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    env = {**quick, **_reached_as(host, port), **os.environ}
    env["MLFLOW_BACKEND_STORE_URI"] = tracking_uri  # no argument: it may hold a password
    with _ended_by_signals(), log.open("wb") as said:
        # Its own session: Ctrl-C is ours, and its workers end with it.
        server = subprocess.Popen(  # noqa: S603 - the words are ours
            words, stdout=said, stderr=said, start_new_session=True, env=env
        )
        try:
            _wait_until_it_answers(server, host, port, log)
            yield server
        finally:
            _end(server)


def names_elsewhere(host: str) -> list[str]:
    """What other machines may call a server that listens on `host`; none where they reach none."""
    if host in ("localhost", "::1") or host.startswith("127."):
        return []
    if host not in EVERYWHERE:
        return [host]
    found = [socket.gethostname()]
    # Sends nothing: it only asks which of our addresses would be used.
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("192.0.2.1", 9))
        found.insert(0, asking.getsockname()[0])
    return found


def _reached_as(host: str, port: int) -> dict[str, str]:
    """Settings without which MLflow's pages get no answers but on localhost."""
    if not (others := names_elsewhere(host)):
        return {}
    pages = [address(name, port) for name in others]
    hosts = [page.removeprefix("http://") for page in pages]
    return {
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(pages),
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join([*hosts, "localhost:*", "127.0.0.1:*", "[::1]:*"]),
    }


def open_browser(page: str) -> bool:
    """Opens a page where somebody would see it; whether that was tried with success."""
    if sys.platform == "linux":
        # Without a screen it would be a browser for terminals, in this one.
        if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
            return False
    with contextlib.suppress(webbrowser.Error, OSError):
        return webbrowser.open(page)
    return False


def address(host: str, port: int) -> str:
    """What a browser on this machine is given."""
    name = EVERYWHERE.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_it_answers(
    server: subprocess.Popen[bytes], host: str, port: int, log: Path
) -> None:
    # No proxy: it is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_FOR_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise TrackingError(f"MLflow's server ended with {server.returncode}; {log} says why")
        with contextlib.suppress(urllib.error.URLError, OSError):
            opener.open(f"{address(host, port)}/health", timeout=5).close()
            return
        time.sleep(LOOK_EVERY_S)
    raise TrackingError(f"MLflow's server does not answer after {START_FOR_S:g} s; see {log}")


def _end(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_FOR_S)
