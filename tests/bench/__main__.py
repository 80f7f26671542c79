"""`make bench`: this project beside what people would use instead, as one table of ratios.

In: the sections, modules of this package that print rows. Out: a table on stdout, and the rows in
`.game/bench.json`; exit code 1 where a section could not be run. Targets that are missed are said
and do not fail it: they depend on the machine.

Every section has a process of its own, one after another, so that none finds threads, caches or a
Ray of the one before.

    python -m tests.bench [--quick] [SECTION...]
"""

import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.atomic import atomic_file
from orchestrator.settings import Settings

SECTIONS = (
    "steps", "augmentation", "recording", "first_step", "one_member", "memory", "precision",
    "end_to_end", "gpu",
)  # fmt: skip
KEYS = ("name", "ours", "theirs", "unit", "ratio", "target", "met")
SAID = {">=": "≥ {}", "<=": "≤ {}", "max": "≤ {} {unit}", "": ""}


@click.command()
@click.option("--quick", is_flag=True, help="Fewer repeats and smaller sizes: some minutes.")
@click.argument("sections", nargs=-1, type=click.Choice(SECTIONS))
def main(quick: bool, sections: tuple[str, ...]) -> None:
    """Run the sections (all of them by default) and print what they measured."""
    machine = describe_machine()
    click.echo(machine, err=True)
    measured: list[dict[str, Any]] = []
    failed: list[str] = []
    for section in sections or SECTIONS:
        started_s = time.perf_counter()
        found, ended_well = run_section(section, quick)
        measured += found
        failed += [] if ended_well else [section]
        took_s = time.perf_counter() - started_s
        click.echo(f"{section}: {len(found)} rows in {took_s:.0f} s", err=True)
    console = Console()
    console.print(table_of(measured))
    click.echo(machine)
    missed = [row["name"] for row in measured if row["met"] is False]
    click.echo(f"{len(missed)} targets missed" + "".join(f"\n  {name}" for name in missed))
    path = Settings().home / "bench.json"
    with atomic_file(path) as file:
        file.write(json.dumps(measured, indent=1).encode())
    click.echo(f"written to {path}")
    if failed:
        click.echo(f"sections that failed: {', '.join(failed)}", err=True)
        sys.exit(1)


def run_section(section: str, quick: bool) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a section, and whether it came to its end."""
    command = [sys.executable, "-m", f"tests.bench.{section}", *(["--quick"] if quick else [])]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            row = json.loads(line)
            found.append({key: row.pop(key) for key in KEYS} | row)
            click.echo(f"  {row_in_words(found[-1])}", err=True)
    return found, process.returncode == 0


def row_in_words(row: dict[str, Any]) -> str:
    """A row as it comes, while the next one is measured."""
    if row["ours"] is None:
        return f"{row['name']}: {row['note']}"
    ratio = "" if row["ratio"] is None else f", {row['ratio']:.3g} x"
    return f"{row['name']}: {row['ours']:.3g} {row['unit']}{ratio}"


def table_of(measured: list[dict[str, Any]]) -> Table:
    """All rows; below each name stands what was measured, beside what, and a note."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("what")
    for heading in ("ratio", "target", "met"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in measured:
        figures = _amount(row["ours"], row["unit"])
        if row["theirs"] is not None:
            figures += f" beside {_amount(row['theirs'], row['unit'])}"
        if row["theirs_is"]:
            figures += f": {row['theirs_is']}"
        below = "\n".join(part for part in (figures, row["note"]) if part)
        table.add_row(
            Text(row["name"], style="bold").append(f"\n{below}", style="not bold dim"),
            "" if row["ratio"] is None else f"{row['ratio']:.3g}",
            SAID[row["wants"]].format(f"{row['target'] or 0:.3g}", unit=row["unit"])
            if row["target"] is not None
            else "",
            {True: "yes", False: "NO", None: "-"}[row["met"]],
        )
    return table


def _amount(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.3g} {unit}"


def describe_machine() -> str:
    """Processor, memory, GPU and versions, in a line or two."""
    words = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in words.splitlines() if "model name" in line]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("torch", "ray", "mlflow")
    return (
        f"{models[0] if models else platform.processor()}, {os.cpu_count()} CPUs, "
        f"{memory:.0f} GiB, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
    )


if __name__ == "__main__":
    main()
