"""A process that exports models, so that this one needs no torch and outlives what goes wrong.

In: architectures. Out: folders as `export` writes them, in that process, which lasts for several
exports. A disk that fills up while torch writes ends torch's process: its writer throws where
nothing may be thrown any more. A controller has members to train. Used by `templates`.

The process ends with its standard input, and so with whoever started it, however that ends.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import orchestrator
from orchestrator.errors import TrackingError

ROOT = Path(orchestrator.__file__).parent.parent
PROGRAM = """\
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides when to end
from orchestrator.loading import loading
with loading():
    from orchestrator.tracking.export import main
main()
"""


class Exporter:
    """Starts the process with the first export. Not shared between threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._said: IO[bytes] | None = None

    def export(self, architecture: dict[str, object], into: Path) -> None:
        """Writes a blank model of the architecture, as JSON, to a new folder.

        Raises `TrackingError` where it can't be written.
        """
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([architecture, str(into)]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:  # it has ended before
            answer = ""
        except BaseException:  # nobody would read its answer
            self._process.kill()
            self.close()
            raise
        if not answer:
            raise TrackingError(f"a model cannot be exported: {self._last_words()}")
        if why := json.loads(answer):
            raise TrackingError(f"a model cannot be exported: {why}")

    def close(self) -> None:
        """Ends the process where there is one."""
        if self._process is not None:
            self._process.communicate()
            self._process = None
        if self._said is not None:
            self._said.close()
            self._said = None

    def _start(self) -> None:
        # -P: nothing in the current folder must stand in for a module.
        words = [sys.executable, "-P", "-c", PROGRAM]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(  # noqa: S603  # our own program
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )

    def _last_words(self) -> str:
        """What the process said before it ended, which it has."""
        assert self._process is not None
        assert self._said is not None
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        self.close()
        ended = f"its process ended with {code}"
        return f"{ended}: {lines[-1].strip()}" if lines else ended
