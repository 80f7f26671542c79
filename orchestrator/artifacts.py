"""What training leaves behind as files, written whole or not at all.

In: the bytes that a slot returned, or that `finish` made of them. Out: names relative to the
artifact folder, which the store keeps: a file is whole before the store knows of it. The folder may
be a URI, of one in an object store. Next on the path: `combiner` and `networks`, which read them.

    COHORT/TEAM/rREVISION-UID/mINDEX.safetensors     the weights
    COHORT/TEAM/rREVISION-UID/mINDEX-val.npy         (validation images, classes) float32
    COHORT/TEAM/rREVISION-UID/mINDEX.checkpoint      where its training stands, until it is trained
    COHORT/TEAM/rREVISION-UID/mINDEX-aATTEMPT.log    what it said, attempt by attempt
    COHORT/TEAM/rREVISION-UID/stack-SHA.safetensors  the layer that stacks the members, if one does

Results of a second attempt and later ones have it in their names, as in mINDEX-a2.safetensors.
"""

import contextlib
import hashlib
import io
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.places import Where, join, read_bytes, remove, whole_file
from jobs.plan import SandboxRules
from jobs.values import Place
from orchestrator.errors import ArtifactsAway, Damaged
from orchestrator.phases import Phase
from orchestrator.state import Job
from orchestrator.store import FittedStacker, TrainedWeights

LEAVE_STORE_S = 60.0
"""So long nothing is removed from a store that is away; the next controller removes the rest."""
CLOSE_S = 5.0
"""So long whoever closes waits for removals; the next controller removes the rest."""
RESTORE = "put it back from a backup, or submit the team's loadout again with another seed"


class Artifacts:
    """The artifact folder."""

    def __init__(self, root: Where) -> None:
        self._root = root
        self._remover = ThreadPoolExecutor(1, "artifacts")
        self._removals: set[Future[None]] = set()
        self._dropped: list[Where] = []
        self._leave_until_s = 0.0

    def close(self) -> None:
        """Removes nothing any more; what is under way gets a moment."""
        wait(self._removals.copy(), CLOSE_S)
        self._remover.shutdown(wait=False, cancel_futures=True)

    def save(
        self, job: Job, index: int, attempt: int, weights: bytes, val_probs: NDArray[np.float32]
    ) -> TrainedWeights:
        """Writes an attempt's results; writing the same attempt's again replaces them.

        No other attempt's: a controller that has lost its lease unawares may still come to write
        the results of an attempt that its successor has long followed by another.
        """
        stem = f"{_folder(job)}/m{index}" + (f"-a{attempt}" if attempt > 1 else "")
        with whole_file(self.path(f"{stem}.safetensors")) as file:
            file.write(weights)
        with whole_file(self.path(f"{stem}-val.npy")) as file:
            np.save(file, val_probs)
        return TrainedWeights(
            weights=f"{stem}.safetensors",
            weights_sha256=hashlib.sha256(weights).hexdigest(),
            val_probs=f"{stem}-val.npy",
        )

    def save_stacker(self, job: Job, content: bytes) -> FittedStacker:
        """Writes a job's stacker, safetensors.

        One of other bits, as a controller that has lost its lease unawares may write late on
        another kind of processor, is another file.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"{_folder(job)}/stack-{sha256[:8]}.safetensors"
        with whole_file(self.path(name)) as file:
            file.write(content)
        return FittedStacker(name, sha256)

    def weights(self, trained: TrainedWeights) -> bytes:
        """A member's weights, safetensors; raises `Damaged` where they are gone or changed."""
        return self._unchanged(trained.weights, trained.weights_sha256)

    @contextlib.contextmanager
    def as_file(self, trained: TrainedWeights) -> Iterator[Path]:
        """A member's weights as a file of that name, for the length of the block.

        Raises `Damaged` where they are gone or changed.
        """
        content, place = self.weights(trained), self.path(trained.weights)
        if isinstance(place, Path):
            yield place
            return
        with tempfile.TemporaryDirectory(prefix="gamectl-weights-") as folder:
            file = Path(folder) / place.rpartition("/")[2]
            file.write_bytes(content)
            yield file

    def stacker(self, fitted: FittedStacker) -> bytes:
        """A job's stacker, safetensors; raises `Damaged` where it is gone or changed."""
        return self._unchanged(fitted.stacker, fitted.stacker_sha256)

    def val_probs(self, trained: TrainedWeights) -> NDArray[np.float32]:
        """A member's probabilities on the validation images, (N, C) float32."""
        content = self._read(trained.val_probs)
        try:
            array: NDArray[np.float32] = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise Damaged(
                f"{self.path(trained.val_probs)} is no array: {error}; {RESTORE}"
            ) from error
        if not np.isfinite(array).all():
            raise Damaged(f"{self.path(trained.val_probs)} holds numbers that are none; {RESTORE}")
        return array

    def checkpoint_path(self, job: Job, index: int) -> Where:
        """Where a member's training keeps its state, for all of its attempts."""
        return self.path(f"{_folder(job)}/m{index}.checkpoint")

    def log_path(self, job: Job, index: int, attempt: int) -> Where:
        """Where an attempt's own output goes."""
        return self.path(f"{_folder(job)}/m{index}-a{attempt}.log")

    def place(self, job: Job, index: int, attempt: int, sandbox: SandboxRules) -> Place:
        """Where a slot keeps an attempt's files."""
        checkpoint = self.checkpoint_path(job, index)
        if checkpoint in self._dropped:  # of an attempt whose results were lost since
            self.sweep()
        return Place(str(checkpoint), str(self.log_path(job, index, attempt)), sandbox)

    def drop_checkpoints(self, job: Job, before: Job | None) -> None:
        """Has `sweep` remove the checkpoints that nobody will go on from.

        Those that were as useless in the job as it was `before` are not looked for again: with many
        members that takes longer than everything else the controller does.
        """
        for index, _ in _without_need(job) - (_without_need(before) if before else set()):
            self._dropped.append(self.checkpoint_path(job, index))

    def sweep(self) -> None:
        """Removes what was dropped, while slots are at work; a failure does no harm."""
        while self._dropped:
            place = self._dropped.pop()
            if isinstance(place, Path):
                self._remove(place)
            else:  # a request each, which nobody need wait for
                removal = self._remover.submit(self._remove, place)
                self._removals.add(removal)
                removal.add_done_callback(self._removals.discard)

    def _remove(self, place: Where) -> None:
        if time.monotonic() < self._leave_until_s:
            return
        try:
            remove(place)
        except OSError:
            if isinstance(place, str):  # each of the others would take as long to fail
                self._leave_until_s = time.monotonic() + LEAVE_STORE_S

    def path(self, name: str) -> Where:
        """Where the file of that name lies."""
        return join(self._root, name)

    def _unchanged(self, name: str, sha256: str) -> bytes:
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Damaged(
                f"{self.path(name)} is not the file that training wrote: its SHA-256 differs; "
                f"{RESTORE}"
            )
        return content

    def _read(self, name: str) -> bytes:
        return read_kept(self.path(name))


def read_kept(place: Where, what: str = "", advice: str = "") -> bytes:
    """The bytes that are kept there; `what` and `advice` are put into the errors' words.

    Raises `Damaged` where there are none, and `ArtifactsAway` where an object store cannot be used:
    what is in it may well be whole.
    """
    try:
        return read_bytes(place)
    except OSError as error:
        if isinstance(place, str) and not isinstance(error, FileNotFoundError):
            raise ArtifactsAway(f"cannot read {what}{place}: {error.strerror}") from error
        raise Damaged(f"cannot read {what}{place}: {error.strerror}{advice}") from error


def _without_need(job: Job) -> set[tuple[int, int]]:
    """Members whose weights are stored or not needed: their index, and attempts so far."""
    superseded = job.phase is Phase.SUPERSEDED
    return {
        (member.index, member.attempt)
        for member in job.members
        if member.phase is Phase.SUCCEEDED or (superseded and member.phase is not Phase.RUNNING)
    }


def _folder(job: Job) -> str:
    return f"{job.cohort}/{job.team}/r{job.revision}-{job.uid[:8]}"
