"""A PostgreSQL server of one's own, where its programs are installed: no network, no password.

It listens on a socket in its folder, under /tmp, and on a port only where it is given one. As
PostgreSQL refuses to run as root, root starts it as another user.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUPERUSER = "game"
READY_TRIES, READY_EVERY_S = 300, 0.1


def reason_why_not() -> str | None:
    """Why no server can be started here, or None where one can."""
    if importlib.util.find_spec("psycopg") is None:
        return "the driver psycopg is not installed"
    if _programs() is None:
        return "there are no PostgreSQL programs (initdb, postgres) on the PATH"
    if os.getuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and there is no user postgres or nobody"
    return None


class Server:
    """A server in a folder; it can be stopped and started again with what is in it."""

    def __init__(
        self, folder: Path, durable: bool, superuser: str = SUPERUSER, port: int | None = None
    ) -> None:
        programs, self._folder, self._user = _programs(), folder, _user()
        self._superuser, self._port = superuser, port
        assert programs is not None
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        self._options = [] if durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        if self._user is not None:
            shutil.chown(folder, self._user)
        if port is not None:
            self._options += ["-c", f"port={port}"]
        # Over the network a password is asked for, as in PostgreSQL's own image.
        options = ["-U", superuser, "--auth-local=trust", "--auth-host=scram-sha-256"]
        options += ["-E", "UTF8", "--locale=C", "-N"]
        self._run("initdb", "-D", str(folder / "data"), *options)

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres", "-D", self._folder / "data",
                    "-c", f"unix_socket_directories={self._folder}",
                    "-c", f"listen_addresses={'127.0.0.1' if self._port else ''}",
                    *self._options,
                ],
                stdout=log, stderr=log, cwd=self._folder, user=self._user,
            )  # fmt: skip
        self._wait_until_ready()

    def stop(self) -> None:
        """Stops the server at once and in order; open connections break."""
        self._end(signal.SIGINT)

    def abandon(self) -> None:
        """Ends the server as a crash would: nothing in it is needed any more."""
        self._end(signal.SIGQUIT)

    def execute(self, statement: str, database: str = "postgres") -> None:
        """Runs one statement as the server's owner."""
        import psycopg

        with psycopg.connect(self._conninfo(database), autocommit=True) as connection:
            connection.execute(statement)

    @property
    def socket_folder(self) -> Path:
        """The folder of its socket."""
        return self._folder

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of one of the server's databases."""
        return f"postgresql+psycopg://{SUPERUSER}@/{database}?host={self._folder}"

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait()

    def _conninfo(self, database: str) -> str:
        port = f" port={self._port}" if self._port else ""
        return f"host={self._folder}{port} user={self._superuser} dbname={database}"

    def _wait_until_ready(self) -> None:
        import time

        import psycopg

        for _ in range(READY_TRIES):
            try:
                with psycopg.connect(self._conninfo("postgres")):
                    return
            except psycopg.OperationalError:
                time.sleep(READY_EVERY_S)
        raise RuntimeError((self._folder / "log").read_text())

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            [self._programs / program, *args],
            cwd=self._folder, user=self._user, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr}")


@contextmanager
def postgres_server(
    durable: bool = False, superuser: str = SUPERUSER, port: int | None = None
) -> Iterator[Server]:
    """A running server for a block; a `durable` one waits for the disk, as real ones do.

    With a port it answers on the loopback device, too.
    """
    folder = Path(tempfile.mkdtemp(prefix="game-postgres-"))
    try:
        server = Server(folder, durable, superuser, port)
        server.start()
        try:
            yield server
        finally:
            server.abandon()
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def _user() -> str | None:
    """Whom root starts the server as."""
    if os.getuid() != 0:
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)
