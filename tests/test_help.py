"""The list of commands in `gamectl --help`: whole, in groups, and no wider than the terminal."""

from orchestrator.cli import COMMANDS, GROUPS
from tests.orchestrator.commands import gamectl


def test_every_command_is_listed_once_in_a_group_of_its_own() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS), "name each of COMMANDS once in GROUPS"


def test_help_shows_the_groups_and_their_commands() -> None:
    lines = gamectl("--help").stdout.splitlines()
    for title, names in GROUPS.items():
        start = lines.index(f"{title}:")
        section = lines[start + 1 : start + 1 + len(names)]
        assert [line.split()[0] for line in section] == list(names)
    assert max(map(len, lines)) <= 80
