"""What is said to somebody who knows other programs' words for what `gamectl` does."""

from pathlib import Path

import click
import pytest

from orchestrator.cli import COMMANDS, describe, get
from orchestrator.cli.hints import ELSEWHERE
from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["stop", "red"], "`gamectl suspend` or `gamectl cancel`"),
        (["delete", "red"], "`gamectl withdraw`"),
        (["status"], "`gamectl get jobs`"),
        (["diff", "loadouts"], "`gamectl plan`"),
        (["apply", "-f", "loadouts"], "`gamectl submit`"),
        (["help", "run"], "`gamectl submit`"),
        (["ps"], "`gamectl get jobs`"),
    ],
)
def test_another_programs_word_gets_ours(words: list[str], meant: str) -> None:
    done = gamectl(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"Did you mean {meant}?\n")


def test_every_word_leads_to_a_command_and_is_none_itself() -> None:
    assert not set(ELSEWHERE) & set(COMMANDS)
    for meant in ELSEWHERE.values():
        for words in meant:
            assert gamectl(*words.split(), "--help").exit_code == 0, words


@pytest.mark.parametrize("group", [get.command, describe.command])
def test_nouns_are_taken_in_either_number_and_listed_in_one(group: click.Group) -> None:
    for name in group.commands:
        other = name.removesuffix("s") if name.endswith("s") else f"{name}s"
        help_of = [gamectl(group.name, each, "--help") for each in (name, other)]
        assert [each.exit_code for each in help_of] == [0, 0]
        singular, plural = (each.stdout.partition("\n")[2] for each in help_of)
        assert singular == plural
        listed = gamectl(group.name, "--help").stdout.partition("Commands:")[2]
        assert f"\n  {name} " in listed
        assert f"\n  {other} " not in listed


def test_a_noun_that_there_is_not_is_an_error() -> None:
    for words in (["get", "pods"], ["get", "s"], ["describe", "pods", "red"]):
        done = gamectl(*words)
        assert done.exit_code == 2
        assert f"No such command '{words[1]}'." in done.stderr


@pytest.mark.parametrize("verb", ["cancel", "suspend", "resume", "retry", "withdraw", "priority"])
def test_a_name_that_is_not_utf_8_is_nobodys(home: Path, verb: str) -> None:
    store = Store(Settings().store_url)
    submit(store, new_job("apes"))
    store.close()
    more = ["3"] if verb == "priority" else []
    of_team = gamectl(verb, "\udcff", *more)
    assert (of_team.exit_code, of_team.stdout) == (1, "")
    assert "cohort 'small' has no team" in of_team.stderr
    of_cohort = gamectl(verb, "apes", *more, "--cohort", "\udcff")
    assert of_cohort.exit_code == 1
    assert "error: no cohort '\\udcff'; there are: small" in of_cohort.stderr
