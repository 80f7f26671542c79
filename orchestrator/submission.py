"""From files and data to jobs in the store: everything that happens once, before the first slot.

In: what `files` read and where the data lies. Out: decoded images, and the cohort with its jobs in
the store, in one transaction. Next on the path: `controller`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.image_folder import ImageFolder
from jobs.images import DecodedFolder
from jobs.places import Where, check_writable, is_there
from jobs.plan import DataPlan, MemberPlan, SandboxRules
from jobs.split import split_images
from orchestrator.admission.admit import data_problems
from orchestrator.admission.cohort import HERE, Cohort
from orchestrator.admission.files import LoadoutFile, Reading, located
from orchestrator.admission.member_plans import (
    combine_of,
    member_plan,
    member_plans,
    min_members_of,
)
from orchestrator.errors import NoTeacher, TeamsRefused
from orchestrator.forecasting.capacity import Machine, fits
from orchestrator.forecasting.costs import kind, work
from orchestrator.settings import Settings
from orchestrator.sources import ProgressBar, decode_source, silent
from orchestrator.state import DataRecord
from orchestrator.store import CheckStanding, NewJob, Store, Submitted

if TYPE_CHECKING:
    from orchestrator.teaching.teachers import Teacher


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
    side: bool = False
    """As in `CohortRecord`."""


def prepare(
    reading: Reading,
    source: str,
    settings: Settings,
    progress: ProgressBar = silent,
    with_test: bool = True,
) -> Prepared:
    """Decodes the data at every size that is asked for, and resolves the members' plans.

    Without `with_test` no test image is read, for what will not be scored.

    Raises `jobs.errors.DataError` where the data can't be used, and `TeamsRefused` where loadouts
    do not fit it, or want a teacher and there is none that fits. Where artifacts can't be kept at
    the place that GAME_ARTIFACTS names, it raises `OSError`, which says so.
    """
    cohort, place = reading.cohort, settings.artifacts
    # A folder of a cluster elsewhere need not be here.
    if cohort.spec.cluster == HERE or not isinstance(place, Path) or is_there(place):
        _check_artifacts(place, settings)  # before hours of training, not after
    admitted = [file for file in reading.files if file.ok and file.loadout is not None]
    sizes_px = sorted({_size_px(file, cohort) for file in admitted})
    skip_broken = cohort.spec.data.skip_broken_images
    decoded = decode_source(source, sizes_px, skip_broken, settings, progress, with_test)
    folder = decoded.folder
    _check_fit(admitted, folder.classes)
    plans = [_plans(file, cohort, folder) for file in admitted]
    _check_split(decoded, [plan.data for job in plans for plan in job])
    students = {
        str(file.team): plan
        for file, job in zip(admitted, plans, strict=True)
        for plan in job
        if plan.distill is not None
    }
    teacher = _teacher(students, reading, settings)
    return Prepared(
        cohort=cohort,
        data=DataRecord(source, folder.fingerprint, folder.test_fingerprint, folder.classes),
        decoded=decoded,
        sizes_px=tuple(sizes_px),
        jobs=tuple(
            _new_job(file, taught(job, teacher), len(folder.training))
            for file, job in zip(admitted, plans, strict=True)
        ),
        teacher=teacher,
        side=reading.side,
    )


def misfits(prepared: Prepared, machine: Machine) -> dict[str, str]:
    """Why jobs can never run on this machine, by team."""
    spec, num_images = prepared.cohort.spec, len(prepared.decoded.folder.training)
    rules, reasons = spec.sandbox_rules, dict[str, str]()
    for job in prepared.jobs:
        for plan in job.plans:
            reason = fits(plan, num_images, spec.resources, machine, rules)
            if reason is None and plan.custom is not None:
                reason = no_sandbox(rules)
            if reason is not None:
                reasons.setdefault(job.team, reason)
    return reasons


def no_sandbox(rules: SandboxRules) -> str | None:
    """Why teams' own code cannot be kept apart on this machine, and what to do; None if it can."""
    from jobs.custom.sandbox import unavailable  # tries to make one, where there is code for it

    return unavailable(rules)


def _check_artifacts(place: Where, settings: Settings) -> None:
    try:
        check_writable(place)
    except OSError as error:
        if settings.artifacts_uri is None:
            said = f"{error.strerror or error} in GAME_HOME"  # "name another folder"
        else:
            said = f"GAME_ARTIFACTS is {settings.artifacts_uri}: {error.strerror or error}"
        raise OSError(error.errno, said) from error


def submit(
    prepared: Prepared,
    store: Store,
    settings: Settings,
    at: float,
    progress: ProgressBar = silent,
    check: CheckStanding | None = None,
) -> list[Submitted]:
    """Writes the cohort and its jobs, all or nothing; says what that meant for each team.

    Raises `TeamsRefused` where some have no submissions left, `Refused` where teams would stay on
    other data, and what `check` raises.
    """
    if prepared.teacher is not None:  # before a plan in the store names it
        keep_teacher(prepared, settings, progress)
    spec = prepared.cohort.model_dump(mode="json", by_alias=True)
    limit = prepared.cohort.spec.limits.submissions_per_team
    name, side = prepared.cohort.name, prepared.side
    return store.submit(name, spec, prepared.data, prepared.jobs, at, limit, side, check)


def keep_teacher(prepared: Prepared, settings: Settings, progress: ProgressBar = silent) -> None:
    """Keeps the teacher for as long as the jobs, and what it says to all of them alike.

    Its answers are cached here, so that the controller need not stop and wait for them.
    """
    from orchestrator.teaching.teachings import TeacherWeights, teachings

    assert prepared.teacher is not None
    weights = TeacherWeights(settings.artifacts)
    weights.keep(prepared.teacher.spec, prepared.teacher.weights)
    plans = [plan for job in prepared.jobs for plan in job.plans if plan.distill is not None]
    images = {size_px: prepared.decoded.training(size_px) for size_px in prepared.sizes_px}
    teachings(plans, images, weights, settings.teacher_logits, progress)


def _size_px(file: LoadoutFile, cohort: Cohort) -> int:
    """The image size of a job, which does not depend on the data: that is not decoded yet."""
    assert file.loadout is not None
    return member_plan(file.loadout, cohort, 0).data.image_size_px


def _check_fit(admitted: Sequence[LoadoutFile], classes: Sequence[str]) -> None:
    """Refuses loadouts that name what the data does not have."""
    reasons: dict[str, str] = {}
    for file in admitted:
        assert file.loadout is not None
        if problems := located(file, data_problems(file.loadout, classes)):
            reasons[file.loadout.team] = "\n".join(map(str, problems))
    if reasons:
        head = "loadouts do not fit the data, so nothing was submitted; correct them:"
        raise TeamsRefused("\n".join([head, *reasons.values()]), reasons)


def _check_split(decoded: DecodedFolder, plans: Sequence[DataPlan]) -> None:
    """Divides the images as members will: what is wrong with them is no team's fault.

    Raises `jobs.errors.DataError` where a class would have no image on one side.
    """
    for plan in dict.fromkeys(plans):
        images = decoded.training(plan.image_size_px)
        split_images(images.labels, images.groups, plan)


def _plans(file: LoadoutFile, cohort: Cohort, folder: ImageFolder) -> tuple[MemberPlan, ...]:
    assert file.loadout is not None
    return member_plans(file.loadout, cohort, folder.classes, folder.fingerprint)


def _teacher(
    students: Mapping[str, MemberPlan], reading: Reading, settings: Settings
) -> "Teacher | None":
    """The teacher of students, given by team; None where there are none of them."""
    if not students:
        return None

    from orchestrator.teaching.teachers import (
        find_teacher,  # torchvision, which only distillation needs
    )

    own, data = reading.cohort.spec.teacher, next(iter(students.values())).data
    try:
        return find_teacher(settings.teachers, own, reading.folder, data)
    except NoTeacher as error:
        left_out = "it has bought wisdom-extractor, and no teacher fits the data"
        reasons = {team: f"{team}: {left_out}" for team in students}
        raise NoTeacher(str(error), reasons) from error


def taught(plans: Sequence[MemberPlan], teacher: "Teacher | None") -> tuple[MemberPlan, ...]:
    """Plans with the teacher in those that distil."""
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
        min_members=min_members_of(file.loadout),
        plans=plans,
        work=tuple(work(plan, num_training_images) for plan in plans),
        kinds=tuple(kind(plan) for plan in plans),
    )
