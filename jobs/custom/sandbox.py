"""The sandbox: what team code may see, and how it is started and ended.

In: a cohort's `SandboxRules`, Python code that may be trusted to begin with, and descriptors for
it. Out: a running `Sandbox`, one end of whose socket is ours. Used by `jobs.custom.parent`, and by
the control plane before it submits anything (`unavailable`).

bubblewrap makes the sandbox from namespaces: an own process table, an own empty network, and a
file system with the system's and Python's files and this package, all read-only, and one temporary
folder of limited size. Whoever runs it as root runs team code as a user that nothing else uses, so
that the kernel's limit on processes holds and nothing of root is left; anybody else's sandboxes
have a user namespace each, to the same effect.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import IO, Self

from jobs.custom import seccomp
from jobs.custom.privileges import is_full_root, others_counted, unused_user
from jobs.custom.usage import children, descendants
from jobs.custom.view import TEMPORARY, bubblewrap, environment, python_command
from jobs.custom.watch import limits_for, offer, set_limits
from jobs.errors import SandboxError
from jobs.plan import Device, SandboxRules

CHILD = "from jobs.custom.child import main; main()"
START_S = 30.0
END_S = 10.0
HINT = (
    "let users make namespaces (sysctl kernel.unprivileged_userns_clone=1, on Ubuntu "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container seccompProfile Unconfined and "
    "procMount Unmasked)"
)
UNSAFE = "or set `customIsolation: process` in the cohort, which protects from crashes only"


class Sandbox:
    """Running team code, or trusted code about to run it. Close it: nothing of it stays."""

    def __init__(
        self,
        rules: SandboxRules,
        device: Device,
        threads: int,
        descriptors: Sequence[int] = (),
        code: str = CHILD,
    ) -> None:
        """Start Python in a sandbox.

        Args:
            rules: the cohort's.
            device: "cuda" lets it use the GPUs of CUDA_VISIBLE_DEVICES.
            threads: what OMP_NUM_THREADS says inside.
            descriptors: what it inherits beside the channel, under the same numbers, all above
                CHANNEL_FD.
            code: what it runs; sys.argv[1] is the limits, for `jobs.custom.watch.set_limits`, and
                sys.argv[2] the device.

        Raises:
            SandboxError: it cannot be made; says why.
        """
        self._undo = ExitStack()
        self._init: int | None = None  # the process that holds the others, and its descriptor
        self._init_fd: int | None = None
        self._closed = False
        try:
            self._start(rules, device, threads, descriptors, code)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise SandboxError(f"a sandbox cannot be started: {error}") from error
            raise

    def _start(
        self, rules: SandboxRules, device: Device, threads: int, inherited: Sequence[int], code: str
    ) -> None:
        self.socket, theirs = socket.socketpair()
        self._undo.callback(self.socket.close)
        self.output_fd, output = os.pipe()
        self._undo.callback(os.close, self.output_fd)
        with theirs, os.fdopen(output, "wb") as to_us, ExitStack() as ours:
            isolated = rules.isolation == "bubblewrap"
            user = unused_user() if isolated and is_full_root() else None
            self._limits = limits_for(rules, device, others_counted(isolated))
            arguments = [json.dumps(self._limits), device]
            python = python_command(code, theirs.fileno(), inherited, arguments, isolated)
            folder: str | None = None
            fds: tuple[int, ...] = ()
            command = python
            if isolated:
                from_info, info = os.pipe()
                to_fd = ours.enter_context(os.fdopen(info, "wb"))
                from_fd = ours.enter_context(os.fdopen(from_info, "rb"))
                rest = ours.enter_context(_filter(device))
                fds = (to_fd.fileno(), rest.fileno())
                command = bubblewrap(rules, device, threads, user, *fds) + python
            else:
                # Something that escaped may write there to the end, and is not to cost a result.
                made = tempfile.TemporaryDirectory(prefix="custom-", ignore_cleanup_errors=True)
                folder = self._undo.enter_context(made)
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=to_us,
                stderr=to_us,
                pass_fds=(theirs.fileno(), *inherited, *fds),
                env=environment(threads, folder or TEMPORARY, device),
                cwd=folder or "/",
                start_new_session=True,
            )
            self._undo.callback(self._end)
            if isolated:
                to_fd.close()
                self._init = self._find_init(from_fd.fileno())
                self._init_fd = os.pidfd_open(self._init)

    @property
    def temporary(self) -> Path | None:
        """Its temporary folder, as seen from outside; None where that is no file system."""
        return None if self._init is None else Path(f"/proc/{self._init}/root{TEMPORARY}")

    def processes(self) -> list[Path]:
        """Return the folders in /proc of its processes, that of the one which holds it included.

        Raises:
            PermissionError: they run, and have seen to it that nobody may look at them.
        """
        if self._closed:
            return []
        if self._init is None:
            return [Path(f"/proc/{pid}") for pid in descendants(self._process.pid)]
        root = Path(f"/proc/{self._init}/root")
        try:
            if root.samefile("/"):  # it is not set up yet, and this would be the machine's table
                return []
            inside = (root / "proc").iterdir()  # its own table: nothing escapes from there
            return [path for path in inside if path.name.isdecimal()]
        except OSError as error:
            if isinstance(error, PermissionError) and not self._has_ended(0):
                raise
            return []

    def first_process(self) -> int | None:
        """Return the number of the process that was started; asked before team code runs."""
        if self._init is None:
            return self._process.pid
        return next(iter(children(self._init)), None)

    def hold(self) -> None:
        """Limit what runs by now, whatever it has done itself; before team code runs.

        And let the machine end this sandbox before anything else where memory runs out.
        """
        for pid in filter(None, (self._init, self.first_process())):
            offer(Path(f"/proc/{pid}"))
            with suppress(OSError):
                set_limits(self._limits, pid)

    def kill(self) -> None:
        """End all its processes at once; from any thread, any number of times."""
        if self._closed:
            return
        if self._init_fd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)
        elif self._init is None:
            # Once it has been waited for, its number may be anybody's.
            known = [] if self._process.returncode is not None else descendants(self._process.pid)
            for pid in reversed(known):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    @property
    def guarded(self) -> bool:
        """Whether there is a wall around the child: its process is then that of the wall."""
        return self._init is not None

    def ended_by(self, timeout_s: float) -> tuple[int, int | None] | None:
        """Wait for the first process's end: its exit status, and the signal that ended it.

        Returns:
            None where it still runs.
        """
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        if self._init is not None and code > 128:  # bubblewrap tells of a signal as shells do
            return code, code - 128
        return code, -code if code < 0 else None

    def close(self) -> None:
        """End it, wait until nothing of it is left, and close our ends."""
        self._undo.close()

    def _end(self) -> None:
        self.kill()
        self._process.wait()
        if self._init_fd is not None:
            self._has_ended(END_S)
            os.close(self._init_fd)
        self._closed = True

    def _has_ended(self, within_s: float) -> bool:
        """Whether the process that holds the others has ended, or does so in time."""
        if self._init_fd is None:
            return False
        gone = select.poll()
        gone.register(self._init_fd, select.POLLIN)
        return bool(gone.poll(within_s * 1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find_init(self, info_fd: int) -> int:
        told, poll = b"", select.poll()
        poll.register(info_fd, select.POLLIN)
        while poll.poll(START_S * 1000) and (some := os.read(info_fd, 4096)):
            told += some
        try:
            return int(json.loads(told)["child-pid"])
        except (ValueError, KeyError, TypeError) as error:
            raise SandboxError(_refused(_said(self._read_output()))) from error

    def _read_output(self) -> bytes:
        os.set_blocking(self.output_fd, False)
        with suppress(BlockingIOError):
            return os.read(self.output_fd, 4096)
        return b""


def unavailable(rules: SandboxRules) -> str | None:
    """Say why no sandbox can be made on this machine, and what to do; None where it can.

    A real one is tried once in a process. `isolation: process` is always available.
    """
    return None if rules.isolation == "process" else _unavailable()


@cache
def _unavailable() -> str | None:
    if shutil.which("bwrap") is None:
        return f"bubblewrap is not installed here: apt-get install bubblewrap, {UNSAFE}"
    if not seccomp.supported():
        known = ", ".join(seccomp.ARCHITECTURES)
        return f"sandboxes are known for {known}, not for {os.uname().machine}: use such a machine"
    if os.geteuid() == 0 and not is_full_root():
        return (
            "sandboxes cannot be made by a root without CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID: "
            f"run as an ordinary user, or with these, {UNSAFE}"
        )
    if is_full_root() and shutil.which("setpriv") is None:
        return f"setpriv is not installed here: apt-get install util-linux, {UNSAFE}"
    try:
        with Sandbox(SandboxRules(), "cpu", 1, code="import jobs.custom.watch") as sandbox:
            ended = sandbox.ended_by(START_S)
            said = _said(sandbox._read_output())
    except SandboxError as error:
        return f"{error}, {UNSAFE}"
    if ended is not None and ended[0] == 0:
        return None
    if said.startswith("bwrap:"):  # after it had told its process
        return f"{_refused(said)}, {UNSAFE}"
    why = "it did not end" if ended is None else said
    return (
        f"Python does not run in a sandbox here ({why}): every user must be able to read Python's "
        f"files and the game's (chmod -R go+rX), {UNSAFE}"
    )


def _filter(device: Device) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(seccomp.program(gpu=device == "cuda"))
    file.seek(0)
    return file


def _refused(said: str) -> str:
    return f"bubblewrap cannot make a sandbox: {said}; {HINT}"


def _said(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
