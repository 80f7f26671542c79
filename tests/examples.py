"""The commands that the pages and `--help` show, and how each is run in a test.

In: README.md, docs/, deploy/README.md, and the help of every command of the click tree. Out: lines
that begin with `gamectl`, and for each a `How`: on which small game it is run, and where it cannot
be run as printed, what is added or expected, and why. **A new command's examples are registered in
`HOW`**, which is also the order in which they are run. Next on the path: `test_examples`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from orchestrator.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "deploy" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# What a page leaves for the reader to fill in.
MEANT: Mapping[str, str] = {
    "FOLDER": "photos/monkeys",
    "FILE": "late.yaml",
    "PICTURE.jpg": "photo.jpg",
    "FILE.html": "page.html",
    "TEAM": "howling-pixels",
    "NAME": "demo",
    # The folder of the reader's own game, which the demo's stands for.
    "monday": "loadouts/demo",
    "monday/cohort.yaml": "loadouts/demo/cohort.yaml",
    "monday/late.yaml": "late.yaml",
}


@dataclass(frozen=True)
class How:
    """How the lines of a kind are run."""

    kind: str
    """A regular expression that the line begins with, once placeholders are filled in."""
    home: str = "played"
    """`played`: the cohort demo, trained. `queued`: a copy, made for the line, of a home where it
    is submitted and a controller elsewhere is at work. `empty`: nothing was submitted."""
    first: str = ""
    """A line that must have been run in that home before."""
    plus: str = ""
    """Words that are added, to make it end, or end soon; then `why` says so."""
    env: Mapping[str, str] = field(default_factory=dict)
    fails: str = ""
    """What the one line of its error says, where it cannot succeed in a test; see `why`."""
    why: str = ""


SCORED = "gamectl score --cohort demo"
TEACHER = "gamectl teacher train"
SMALL_TEACHER = "--epochs 1 --size 16 --batch-size 16"
NO_CLUSTER = "no cluster is there: what it would share with this machine is not set"

HOW = (
    # Files
    How(r"gamectl init", "empty"),
    How(r"gamectl (doctor|completion|shop|schema|validate)\b"),
    How(r"gamectl (preview|plan)\b"),
    How(r"gamectl data check\b"),
    How(r"gamectl deploy render\b"),
    # Run
    How(r"gamectl demo", env={"GAME_HOME": "/proc/nope"}, fails="cannot keep a game in /proc/nope",
        why="it plays for minutes; the home is one that cannot be made"),
    How(r"gamectl submit .*--cluster http", fails="a cluster needs", why=NO_CLUSTER),
    How(r"gamectl submit late.yaml", "queued", plus="--detach",
        why="it would watch until the controller elsewhere is through"),
    How(r"gamectl submit\b"),
    How(r"gamectl (suspend|cancel|withdraw|priority)\b", "queued"),
    How(r"gamectl retry howling", "queued", first="gamectl cancel howling-pixels"),
    How(r"gamectl retry --failed"),
    How(r"gamectl resume howling", "queued", first="gamectl suspend howling-pixels"),
    How(r"gamectl resume --all", "queued", first="gamectl suspend --all"),
    How(r"gamectl resume\b"),
    How(r"gamectl controller\b"),
    # Look
    How(r"gamectl (get|describe|logs|results)\b"),
    How(r"gamectl ui\b",
        env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        fails="does not answer", why="it serves until Ctrl-C; one elsewhere that is away ends it"),
    # Score and explain
    How(r"gamectl score\b"),
    How(r"gamectl leaderboard\b", first=SCORED),
    How(r"gamectl report\b"),
    How(r"gamectl classify\b", first="gamectl score --publish"),
    How(r"gamectl balance\b", plus="--seeds 1", why="several seeds take several times as long"),
    How(r"gamectl (ablate|tune) my-loadout", plus="--data /nowhere", fails="/nowhere",
        why="each trains for half a minute; one of each is enough, and data is read at the last"),
    How(r"gamectl ablate\b", plus="--seeds 1", why="several seeds take several times as long"),
    How(r"gamectl tune\b", plus="--trials 2", why="a search of many trials takes minutes"),
    # Data and teachers
    How(r"gamectl teacher train .*imagenet", plus=f"{SMALL_TEACHER} --weights none --cpus 999",
        fails="999 CPUs", why="ImageNet's weights are downloaded; one small training is enough"),
    How(r"gamectl teacher train .*backbone", plus=f"{SMALL_TEACHER} --cpus 999", fails="999 CPUs",
        why="one small training is enough; this ends once the weights are read"),
    How(r"gamectl teacher train\b", plus=SMALL_TEACHER, why="it would train for minutes"),
    How(r"gamectl teacher (list|score)\b", first=TEACHER),
)  # fmt: skip


def how(line: str) -> How:
    """How a line is run; raises `LookupError` where nobody has said so."""
    for each in HOW:
        if re.match(each.kind, line):
            return each
    raise LookupError(f"register how a test runs `{line}`, in HOW of tests/examples.py")


def order(line: str) -> tuple[int, str]:
    """The place of a line's kind in `HOW`; unregistered lines come last."""
    places = (n for n, each in enumerate(HOW) if re.match(each.kind, line))
    return next(places, len(HOW)), line


def lines_of(page: str) -> set[str]:
    """The commands on a page, in blocks of shell and in the midst of sentences."""
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    shell = [line for text in blocks for line in text.replace("\\\n", "").splitlines()]
    inline = [" ".join(it.split()) for it in re.findall(r"`((?:gamectl|make)\s[^`]+)`", page)]
    return {alone(line) for line in [*shell, *inline]} - {""}


def alone(line: str) -> str:
    """A line without its comment, and without what the shell does with what it prints."""
    return re.split(r"#|\s[|>]\s", line)[0].strip()


def meant(line: str) -> str:
    """A line with what the reader is to fill in; what makes a folder is left as it is."""
    if line.startswith("gamectl init"):
        return line
    return " ".join(MEANT.get(word, word) for word in line.split())


def commands(
    command: click.Command = main, context: click.Context | None = None, name: str = "gamectl"
) -> Iterator[tuple[str, click.Command]]:
    """Every command of the tree, by the words that call it."""
    context = context or click.Context(main)
    yield name, command
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            assert below is not None
            inner = click.Context(below, info_name=word, parent=context)
            yield from commands(below, inner, f"{name} {word}")


def examples_of(command: click.Command) -> list[str]:
    """The lines that a command's help shows as examples."""
    text = f"{command.help or ''}\n{command.epilog or ''}"
    lines = (line.strip() for line in text.splitlines())
    return [alone(line) for line in lines if line.startswith("gamectl ")]


def all_lines() -> list[str]:
    """Every line that is shown somewhere, once, in the order in which they are run."""
    of_pages = set().union(*(lines_of(page.read_text()) for page in PAGES))
    of_help = {line for _, command in commands() for line in examples_of(command)}
    shown = {meant(line) for line in of_pages | of_help if line.startswith("gamectl ")}
    return sorted(shown, key=order)
