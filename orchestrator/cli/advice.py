"""What an error says to do: the command that helps on, or the variable that names another folder.

In: an error that ended a command. Out: its message in words for people. Used by `cli`.
"""

import contextlib
import errno
from pathlib import Path

from jobs.errors import DataError, JobsError
from orchestrator.errors import ArtifactsAway, GameError, LeaseLost, StoreError, TrackingError


def with_next_step(message: str, error: GameError | JobsError, command: str | None) -> str:
    """The message with the command that helps on, where it names none; one line stays one."""
    step = None if "gamectl" in message else _next_step(error, command)
    if step is None:
        return message
    if "\n" in message:
        return f"{message}\n{step}"
    return f"{message.removesuffix('.')}; {step}"


def _next_step(error: GameError | JobsError, command: str | None) -> str | None:
    if isinstance(error, LeaseLost):
        return "`gamectl get jobs --watch` shows what the other controller does"
    if isinstance(error, StoreError | TrackingError | ArtifactsAway):
        return "`gamectl doctor` looks for the reason"
    if isinstance(error, DataError) and command == "teacher":
        return "`gamectl teacher --help` tells what it takes"
    if isinstance(error, DataError) and command != "data":
        return "`gamectl data check FOLDER` shows what is there"
    return None


def of_system(error: OSError) -> str:
    """What the system refused, where, and what to do."""
    place = error.filename2 or error.filename  # whole files are renamed: not their temporary name
    said = f"{error.strerror or error}: {place}" if place else f"{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{said}; `gamectl doctor` tells how much room there is"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and _is_at_home(place):
        return f"{said}; GAME_HOME names another folder"
    return said


def _is_at_home(place: object) -> bool:
    from orchestrator.settings import Settings

    with contextlib.suppress(OSError):  # GAME_HOME itself may be no place
        return isinstance(place, str) and Path(place).absolute().is_relative_to(Settings().root)
    return False
