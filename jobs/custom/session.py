"""One conversation with a sandbox, from its start to its end, whatever happens inside.

In: a plan with team code, the cohort's rules, and the arrays that go in. Out: frames to and from
the child, and every way in which it can fail as an error with the team's file and line where they
are known. Used by `jobs.custom.parent`, which knows what the frames mean.

Until the child says `ready` no team code has run, and a failure is the sandbox's. From then on it
is the team's.
"""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any, NoReturn, Self

import numpy as np

from jobs.custom.answers import (
    Unacceptable,
    dumped_line,
    failed_line,
    failure,
    largest_state_bytes,
    place,
    printable,
    signalled,
)
from jobs.custom.frames import Channel, Frame, FrameError, share
from jobs.custom.sandbox import Sandbox
from jobs.custom.usage import MIB, out_of_memory_kills
from jobs.custom.watch import Excess, Watch
from jobs.errors import (
    JobsError,
    SandboxError,
    Stopped,
    TeamCodeError,
    TeamCodeOverLimit,
    TeamCodeTooLarge,
)
from jobs.plan import MemberPlan, SandboxRules

READY_S = 120.0  # importing torch from a cold disk, beside fifteen others
END_S = 2.0
TAIL_BYTES = 64 * 1024
# What is given for a traceback before the end: a team wants to know where it hung.
TRACE_S = {"time": 0.5, "cpu": 0.5}
TRACE_AT_MOST_S = 0.1
TRACE_POLL_S = 0.01
POLL_MS = 100


class Session:
    """A sandbox that is ready for its first frame; to be used as a context."""

    def __init__(
        self,
        plan: MemberPlan,
        rules: SandboxRules,
        arrays: Mapping[str, np.ndarray],
        output: Callable[[bytes], None],
        should_stop: Callable[[], bool] | None = None,
        answers_within_s: float | None = None,
    ) -> None:
        """Start the sandbox and wait until it is ready.

        Args:
            plan: has a file of the team's.
            rules: the cohort's.
            arrays: what the child may see, by name.
            output: given what it prints, as it comes, from a thread of its own.
            should_stop: looked at all the time while we wait.
            answers_within_s: as `Watch` takes it.

        Raises:
            SandboxError: there is no sandbox to be had; the team has nothing to do with it.
            Stopped: `should_stop` said so.
        """
        assert plan.custom is not None
        self._plan, self._file, self._rules = plan, plan.custom.file, rules
        self._output, self._should_stop = output, should_stop
        self._answers_within_s = answers_within_s
        self._excess: Excess | None = None
        self._passed: Excess | None = None  # the same, from before it is asked where it is
        self._line: int | None = None
        self._broken: Exception | None = None
        self._tail, self._printed_bytes = b"", 0
        self._ready = False
        self._abandoned = threading.Event()
        self._kills_before = out_of_memory_kills()
        self._undo = ExitStack()
        try:
            self._start(arrays)
        except BaseException:
            self.close()
            raise

    def _start(self, arrays: Mapping[str, np.ndarray]) -> None:
        try:
            shared = {
                name: self._undo.enter_context(share(array)) for name, array in arrays.items()
            }
        except OSError as error:
            raise SandboxError(f"images cannot be shared with a sandbox: {error}") from error
        self.arrays = {name: array.described() for name, array in shared.items()}
        descriptors = [array.fd for array in shared.values()]
        self._sandbox = self._undo.enter_context(
            Sandbox(self._rules, self._plan.device, self._plan.threads, descriptors)
        )
        self._reader = threading.Thread(target=self._read, name="sandbox output", daemon=True)
        self._reader.start()
        self._undo.callback(self._end_reader)
        self.largest_bytes = largest_state_bytes(self._plan, self._rules)  # of a frame's blobs
        self._channel = Channel(self._sandbox.socket, self.largest_bytes, self._look)
        frame = self.receive(time.monotonic() + READY_S)
        if frame.kind != "ready":
            raise self.error(f"it said {printable(frame.kind, 20)!r} instead of `ready`")
        self._ready = True
        self._sandbox.hold()
        first = self._sandbox.first_process()
        self._first_fd: int | None = None
        if first is not None:
            with suppress(ProcessLookupError):
                self._first_fd = os.pidfd_open(first)
                self._undo.callback(os.close, self._first_fd)
        sandbox, give_s = self._sandbox, self._answers_within_s
        ends = self._end_over, self._end_unwatched
        self._watch = Watch(self._rules, sandbox.processes, sandbox.temporary, *ends, give_s)
        self._undo.callback(self._watch.close)
        self._undo.callback(self._sandbox.kill)  # first of all: it may keep the machine busy

    def send(self, kind: str, fields: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Send a frame; raises as `receive` does."""
        try:
            self._channel.send(kind, dict(fields), blobs)
        except (BrokenPipeError, ConnectionResetError):
            self._fail_ended()

    def receive(self, deadline_s: float | None = None) -> Frame:
        """Return the next frame that is no failure.

        Raises:
            TeamCodeError: team code failed, died, or said something that is no frame.
            TeamCodeTooLarge, TeamCodeOverLimit: it used too much.
            Diverged: it says that its loss is not finite.
            SandboxError: it ended, or was not ready in time, before any team code ran.
            Stopped: `should_stop` said so.
        """
        try:
            frame = self._channel.receive(deadline_s)
        except EOFError:
            self._fail_ended()
        except FrameError as error:
            self._look()
            raise self.error(f"what it sent is not what was asked for: {error}") from error
        except TimeoutError as error:
            late = f"it was not ready after {READY_S:g} s: {self._last_words()}"
            raise self.error(late) from error
        if frame.kind == "failed" and self._ready:
            self._fail(frame)
        return frame

    def error(self, message: str, line: int | None = None) -> JobsError:
        """Make an error to raise: the team's, with its file in front, as soon as it is ready."""
        if not self._ready:
            return SandboxError(f"a sandbox failed before any team code ran: {message}")
        return TeamCodeError(f"{place(self._file, line)}: {message}")

    def ours(self) -> AbstractContextManager[None]:
        """A block of work for which the child waits; its wall clock stands still."""
        return self._watch.paused()

    def count(self, num_bytes: int) -> None:
        """Count what came as a frame with what is printed; raises as `receive` does."""
        self._count(num_bytes)
        self._look()

    def close(self) -> None:
        """End the sandbox; nothing of it stays, and all it has printed has been handed on."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Close; an answer that was found unacceptable meanwhile becomes the team's error."""
        self.close()
        if isinstance(error, Unacceptable):
            raise self.error(str(error)) from error

    def _look(self) -> None:
        """Raise what other threads have found out, or that it is time to stop."""
        if self._broken is not None:
            raise self._broken
        if self._excess is not None:
            kind = TeamCodeTooLarge if self._excess.kind == "memory" else TeamCodeOverLimit
            raise kind(f"{place(self._file, self._line)}: {self._excess.message}")
        if self._sandbox.ended_by(0) is not None:
            # What it has sent can still be read; what it started may hold its end of the channel.
            with suppress(OSError):
                self._sandbox.socket.shutdown(socket.SHUT_RDWR)
        if self._should_stop is not None and self._should_stop():
            raise Stopped("stopped in a sandbox")

    def _fail(self, frame: Frame) -> NoReturn:
        if self._excess is None:
            # That a fork or an allocation failed says less than that there was too much before.
            self._line = failed_line(frame.fields, self._file)
            self._excess = self._passed or self._watch.look()
        self._look()
        raise failure(frame.fields, self._plan, self._rules)

    def _fail_ended(self) -> NoReturn:
        self._excess = self._excess or self._passed
        self._look()
        ended = self._sandbox.ended_by(END_S)
        self._sandbox.kill()
        self._reader.join(END_S)
        self._look()
        if not self._ready:
            raise self.error(self._last_words())
        if ended is None:
            raise self.error("it closed its channel before it was done, and went on")
        status, number = ended
        if self._sandbox.guarded and status < 0:  # team code can see and signal what is inside only
            raise SandboxError(f"the sandbox was ended from outside, by signal {number}")
        if number == signal.SIGKILL and out_of_memory_kills() > self._kills_before:
            raise SandboxError("the system ran out of memory, and ended the sandbox for it")
        line = dumped_line(self._tail, self._file)
        if number is None:
            raise self.error(f"its process ended (exit status {status}) before it was done", line)
        raise self.error(signalled(number), line)

    def _end_over(self, excess: Excess) -> None:
        """End the sandbox for what it used; ask it first where it is. From any thread."""
        self._passed = excess  # it may end by being asked
        mark = self._printed_bytes
        if self._first_fd is not None and excess.kind != "output":
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first_fd, signal.SIGUSR1)
            deadline_s = time.monotonic() + TRACE_S.get(excess.kind, TRACE_AT_MOST_S)
            while self._line is None and time.monotonic() < deadline_s:
                time.sleep(TRACE_POLL_S)
                new = self._printed_bytes - mark
                self._line = dumped_line(self._tail[-new:], self._file) if new else None
        self._excess = excess
        self._sandbox.kill()

    def _end_unwatched(self, error: Exception) -> None:
        """End the sandbox because its limits cannot be watched: no fault of the team's."""
        self._broken = SandboxError(f"a sandbox's limits cannot be watched: {error!r}")
        self._sandbox.kill()

    def _read(self) -> None:
        """Hand on what is printed until there is nobody left to print."""
        poll = select.poll()
        poll.register(self._sandbox.output_fd, select.POLLIN)
        while True:
            if self._abandoned.is_set():  # something that escaped from a plain process goes on
                return
            if not poll.poll(POLL_MS):
                continue
            some = os.read(self._sandbox.output_fd, TAIL_BYTES)
            if not some:
                return
            self._tail = (self._tail + some)[-TAIL_BYTES:]
            if self._count(len(some)) or self._broken is not None:
                continue
            try:
                self._output(some)
            except Exception as error:  # it is raised where the conversation is
                self._broken = error

    def _count(self, num_bytes: int) -> bool:
        """Count output; end the sandbox, and say so, where it is too much."""
        self._printed_bytes += num_bytes
        if self._printed_bytes <= self._rules.output_mib * MIB:
            return False
        if self._excess is None:
            limit = f"{self._rules.output_mib} MiB are allowed (customLimits.outputMib)"
            self._excess = Excess("output", f"it printed too much; {limit}")
            self._sandbox.kill()
        return True

    def _end_reader(self) -> None:
        self._sandbox.kill()
        self._reader.join(END_S)
        self._abandoned.set()
        self._reader.join()

    def _last_words(self) -> str:
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return printable(lines[-1], 300) if lines else "it said nothing"
