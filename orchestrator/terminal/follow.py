"""A member's log read while it grows, from attempt to attempt.

In: the log files that `artifacts` names, and the job as the store has it. Out: lines that are safe
to print. A log is written by whoever trains, and holds what team code printed: escape sequences are
shown, not obeyed. Used by `gamectl logs`.
"""

import codecs
import contextlib
from collections.abc import Iterator

from jobs.places import Where, read_bytes
from orchestrator.artifacts import Artifacts
from orchestrator.console import printable
from orchestrator.phases import Phase
from orchestrator.state import Job, Member


class Tail:
    """A file from its beginning to wherever it has grown."""

    def __init__(self, path: Where) -> None:
        self._path = path
        self._offset = 0
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def lines(self, ended: bool) -> Iterator[str]:
        """The whole lines that are new, printable; with `ended`, the last one without its end too.

        A carriage return ends a line as well: what it would have overwritten stays readable. Raises
        `FileNotFoundError` where there is no file, or `OSError`.
        """
        new = read_bytes(self._path, self._offset)  # logs are limited to a few megabytes
        self._offset += len(new)
        yield from self._split(self._decode.decode(new))
        if ended and (rest := self._rest + self._decode.decode(b"", final=True)):
            self._rest = ""
            yield _safe(rest.removesuffix("\r"))

    def _split(self, text: str) -> Iterator[str]:
        text = self._rest + text
        # The line feed that belongs to a last carriage return may still be to come.
        held = "\r" if text.endswith("\r") else ""
        whole = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        *lines, last = whole.split("\n")
        self._rest = last + held
        yield from map(_safe, lines)


class MemberTail:
    """The log of a member: of one attempt, or of the newest and all that come after it."""

    def __init__(self, artifacts: Artifacts, index: int, attempt: int | None = None) -> None:
        self.index = index
        self._artifacts = artifacts
        self._only = attempt
        self._attempt = 0
        self._tail: Tail | None = None
        self.found = False
        """Whether there has been a log."""

    def lines(self, job: Job) -> Iterator[str]:
        """What is new in the log; `job` was read from the store before, so that nothing is missed.

        A log that is not there yet, or not any more, has no lines.
        """
        member = job.members[self.index]
        while self._at(job, member):
            assert self._tail is not None
            ended = member.attempt > self._attempt or member.phase is not Phase.RUNNING
            with contextlib.suppress(FileNotFoundError):
                yield from self._tail.lines(ended)
                self.found = True
            if self._only is not None or member.attempt <= self._attempt:
                return
            self._open(job, self._attempt + 1)

    def done(self, job: Job) -> bool:
        """Whether nothing will be added to what `lines` gave for this state of the job."""
        member = job.members[self.index]
        if member.phase.terminal:
            return True
        if self._only is None:
            return False
        return member.attempt > self._only or (
            member.attempt == self._only and member.phase is not Phase.RUNNING
        )

    def _at(self, job: Job, member: Member) -> bool:
        """Whether there is an attempt to read; the first time, it is opened."""
        wanted = self._only or member.attempt
        if self._tail is None and 0 < wanted <= member.attempt:
            self._open(job, wanted)
        return self._tail is not None

    def _open(self, job: Job, attempt: int) -> None:
        self._attempt = attempt
        self._tail = Tail(self._artifacts.log_path(job, self.index, attempt))


def _safe(line: str) -> str:
    return "\t".join(printable(part) for part in line.split("\t"))
