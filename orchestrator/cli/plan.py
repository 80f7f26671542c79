"""`gamectl plan`: what a cohort would take, predicted before anything is submitted.

In: the paths that `gamectl submit` would be given. Out: a table of slot-minutes, finish times and
memory by team, with totals, or JSON; nothing is stored, decoded or sent anywhere (data behind a URI
is fetched into the cache). Next: `gamectl submit`.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.admit import data_problems
from orchestrator.admission.cohort import Cohort, Resources
from orchestrator.admission.combinations import LocatedProblem
from orchestrator.admission.files import LoadoutFile, Problem, Reading, located, read_paths
from orchestrator.admission.items.losses import WisdomExtractor
from orchestrator.cli.common import DataPlace, output_option
from orchestrator.cli.numbers import WholeNumber
from orchestrator.cli.paths import LocalPath
from orchestrator.errors import Refused
from orchestrator.forecasting.capacity import Machine, human_bytes, this_machine
from orchestrator.forecasting.forecast import AROUND_S
from orchestrator.forecasting.planning import CohortPlan, Misfit, plan_cohort
from orchestrator.forecasting.speeds import Speeds
from orchestrator.settings import Settings
from orchestrator.teaching.teacher_manifest import expected_teacher
from orchestrator.terminal.display import duration
from orchestrator.workflows.speeds import known_speeds
from orchestrator.workflows.standing import name_is_taken_here

MINUTE_S = 60

Refusal = tuple[LoadoutFile, tuple[Problem, ...]]
"""A file and all that is wrong with it."""


@click.command(
    "plan",
    epilog="""\b
    Example:
      gamectl plan loadouts/demo
      gamectl plan loadouts/demo --cpus 8 -o json""",
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=LocalPath())
@click.option(
    "--data",
    type=DataPlace(),
    help="Folder of training/CLASS/* and validation/CLASS/*, or its URI, instead of the cohort's.",
)
@click.option(
    "--cpus", type=WholeNumber(min=1), help="CPUs to plan for; those of this machine by default."
)
@output_option
@click.pass_context
def command(
    ctx: click.Context, paths: tuple[Path, ...], data: Where | None, cpus: int | None, output: str
) -> None:
    """Predict a cohort's slot-minutes, finish and memory; nothing is submitted.

    A PATH is what `gamectl submit` takes. The figures are for this machine and for all loadouts
    that would be admitted. Speeds come from members that were trained before; where there is none,
    a short benchmark measures this machine. The exit code is 1 if a loadout is refused or could
    never run, or the cohort's name is another class's.
    """
    from orchestrator.sources import size_of_data, source_of
    from orchestrator.terminal.progress_bars import progress

    settings = Settings()
    reading = read_paths(paths, other_data=data is not None)
    cohort = reading.cohort
    if any(Path(file.path) == reading.cohort_path and not file.ok for file in reading.files):
        _print_refused([(file, file.problems) for file in reading.files], console.print_note)
        raise Refused("the cohort's file is refused, so nothing can be planned; correct it")
    skip_broken = cohort.spec.data.skip_broken_images
    classes, num_images, fingerprint = size_of_data(
        source_of(reading, data), skip_broken, settings, progress
    )
    admitted, refused = _admitted(reading, classes)
    if settings.ray_address is None:  # of another cluster only its controller knows
        admitted, unsafe = _kept_apart(admitted, cohort)
        refused += [(misfit.file, _misfit_problems(misfit)) for misfit in unsafe]
    machine = this_machine(cpus, cohort.spec.resources)
    speeds = known_speeds(settings, cohort.spec.resources) if admitted else Speeds()
    own = cohort.spec.teacher
    teacher = expected_teacher(
        settings.teachers, own, reading.folder, cohort.spec.data, fingerprint
    )
    if not teacher.fits:
        makes = "`gamectl teacher train` makes it"
        advice = makes if own.file is None else f"the cohort's file names {own.file}"
        why = f"no teacher fits this data, and submit refuses a student without one: {advice}"
        students = [Misfit(file, why) for file in admitted if _is_student(file)]
        refused += [(misfit.file, _misfit_problems(misfit)) for misfit in students]
        admitted = [file for file in admitted if not _is_student(file)]
    taken = name_is_taken_here(reading, settings)
    if taken:
        console.print_note(f"submit refuses these files: {taken}")
    plan = plan_cohort(admitted, cohort, classes, num_images, machine, speeds, teacher.spec)
    refused += [(misfit.file, _misfit_problems(misfit)) for misfit in plan.misfits]
    if output == "json":
        console.print_json(_as_json(plan, refused, taken, machine, time.time()))
    else:
        _print_refused(refused, console.print_line)
        if plan.jobs:
            _print_plan(plan, machine, cohort.spec.resources, time.time())
            _note_deadlines(plan, cohort.spec.limits.active_deadline_seconds)
    if refused and plan.jobs:
        console.print_note(
            f"{len(refused)} refused: `gamectl submit` submits nothing until corrected, or with "
            "--skip-refused the others"
        )
    if settings.ray_address is not None:
        console.print_note(
            "these figures are for this machine; RAY_ADDRESS names a cluster, which may have more"
        )
    if reading.not_read:
        console.print_note(reading.not_read)
    if not reading.files or all(file.loadout is None and file.ok for file in reading.files):
        console.print_note("no loadout among these files, so there is nothing to plan")
    if reading.cohort_path is None and any(file.receipt for file in reading.files):
        console.print_note("planned under the default rules: no cohort.yaml beside it")
    ctx.exit(1 if refused or taken else 0)


def _is_student(file: LoadoutFile) -> bool:
    """Whether a team has bought a teacher to learn from."""
    bought = file.loadout.spec.purchases if file.loadout is not None else ()
    return any(isinstance(item, WisdomExtractor) for item in bought)


def _admitted(reading: Reading, classes: Sequence[str]) -> tuple[list[LoadoutFile], list[Refusal]]:
    """The loadouts that can be planned, and all other files with what is wrong with them."""
    admitted: list[LoadoutFile] = []
    refused: list[Refusal] = []
    for file in reading.files:
        problems = file.problems
        if file.ok and file.loadout is not None:
            problems = located(file, data_problems(file.loadout, classes))
            if not problems:
                admitted.append(file)
        if problems:
            refused.append((file, problems))
    return admitted, refused


def _kept_apart(
    files: Sequence[LoadoutFile], cohort: Cohort
) -> tuple[list[LoadoutFile], list[Misfit]]:
    """The loadouts that this machine can run, and those with code that it has no sandbox for."""
    from orchestrator.submission import no_sandbox

    with_code = [file for file in files if file.loadout is not None and file.loadout.code]
    reason = no_sandbox(cohort.spec.sandbox_rules) if with_code else None
    if reason is None:
        return list(files), []
    others = [file for file in files if file not in with_code]
    return others, [Misfit(file, reason) for file in with_code]


def _misfit_problems(misfit: Misfit) -> tuple[Problem, ...]:
    return located(misfit.file, [LocatedProblem(("spec",), "does-not-fit", misfit.reason)])


def _print_refused(refused: Sequence[Refusal], print_line: Callable[[str], None]) -> None:
    for _file, problems in sorted(refused, key=lambda refusal: refusal[0].path):
        for problem in problems:
            print_line(str(problem))


def _print_plan(plan: CohortPlan, machine: Machine, resources: Resources, now: float) -> None:
    console.print_table(
        ["team", "members", "slot-min", "finish (min)", "memory/slot"],
        [
            [
                job.team,
                len(job.members),
                _minutes(job.slot_seconds),
                _minutes(job.finish_s),
                human_bytes(job.memory_bytes),
            ]
            for job in plan.jobs
        ],
        right=["members", "slot-min", "finish (min)", "memory/slot"],
    )
    gpus = f" and {resources.gpus:g} GPU" if resources.gpus else ""
    ends_at = time.strftime("%H:%M", time.localtime(now + plan.finish_s + AROUND_S))
    scarce = "" if plan.memory_bytes <= machine.memory_bytes else "; too much: lower --cpus"
    several = resources.workers_per_member
    workers = f"{several} workers, each with " if several > 1 else ""
    console.print_line(f"slots: {plan.num_slots}, each with {workers}{resources.cpus:g} CPU{gpus}")
    console.print_line(
        f"cohort: {len(plan.jobs)} jobs, {plan.num_members} members, "
        f"{_minutes(plan.slot_seconds)} slot-minutes"
    )
    console.print_line(
        f"finish: after {duration(plan.finish_s + AROUND_S)}, at {ends_at} if begun now; "
        f"{AROUND_S:.0f} s of it for starting and ending"
    )
    console.print_line(
        f"memory: {human_bytes(plan.memory_bytes)} at the peak, of "
        f"{human_bytes(machine.memory_bytes)}{scarce}"
    )


def _note_deadlines(plan: CohortPlan, limit_s: float | None) -> None:
    """Says which jobs would be ended before they are done."""
    for job in plan.jobs:
        if limit_s is None or job.active_s <= limit_s:
            continue
        longest_s = max(member.seconds for member in job.members)
        what, seconds = (
            ("a member takes", longest_s)
            if longest_s > limit_s
            else (f"its {len(job.members)} members take turns for", job.active_s)
        )
        console.print_note(
            f"{job.team}: {what} about {_minutes(seconds)} min, and the cohort ends a job "
            f"{_minutes(limit_s)} min after its start (limits.activeDeadlineSeconds)"
        )


def _minutes(seconds: float) -> str:
    return f"{seconds / MINUTE_S:.1f}"


def _as_json(
    plan: CohortPlan, refused: Sequence[Refusal], taken: str | None, machine: Machine, now: float
) -> dict[str, Any]:
    """The plan for programs: minutes, bytes, and times in seconds since 1970."""
    return {
        "slots": plan.num_slots,
        "slot_minutes": plan.slot_seconds / MINUTE_S,
        "finish_minutes": plan.finish_s / MINUTE_S,
        "finish_at": now + plan.finish_s + AROUND_S,
        "memory_bytes": plan.memory_bytes,
        "machine": {
            "cpus": machine.cpus,
            "gpus": machine.gpus,
            "memory_bytes": machine.memory_bytes,
        },
        "jobs": [
            {
                "path": job.path,
                "team": job.team,
                "slot_minutes": job.slot_seconds / MINUTE_S,
                "finish_minutes": job.finish_s / MINUTE_S,
                "running_minutes": job.active_s / MINUTE_S,
                "memory_bytes": job.memory_bytes,
                "members": [
                    {
                        "index": member.index,
                        "kind": member.kind,
                        "slot_minutes": member.seconds / MINUTE_S,
                        "memory_bytes": member.memory_bytes,
                    }
                    for member in job.members
                ],
            }
            for job in plan.jobs
        ],
        # Of all files together; `refused` has what is wrong with each.
        "problems": [taken] if taken else [],
        "refused": [
            {
                "path": file.path,
                "team": file.team,
                "problems": [
                    {
                        "line": problem.line,
                        "column": problem.column,
                        "code": problem.code,
                        "message": problem.message,
                    }
                    for problem in problems
                ],
            }
            for file, problems in refused
        ],
    }
