"""`gamectl init`: a folder with a commented cohort and a first loadout, to begin a game with.

In: a folder, which may be there already. Out: new files in it; one that is there is never changed.
`orchestrator.admission.starter` has their texts. Next: `gamectl validate`, `gamectl submit`.
"""

import shlex
from pathlib import Path

import click

from orchestrator import console
from orchestrator.admission.claims import COHORT_FILE, COHORT_FILES
from orchestrator.admission.problems import as_label
from orchestrator.admission.starter import TEAM, starter_files
from orchestrator.cli.paths import LocalPath
from orchestrator.errors import Refused

NAMELESS = "my-game"
"""Of a cohort whose folder's name has no letter that a label may hold."""


@click.command(
    "init",
    epilog="""\b
    Example:
      gamectl init monday""",
)
@click.argument("folder", metavar="FOLDER", type=LocalPath())
def command(folder: Path) -> None:
    """Write a commented cohort and a first loadout into a folder.

    Both can be submitted as they are. The cohort is named after the folder. Editors that know YAML
    complete and check the files with the schemas that are written next to them. Files that are
    there already stay as they are: then nothing is written at all.
    """
    name = as_label(folder.resolve().name) or NAMELESS
    files = {folder / path: text for path, text in starter_files(name).items()}
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{console.printable(str(folder))} is a file; name a folder")
    wanted = [*files, *(folder / other for other in COHORT_FILES)]
    there = [path for path in wanted if path.exists()]
    if there:
        raise Refused(
            f"{console.printable(str(there[0]))} is there already, so nothing was written; name "
            "another folder: `gamectl init FOLDER`"
        )
    _write(files)
    console.print_note(f"wrote {', '.join(console.printable(str(path)) for path in files)}")
    console.print_note(f"\nWhat next:\n{_next_steps(folder)}")
    console.print_note("\nEach team makes a copy of the loadout, named as the team is.")


def _next_steps(folder: Path) -> str:
    paths = (folder, folder / COHORT_FILE, folder / f"{TEAM}.yaml")
    shown, cohort, loadout = (shlex.quote(console.printable(str(path))) for path in paths)
    steps = {
        f"gamectl shop --cohort-file {cohort}": "what there is to buy",
        f"gamectl preview {loadout}": "what its network gets to see",
        f"gamectl validate {shown}": "every problem of every file",
        f"gamectl plan {shown}": "how long it will take",
        f"gamectl submit {shown}": "trains, and shows it live",
    }
    width = max(map(len, steps))
    return "\n".join(f"  {step:{width}}  {why}" for step, why in steps.items())


def _write(files: dict[Path, str]) -> None:
    """Writes files that are not there yet; none of them stays where one cannot be written."""
    written: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError:
        for path in written:
            path.unlink(missing_ok=True)
        raise
