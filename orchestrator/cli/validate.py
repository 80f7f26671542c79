"""`gamectl validate`: check files and folders, and report every problem of every file.

In: paths; out: a line for each good file and for each problem, or JSON. Next: `gamectl submit`,
which reads the same files in the same way.
"""

from collections.abc import Sequence
from pathlib import Path

import click

from orchestrator import console
from orchestrator.admission.draft import SUFFIXES
from orchestrator.admission.files import LoadoutFile, Problem, Reading, folder_warnings, read_paths
from orchestrator.cli.paths import LocalPath


@click.command(
    "validate",
    epilog="""\b
    Example:
      gamectl validate loadouts/demo
      gamectl validate my-loadout.yaml -o json""",
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=LocalPath())
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@click.pass_context
def command(ctx: click.Context, paths: tuple[Path, ...], output: str) -> None:
    """Check loadouts and cohorts, and report every problem of every file.

    Limits, prices and combinations come last: once every value can be read.

    A PATH is a file, or a folder of YAML files. A problem is printed as `file:line:column  code
    message`. The exit code is 0 if all is well and 1 if there is a problem.
    """
    reading = read_paths(paths)
    warnings = folder_warnings(reading)
    if output == "json":
        files = [_as_json(file) for file in reading.files]
        told = [_problem(warning) for warning in warnings]
        not_read = list(reading.skipped)
        console.print_json({"files": files, "not_read": not_read, "warnings": told})
    else:
        _print_files(reading)
    _print_notes(reading, warnings)
    if output == "text":
        _print_totals(reading, len(warnings))
    ctx.exit(0 if reading.ok else 1)


def _as_json(file: LoadoutFile) -> dict[str, object]:
    return {
        "path": file.path,
        "team": file.team,
        "ok": file.ok,
        "receipt": file.receipt.to_dict() if file.receipt else None,
        "problems": [_problem(problem) for problem in file.problems],
    }


def _problem(problem: Problem) -> dict[str, object]:
    keys = ["path", "line", "column", "code", "message"]
    return {key: getattr(problem, key) for key in keys}


def _print_files(reading: Reading) -> None:
    for file in sorted(reading.files, key=lambda file: file.path):
        for problem in file.problems:
            console.print_line(str(problem))
        if file.ok:
            console.print_line(f"{console.printable(file.path)}  ok  {_summary(file)}")


def _print_notes(reading: Reading, warnings: Sequence[Problem]) -> None:
    """Say what the exit code does not: which rules held, and what was left out."""
    if reading.cohort_path is None and any(file.receipt for file in reading.files):
        console.print_note("checked against the default rules: no cohort.yaml beside it")
    for warning in warnings:
        console.print_note(str(warning))
    if reading.not_read:
        console.print_note(reading.not_read)
    for file in reading.files:
        if Path(file.path).suffix.lower() not in SUFFIXES:
            name = console.printable(file.path)
            console.print_note(f"{name}: in a folder only names that end in .yaml are read")


def _print_totals(reading: Reading, num_warnings: int) -> None:
    num_refused = sum(not file.ok for file in reading.files)
    num_problems = sum(len(file.problems) for file in reading.files)
    num_ok = len(reading.files) - num_refused
    note = f"files: {len(reading.files)}, ok: {num_ok}, refused: {num_refused}"
    note += f", not read: {len(reading.skipped)}" if reading.skipped else ""
    note += f", problems: {num_problems}" if num_problems else ""
    console.print_note(f"{note}, warnings: {num_warnings}" if num_warnings else note)


def _summary(file: LoadoutFile) -> str:
    if file.receipt is None:
        return "cohort" if file.team is None else f"{file.team}  not priced: the cohort is broken"
    return f"{file.team}  {file.receipt.total_bnn} of {file.receipt.budget_bnn} B NN"
