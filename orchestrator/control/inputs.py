"""What members train on, fetched when the first of them needs it: images, and their teachers.

In: a cohort in the store, and plans. Out: decoded images and teachings; they come from the caches
that `gamectl submit` filled, and are made again where those are gone. Loadouts may be handed in
while the cohort runs, with images of other sizes and with other teachers, so nothing is fetched
beforehand; as it may take a minute, a thread fetches while the controller goes on with everything
else. Next on the path: `slots`, and `truth` for what is known of validation images.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any

from jobs.errors import JobsError, Stopped
from jobs.fetching import without_query
from jobs.images import LabelledImages
from jobs.plan import DataPlan, MemberPlan
from jobs.values import Teaching
from orchestrator.admission.cohort import Cohort
from orchestrator.cluster.faults import seen
from orchestrator.errors import Damaged, GameError, InputsFailed, StoreUnavailable, first_line
from orchestrator.settings import Settings
from orchestrator.sources import ProgressBar, decode_source, silent
from orchestrator.store import Store
from orchestrator.teaching.teachings import TeacherWeights, TeachingKey, teaching_key, teachings

LEAVE_AFTER_S = 3.0
"""So long whoever closes it waits for what is being fetched: a file system may not answer."""
IMAGES_AGAIN_S, TEACHER_AGAIN_S = 30.0, 2.0
"""So long what could not be read is not looked for again: every member of a cohort asks. A teacher
is one file, and where artifacts are away for a moment no more attempts are to fail than must."""

ImagesKey = tuple[str, int]
"""A fingerprint, and the images' side in pixels."""


@dataclass
class _Fetch:
    again_s: float
    """After a failure."""
    result: Future[Any] = field(default_factory=Future)
    failed_at: float = 0.0

    def get(self) -> Any:
        """The result once it is there; raises what fetching raised."""
        if (error := self.result.exception()) is not None:
            raise error.with_traceback(None)  # which would grow with every member that asks
        return self.result.result()


class Inputs:
    """The inputs of one cohort's members, fetched by a thread.

    Ask from one thread only. Close it where no more is needed: what is being fetched then ends.
    """

    def __init__(
        self,
        cohort: str,
        store: Store,
        settings: Settings,
        progress: ProgressBar = silent,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cohort = cohort
        self._store = store
        self._settings = settings
        self._progress = progress
        self._clock = clock
        self._fetches: dict[ImagesKey | TeachingKey, _Fetch] = {}
        self._closed = threading.Event()
        # One after another: a teacher is asked about images that were fetched before. A daemon,
        # because what does not answer must not keep a process that is to end.
        self._todo: SimpleQueue[tuple[_Fetch, Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="inputs", daemon=True)
        self._thread.start()

    def fetched(self, plan: MemberPlan) -> bool:
        """Whether what the plan needs is here, or cannot be had; if not, it is being fetched.

        What could not be had is fetched again after a while.
        """
        fetches = [self._fetch_images(plan.data)]
        if plan.distill is not None:
            fetches.append(self._fetch_teaching(plan))
        return all(fetch.result.done() for fetch in fetches)

    def images(self, plan: DataPlan) -> LabelledImages:
        """The training images that a plan names; waits for them where they are not fetched yet.

        Raises `jobs.errors.DataError` where they can't be read, and `Damaged` where they are no
        longer those that the cohort was submitted with, or `InputsFailed`.
        """
        images: LabelledImages = self._fetch_images(plan).get()
        return images

    def teaching(self, plan: MemberPlan) -> Teaching | None:
        """What a member is given of its teacher, or None where it has none; waits like `images`.

        Raises `Damaged` where the teacher's weights are gone or changed, and `InputsFailed` where
        it cannot be asked.
        """
        if plan.distill is None:
            return None
        teaching: Teaching = self._fetch_teaching(plan).get()
        return teaching

    def close(self) -> None:
        """Ends what is being fetched, and fetches nothing more."""
        self._closed.set()
        self._todo.put(None)
        self._thread.join(LEAVE_AFTER_S)

    def _fetch_images(self, plan: DataPlan) -> _Fetch:
        return self._fetch(_images_key(plan), partial(self._decode, plan), IMAGES_AGAIN_S)

    def _fetch_teaching(self, plan: MemberPlan) -> _Fetch:
        key = teaching_key(plan)
        assert key is not None, "it has a teacher"
        images = self._fetch_images(plan.data)  # before: what the teacher is asked about
        return self._fetch(key, partial(self._ask_teacher, plan, key, images), TEACHER_AGAIN_S)

    def _fetch(
        self, key: ImagesKey | TeachingKey, work: Callable[[], Any], again_s: float
    ) -> _Fetch:
        known = self._fetches.get(key)
        if known is None or self._is_worth_another_try(known):
            known = self._fetches[key] = _Fetch(again_s)
            self._todo.put((known, work))
        return known

    def _is_worth_another_try(self, fetch: _Fetch) -> bool:
        if not fetch.result.done() or (error := fetch.result.exception()) is None:
            return False
        is_old = self._clock() >= fetch.failed_at + fetch.again_s
        return is_old or isinstance(error, StoreUnavailable)  # of which the controller tells

    # --- in the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        while (asked := self._todo.get()) is not None:
            fetch, work = asked
            try:
                self._check_wanted()
                found = work()
            except BaseException as error:
                fetch.failed_at = self._clock()
                fetch.result.set_exception(_in_words(error))
            else:
                fetch.result.set_result(found)

    def _decode(self, plan: DataPlan) -> LabelledImages:
        record = self._store.cohort(self._cohort)
        rules = Cohort.stored(record.spec)
        source, size_px = record.data.source, plan.image_size_px
        skip_broken = rules.spec.data.skip_broken_images
        decoded = decode_source(
            source, [size_px], skip_broken, self._settings, self._shown, with_test=False
        )
        if decoded.folder.fingerprint != plan.fingerprint:
            raise Damaged(
                f"the training images in {without_query(source)} are not those that cohort "
                f"{self._cohort!r} was submitted with; put them back, or submit the cohort again"
            )
        return decoded.training(size_px)

    def _ask_teacher(self, plan: MemberPlan, key: TeachingKey, images: _Fetch) -> Teaching:
        of_size = {plan.data.image_size_px: images.get()}
        weights, cache = TeacherWeights(self._settings.artifacts), self._settings.teacher_logits
        return teachings([plan], of_size, weights, cache, self._shown)[key]

    @contextmanager
    def _shown(self, label: str) -> Iterator[Callable[[int, int], None]]:
        with self._progress(label) as show:

            def unless_closed(done: int, total: int) -> None:
                self._check_wanted()
                show(done, total)

            yield unless_closed

    def _check_wanted(self) -> None:
        if self._closed.is_set():
            raise Stopped("no more images are needed")


def _in_words(error: BaseException) -> BaseException:
    """What whoever asks is told: of any other error a controller would end, and its next one."""
    if not isinstance(error, Exception) or isinstance(error, OSError | JobsError | GameError):
        return error
    what = seen("training", error)
    return InputsFailed(
        "the images or the teacher could not be had: "
        f"{what.kind}: {first_line(error)} ({what.line})"
    )


def _images_key(plan: DataPlan) -> ImagesKey:
    return plan.fingerprint, plan.image_size_px
