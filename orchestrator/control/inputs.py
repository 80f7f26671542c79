"""What members train on, fetched when the first of them needs it: images, and their teachers.

In: a cohort in the store, and plans. Out: decoded images and teachings; they come from the caches
that `gamectl submit` filled, and are made again where those are gone. Loadouts may be handed in
while the cohort runs, with images of other sizes and with other teachers, so nothing is fetched
beforehand. Next on the path: `slots`, and `truth` for what is known of validation images.
"""

import time
from collections.abc import Callable

from jobs.errors import JobsError
from jobs.images import LabelledImages
from jobs.plan import DataPlan, MemberPlan
from jobs.values import Teaching
from orchestrator.admission.cohort import Cohort
from orchestrator.errors import Damaged
from orchestrator.settings import Settings
from orchestrator.sources import ProgressBar, decode_source, silent
from orchestrator.store import Store
from orchestrator.teaching.teachings import TeacherWeights, TeachingKey, teaching_key, teachings

LOOK_AGAIN_S = 30.0
"""So long images that could not be read are not looked for again: every member of a cohort asks."""


class Inputs:
    """The inputs of one cohort's members. Not shared between threads."""

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
        self._failures: dict[tuple[str, int], tuple[float, Exception]] = {}
        """Why images could not be read, and when that was."""
        self._images: dict[tuple[str, int], LabelledImages] = {}
        self._teachings: dict[TeachingKey, Teaching] = {}

    def images(self, plan: DataPlan) -> LabelledImages:
        """The training images that a plan names.

        Raises `jobs.errors.DataError` where they can't be read, and `Damaged` where they are no
        longer those that the cohort was submitted with.
        """
        key = (plan.fingerprint, plan.image_size_px)
        if key not in self._images:
            failed_at, failure = self._failures.get(key, (float("-inf"), None))
            if failure is not None and self._clock() < failed_at + LOOK_AGAIN_S:
                raise failure.with_traceback(None)
            try:
                self._images[key] = self._decoded(plan)
            except (Damaged, JobsError, OSError) as error:
                self._failures[key] = self._clock(), error
                raise
        return self._images[key]

    def teaching(self, plan: MemberPlan) -> Teaching | None:
        """What a member is given of its teacher, or None where it has none.

        Raises `Damaged` where the teacher's weights are gone or changed.
        """
        key = teaching_key(plan)
        if key is None:
            return None
        if key not in self._teachings:
            self._teachings |= teachings(
                [plan],
                {plan.data.image_size_px: self.images(plan.data)},
                TeacherWeights(self._settings.artifacts),
                self._settings.teacher_logits,
                self._progress,
            )
        return self._teachings[key]

    def _decoded(self, plan: DataPlan) -> LabelledImages:
        record = self._store.cohort(self._cohort)
        rules = Cohort.stored(record.spec)
        source, size_px = record.data.source, plan.image_size_px
        skip_broken = rules.spec.data.skip_broken_images
        decoded = decode_source(
            source, [size_px], skip_broken, self._settings, self._progress, with_test=False
        )
        if decoded.folder.fingerprint != plan.fingerprint:
            raise Damaged(
                f"the training images in {source} are not those that cohort {self._cohort!r} was "
                "submitted with; put them back, or submit the cohort again"
            )
        return decoded.training(size_px)
