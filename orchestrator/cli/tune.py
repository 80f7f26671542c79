"""`gamectl tune`: a search for better settings of a loadout, on its validation images.

In: one loadout and its cohort's rules. Out: the best settings as YAML to be pasted, a table of the
best trials, and a picture of the search; the trials are in MLflow, in an experiment of their own.
No test image is read. `search.run` does the work.
"""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.places import Where
from orchestrator import console
from orchestrator.admission.cohort import HERE
from orchestrator.admission.files import LoadoutFile, Reading
from orchestrator.cli.common import (
    check_places,
    cohort_file_option,
    cpus_option,
    data_option,
    ending_in,
    form_option,
    picture_option,
    read_loadout,
    write_result,
)
from orchestrator.cli.numbers import PositiveNumber, WholeNumber
from orchestrator.cli.paths import LocalPath
from orchestrator.control.place import check_cpus
from orchestrator.errors import INTERRUPTED, GameError, Refused
from orchestrator.opening import make_home
from orchestrator.settings import Settings
from orchestrator.terminal.display import duration

if TYPE_CHECKING:
    from jobs.plan import MemberPlan
    from orchestrator.search.candidates import Candidate
    from orchestrator.search.run import Done
    from orchestrator.search.space import Knob
    from orchestrator.search.trials import Search
    from orchestrator.submission import Prepared


@click.command(
    "tune",
    epilog="""\b
    Example:
      gamectl tune loadouts/demo/dizzy-macaques.yaml
      gamectl tune my-loadout.yaml --trials 50 --minutes 15 -o better.yaml
      gamectl tune my-loadout.yaml --keep epochs --keep batchSize""",
)
@click.argument("loadout", metavar="LOADOUT", type=LocalPath(dir_okay=False))
@click.option(
    "--trials",
    default=20,
    show_default=True,
    type=WholeNumber(2, 1000),
    help="Settings to try, the loadout's own among them.",
)
@click.option(
    "--minutes",
    type=PositiveNumber(0, 10_000, min_open=True),
    help="End after so long, with the best until then.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=WholeNumber(0, 2**53 - 1),
    help="Another one draws other settings to try; networks keep the loadout's seed.",
)
@click.option(
    "--member",
    type=WholeNumber(min=0),
    help="Which network of an ensemble, counted from 0; the first by default.",
)
@click.option(
    "--keep", multiple=True, metavar="SETTING", help="Leave this setting as it is; repeatable."
)
@click.option(
    "-o",
    "file",
    metavar="FILE.yaml",
    type=LocalPath(dir_okay=False),
    callback=ending_in(".yaml", ".yml", hint="; --output json is for programs"),
    help="Write the loadout with the best settings there.",
)
@picture_option("TEAM-tuning.png")
@cohort_file_option
@data_option
@cpus_option
@form_option
def command(
    loadout: Path,
    trials: int,
    minutes: float | None,
    seed: int,
    member: int | None,
    keep: tuple[str, ...],
    file: Path | None,
    picture: Path | None,
    cohort_file: Path | None,
    data: Where | None,
    cpus: int | None,
    output: str,
) -> None:
    """Search for better settings of a loadout.

    Ray Tune tries other values of what is free (learning rate, batch size, epochs within the
    limits) and of what bought items leave open, such as a dropout rate; what is bought, and the
    seed, stay. Networks train as members do and are judged by the validation images; weak ones are
    stopped early (ASHA). The same call begins anew, and tries the same settings in the same order.
    Ctrl-C ends it with the best until then.
    """
    settings = Settings()
    reading, read = read_loadout(loadout, cohort_file, data is not None, "nothing was tried")
    check_cpus(cpus, settings)
    _check(reading, read, member, file)
    picture = picture or Path(f"{read.team}-tuning.png")
    check_places(picture, file)

    # Imported here: wrong usage needs none of them.
    from orchestrator.search.candidates import candidates, patch
    from orchestrator.search.space import knobs_of

    assert read.loadout is not None
    index = member or 0
    knobs = knobs_of(read.loadout, reading.cohort, index, keep)
    tried = candidates(read, reading.cohort, knobs, index, trials, seed)
    with ExitStack() as ending:
        done = _search(reading, read, knobs, tried, index, minutes, data, cpus, settings, ending)
        best = done.found.ranked[0] if done.found.ranked else None
        better = None if best is None or best.number == 0 else patch(best.candidate, tried[0])
        # All is kept before it is printed: whoever was to read it may have gone meanwhile.
        if file is not None and best is not None:
            write_result(file, best.candidate.file.text.encode())
        warning = _keep(done, better, picture)
        if output == "json":
            console.print_json(done.found.to_dict(better))
        else:
            _print(done.found, better, loadout)
        if file is not None and best is not None:
            whose = "the best settings" if better is not None else "its own settings, as before"
            console.print_note(f"loadout with {whose}: {file}")
        elif file is not None:
            console.print_note(f"{file} was not written: no trial came to its last epoch")
        console.print_note("\n".join([*warning, f"picture: {picture}"]))
    if not done.whole:
        raise SystemExit(INTERRUPTED)


def _check(reading: Reading, file: LoadoutFile, member: int | None, output: Path | None) -> None:
    """Raises `Refused` for what can't be tuned, or not be written as another loadout."""
    assert file.loadout is not None
    several = reading.cohort.spec.resources.workers_per_member
    if several > 1:
        raise Refused(
            f"cohort {reading.cohort.name} trains every member with {several} workers, and a trial "
            "is one process: tune under a cohort file with workersPerMember: 1"
        )
    if member is not None and member >= file.loadout.num_members:
        of = "1 network" if file.loadout.num_members == 1 else f"{file.loadout.num_members}"
        raise Refused(f"--member {member}: the loadout has {of}, counted from 0")
    if output and output.resolve() == Path(file.path).resolve():
        raise Refused(f"-o {output} is the loadout that is read, whose comments would be lost")
    code = file.loadout.code
    if code and output and output.parent.resolve() != Path(file.path).parent.resolve():
        raise Refused(f"{output} would not find {code.file}; name a file beside that one with -o")
    cluster = reading.cohort.spec.cluster
    if cluster != HERE:
        console.print_note(f"the search runs here, and not on the cohort's cluster, {cluster}")


def _search(
    reading: Reading,
    file: LoadoutFile,
    knobs: "tuple[Knob, ...]",
    tried: "list[Candidate]",
    member: int,
    minutes: float | None,
    data: Where | None,
    cpus: int | None,
    settings: Settings,
    ending: ExitStack,
) -> "Done":
    """Runs the search, and keeps its trials in MLflow as they end; `ending` ends its run there."""
    from orchestrator import submission
    from orchestrator.control.attend import interruptible
    from orchestrator.search import run as searching
    from orchestrator.sources import source_of
    from orchestrator.terminal.progress_bars import progress

    make_home(settings)
    with interruptible(lambda: "stopped before anything was tried"):
        source = source_of(reading, data)
        alone = replace(reading, files=(file,))
        prepared = submission.prepare(alone, source, settings, progress, with_test=False)
        plans = searching.plans_of(tried, member, reading.cohort, prepared)
        _forecast(plans, prepared, minutes, cpus, settings)
        log = None
        try:
            log = ending.enter_context(searching.open_log(prepared, settings))
        except GameError as error:
            console.print_note(f"warning: {error}; the trials are not kept in MLflow")
        time_s = None if minutes is None else 60 * minutes
        done = searching.search(
            knobs, tried, plans, member, prepared, settings, cpus, time_s, log, progress
        )
    if done.log_error is not None:
        console.print_note(f"warning: {done.log_error}; MLflow does not have all trials")
    return done


def _forecast(
    plans: "list[MemberPlan]",
    prepared: "Prepared",
    minutes: float | None,
    cpus: int | None,
    settings: Settings,
) -> None:
    """Says how long it may take at most; raises `Refused` where a trial can never run."""
    from orchestrator.forecasting.capacity import num_slots, this_machine
    from orchestrator.forecasting.forecast import AROUND_S
    from orchestrator.search.run import longest_s
    from orchestrator.submission import misfits
    from orchestrator.workflows.speeds import known_speeds

    resources = prepared.cohort.spec.resources
    if settings.ray_address is not None:
        return
    machine = this_machine(cpus, resources)
    for reason in misfits(prepared, machine).values():
        raise Refused(f"{reason}; nothing was tried")
    slots = min(num_slots(resources, machine), len(plans))
    at_most_s = AROUND_S + longest_s(plans, prepared, slots, known_speeds(settings, resources))
    longest = f"about {duration(at_most_s)}"
    if minutes is not None and 60 * minutes < at_most_s:
        longest = f"the {duration(60 * minutes)} asked for"
    console.print_note(
        f"{len(plans)} trials on {slots} {'slot' if slots == 1 else 'slots'}: at most {longest}, "
        "less where weak ones are stopped early; Ctrl-C ends with the best until then"
    )


def _print(found: "Search", better: str | None, loadout: Path) -> None:
    from orchestrator.search import table as written

    columns, rows = written.table(found)
    console.print_table(columns, rows, right=columns[1:])
    if better is not None:
        console.print_text(f"\n# in place of the spec of {loadout.name}\n{better}")
    console.print_note(console.filled(written.summary(found)))
    if not found.ranked and found.outcomes and all(each.fault for each in found.outcomes):
        console.print_note("every trial failed, so there are no settings to tell")
    elif not found.ranked:
        console.print_note("no trial came to its last epoch: give it more time")
    elif better is None:
        console.print_note("no trial did better: the loadout's own settings stay")
    if found.experiment is not None:
        console.print_note(f"MLflow's experiment: {found.experiment}")


def _keep(done: "Done", better: str | None, file: Path) -> list[str]:
    """Writes the picture, and puts what the search came to into its run in MLflow.

    Returns what there is to say of that.
    """
    from orchestrator.search.picture import picture  # matplotlib takes a second
    from orchestrator.search.table import figures, note

    drawn = picture(done.found)
    write_result(file, drawn)
    if done.log is not None:
        files = {"search.png": drawn} | ({} if better is None else {"best.yaml": better.encode()})
        try:
            done.log.end(files, figures(done.found), note(done.found, better), not done.whole)
        except GameError as error:
            return [f"warning: {error}; the picture is not in MLflow"]
    return []
