"""README and docs keep their promises: commands exist, and the README's loadout is admitted."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from orchestrator.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = "\n".join([README, *(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))])
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGES, re.DOTALL)
SHELL = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
INLINE = re.findall(r"`((?:gamectl|make) [^`]+)`", PAGES)
COMMANDS = sorted({line.partition("#")[0].strip() for line in [*SHELL, *INLINE]} - {""})


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("gamectl")])
def test_every_gamectl_command_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    group: click.Command = main
    context = click.Context(main)
    while isinstance(group, click.Group):
        name, command, words = group.resolve_command(context, words)
        assert command is not None
        context, group = click.Context(command, info_name=name, parent=context), command
    # Parsing fails on an unknown option and on an argument too many or too few.
    group.make_context(context.info_name, words, parent=context.parent)


@pytest.mark.parametrize("line", [c for c in COMMANDS if c.startswith("make")])
def test_every_make_target_exists(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_loadout_and_cohorts_are_admitted(tmp_path: Path) -> None:
    files = [text for kind, text in BLOCKS if kind == "yaml"]
    assert len(files) == 3
    for number, text in enumerate(files):
        file = tmp_path / str(number) / "x.yaml"
        file.parent.mkdir()
        file.write_text(text)
        done = CliRunner().invoke(main, ["validate", str(file)])
        assert done.exit_code == 0, done.output


def test_the_cheap_commands_run_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cheap = [c for c in COMMANDS if c.split()[:2] in (["gamectl", "validate"], ["gamectl", "shop"])]
    assert len(cheap) >= 3
    for line in cheap:
        done = CliRunner().invoke(main, shlex.split(line)[1:])
        assert done.exit_code == 0, done.output


def test_every_target_of_the_makefile_has_a_line_of_help() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    for target in phony.split():
        assert re.search(rf"^{target}:.*## \w", text, re.MULTILINE), target
