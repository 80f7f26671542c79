"""From files and data to jobs in the store: everything that happens once, before the first slot.

In: what `files` read and where the data lies. Out: decoded images, and the cohort with its jobs in
the store, in one transaction. Next on the path: `controller`.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.drawn_monkeys import ensure_drawn
from jobs.images import DecodedFolder, ImageFolder, LabelledImages, decode
from jobs.plan import MemberPlan
from orchestrator.admission import data_problems
from orchestrator.cohort import Cohort
from orchestrator.errors import Refused
from orchestrator.files import LoadoutFile, Reading, located
from orchestrator.member_plans import combine_of, member_plan, member_plans
from orchestrator.schedule import expected_work
from orchestrator.settings import Settings
from orchestrator.state import DataRecord
from orchestrator.store import Ledger, NewJob, Submitted

if TYPE_CHECKING:
    from orchestrator.teachers import Teacher

DRAWN = "drawn"

ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""From a label to a block in which (done, total) is shown."""


@contextmanager
def silent(_label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that shows nothing."""
    yield lambda _done, _total: None


@dataclass(frozen=True)
class Prepared:
    """A cohort that is ready to be stored."""

    cohort: Cohort
    data: DataRecord
    decoded: DecodedFolder
    sizes_px: tuple[int, ...]
    jobs: tuple[NewJob, ...]
    teacher: "Teacher | None"
    """What students of this submission learn from; None where nobody distils."""


def data_root(source: str, settings: Settings, progress: ProgressBar = silent) -> Path:
    """The folder of a data source; the embedded set is drawn where it is not there yet."""
    if source == DRAWN:
        with progress("drawing the monkeys") as show:
            return ensure_drawn(settings.data, progress=show)
    return Path(source).expanduser()


def source_of(reading: Reading, override: Path | None) -> str:
    """Where a cohort's data lies: `drawn` or an absolute path."""
    if override is not None:
        return str(override.expanduser().absolute())
    source = reading.cohort.spec.data.source
    if source == DRAWN:
        return source
    return str((reading.folder / Path(source).expanduser()).absolute())


def decode_source(
    source: str,
    sizes_px: Sequence[int],
    skip_broken: bool,
    settings: Settings,
    progress: ProgressBar = silent,
) -> DecodedFolder:
    """A source's images, decoded at these sizes; raises `jobs.errors.DataError` if it can't be."""
    root = data_root(source, settings, progress)
    with progress("decoding the images") as show:
        return decode(root, sizes_px, settings.image_cache, skip_broken, show)


def prepare(
    reading: Reading, source: str, settings: Settings, progress: ProgressBar = silent
) -> Prepared:
    """Decodes the data at every size that is asked for, and resolves the members' plans.

    Raises `jobs.errors.DataError` where the data can't be used, and `Refused` where a loadout does
    not fit it, or a teacher is wanted and there is none that fits.
    """
    cohort = reading.cohort
    admitted = [file for file in reading.files if file.ok and file.loadout is not None]
    sizes_px = sorted({_size_px(file, cohort) for file in admitted})
    skip_broken = cohort.spec.data.skip_broken_images
    decoded = decode_source(source, sizes_px, skip_broken, settings, progress)
    folder = decoded.folder
    _check_fit(admitted, folder.classes)
    plans = [_plans(file, cohort, folder) for file in admitted]
    teacher = _teacher([plan for job in plans for plan in job], reading, settings)
    return Prepared(
        cohort=cohort,
        data=DataRecord(source, folder.fingerprint, folder.test_fingerprint, folder.classes),
        decoded=decoded,
        sizes_px=tuple(sizes_px),
        jobs=tuple(
            _new_job(file, _taught(job, teacher), len(folder.training))
            for file, job in zip(admitted, plans, strict=True)
        ),
        teacher=teacher,
    )


def submit(prepared: Prepared, ledger: Ledger, at: float) -> list[Submitted]:
    """Writes the cohort and its jobs, all or nothing; says what that meant for each team."""
    spec = prepared.cohort.model_dump(mode="json", by_alias=True)
    return ledger.submit(spec, prepared.data, prepared.jobs, at)


def training_images(
    prepared: Prepared, sizes_px: Collection[int], settings: Settings
) -> dict[int, LabelledImages]:
    """The training images by size in pixels; decodes the sizes that are not there yet."""
    decoded = prepared.decoded
    if not set(sizes_px) <= set(prepared.sizes_px):
        skip_broken = prepared.cohort.spec.data.skip_broken_images
        decoded = decode_source(prepared.data.source, sorted(sizes_px), skip_broken, settings)
    return {size_px: decoded.training(size_px) for size_px in sizes_px}


def _size_px(file: LoadoutFile, cohort: Cohort) -> int:
    """The image size of a job, which does not depend on the data: that is not decoded yet."""
    assert file.loadout is not None
    return member_plan(file.loadout, cohort, 0).data.image_size_px


def _check_fit(admitted: Sequence[LoadoutFile], classes: Sequence[str]) -> None:
    """Refuses loadouts that name what the data does not have."""
    lines: list[str] = []
    for file in admitted:
        assert file.loadout is not None
        lines += map(str, located(file, data_problems(file.loadout, classes)))
    if lines:
        raise Refused("\n".join(["loadouts do not fit the data:", *lines]))


def _plans(file: LoadoutFile, cohort: Cohort, folder: ImageFolder) -> tuple[MemberPlan, ...]:
    assert file.loadout is not None
    return member_plans(file.loadout, cohort, folder.classes, folder.fingerprint)


def _teacher(plans: Sequence[MemberPlan], reading: Reading, settings: Settings) -> "Teacher | None":
    student = next((plan for plan in plans if plan.distill is not None), None)
    if student is None:
        return None

    from orchestrator.teachers import find_teacher  # torchvision, which only distillation needs

    own = reading.cohort.spec.teacher
    return find_teacher(settings.teachers, own, reading.folder, student.data)


def _taught(plans: Sequence[MemberPlan], teacher: "Teacher | None") -> tuple[MemberPlan, ...]:
    """The plans of a job, with the teacher in those that distil."""
    if teacher is None:
        return tuple(plans)
    return tuple(
        plan.model_copy(
            update={"distill": plan.distill.model_copy(update={"teacher": teacher.spec})}
        )
        if plan.distill is not None
        else plan
        for plan in plans
    )


def _new_job(file: LoadoutFile, plans: tuple[MemberPlan, ...], num_training_images: int) -> NewJob:
    assert file.loadout is not None
    assert file.receipt is not None
    return NewJob(
        team=file.loadout.team,
        loadout=file.text,
        receipt=file.receipt.to_dict(),
        combine=combine_of(file.loadout),
        plans=plans,
        work=tuple(expected_work(plan, num_training_images) for plan in plans),
    )
