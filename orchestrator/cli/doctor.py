"""`gamectl doctor`: is everything here that a game needs, and what to do where it is not.

In: the settings of the environment. Out: a line for each thing that was looked at, or JSON.
`orchestrator.doctor` has the checks, the fast ones first.
"""

import sys
from collections import Counter
from dataclasses import asdict

import click

from orchestrator import console
from orchestrator.doctor import Finding, Level, examine

COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
LEVEL_CHARS, ABOUT_CHARS = 9, 15


@click.command(
    "doctor",
    epilog="""\b
    Example:
      gamectl doctor
      gamectl doctor --deep
      gamectl doctor --data photos/monkeys -o json""",
)
@click.option("--deep", is_flag=True, help="Start Ray, too, or join it, which takes some seconds.")
@click.option(
    "--data",
    metavar="FOLDER",
    help="Look at this data; by default, at that of the cohort submitted last.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="For people, or for programs.",
)
def command(deep: bool, data: str | None, output: str) -> None:
    """Check this machine and its settings, and say what to do.

    Looked at are Python, packages, torch, GPUs, memory, disk, the sandbox for teams' code, Ray, the
    store, MLflow, artifacts, the data and the clock. The exit code is 1 if there is a problem;
    warnings leave it 0.
    """
    findings: list[Finding] = []
    for finding in examine(data, deep, _say_what_is_next if output == "text" else _say_nothing):
        findings.append(finding)
        if output == "text":
            console.clear_status()
            _print(finding)
    console.clear_status()
    counts = Counter(finding.level for finding in findings)
    if output == "json":
        console.print_json(
            {
                "checks": [asdict(finding) for finding in findings],
                "warnings": counts[Level.WARNING],
                "problems": counts[Level.PROBLEM],
            }
        )
    else:
        console.print_note(_summary(counts))
    sys.exit(1 if counts[Level.PROBLEM] else 0)


def _say_nothing(_about: str) -> None:
    pass


def _say_what_is_next(about: str) -> None:
    console.print_status(f"looking at: {about} ...")


def _print(finding: Finding) -> None:
    indent = LEVEL_CHARS + ABOUT_CHARS
    head = f"{finding.level:<{LEVEL_CHARS}}{finding.about:<{ABOUT_CHARS}}"
    found = console.printable(finding.found)
    console.print_line(f"{head}{found}", indent=indent, colour=COLOURS[finding.level])
    if finding.advice:
        console.print_line(f"{'':{indent}}-> {console.printable(finding.advice)}", indent=indent)


def _summary(counts: Counter[Level]) -> str:
    if counts[Level.PROBLEM]:
        return f"problems: {counts[Level.PROBLEM]}; put them right, and call `gamectl doctor` again"
    if counts[Level.WARNING]:
        return f"warnings: {counts[Level.WARNING]}; a game can be played. Next: `gamectl submit`"
    return "all is well; next: `gamectl demo`, or `gamectl init FOLDER` for a game of your own"
