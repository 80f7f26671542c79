"""Tab: what a shell is offered, in a real bash, and silence where anything is in the way."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.admission.shop import CATALOG
from orchestrator.cli import COMMANDS, main
from orchestrator.store import Store
from orchestrator.terminal.names import cohort_names, last_source, team_names
from tests.orchestrator.cohorts import DATA, new_job, submit
from tests.orchestrator.commands import gamectl


def offered(line: str) -> list[str]:
    """What bash would be told for the last word of the line, which may be empty."""
    words = line.split(" ")
    env = {
        "_GAMECTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    result = CliRunner(env=env).invoke(main, [], prog_name="gamectl")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stderr == ""
    return [text.removeprefix("plain,") for text in result.stdout.split()]


@pytest.fixture
def game(home: Path) -> Path:
    """A store with two cohorts; `monday` was submitted last."""
    home.mkdir()
    store = Store(f"sqlite:///{home / 'store.db'}")
    submit(store, new_job("gibbons"), new_job("macaques"), at=1.0, name="friday")
    submit(store, new_job("howlers"), new_job("howling-pixels"), at=2.0, name="monday")
    store.close()
    return home


def test_commands_and_options_are_offered(home: Path) -> None:
    assert set(offered("gamectl ")) == set(COMMANDS)
    assert "suspend" in offered("gamectl sus")
    assert set(offered("gamectl get ")) == {"cohorts", "events", "jobs"}
    assert "--cluster" in offered("gamectl submit --cl")


def test_names_are_offered(game: Path) -> None:
    assert offered("gamectl cancel ") == ["howlers", "howling-pixels"]
    assert offered("gamectl cancel howlers ") == ["howling-pixels"]
    assert offered("gamectl describe job --cohort friday ") == ["gibbons", "macaques"]
    assert offered("gamectl get events --team howli") == ["howling-pixels"]
    assert offered("gamectl results howli") == ["howling-pixels"]
    assert offered("gamectl classify photo.jpg --team howli") == ["howling-pixels"]
    assert offered("gamectl leaderboard --cohort ") == ["monday", "friday"]
    assert offered("gamectl shop ") == list(CATALOG)
    assert "local" in offered("gamectl deploy render --overlay ")
    assert sorted(path.name for path in game.iterdir()) == ["store.db"]


def test_files_and_folders_are_left_to_the_shell(home: Path) -> None:
    assert offered("gamectl validate my") == ["file,my"]
    assert offered("gamectl submit x --data ph") == ["dir,ph"]


def test_names_are_those_of_the_store(each_store: Store, store_url: str) -> None:
    submit(each_store, new_job("gibbons"), at=2.0, name="monday")
    submit(each_store, new_job("apes"), new_job("howlers"), at=1.0, name="friday")
    submit(each_store, new_job("whole-s0"), at=3.0, name="side", side=True)
    assert cohort_names(store_url) == ["side", "monday", "friday"]
    assert team_names(store_url, None) == ["gibbons"]
    assert team_names(store_url, "side") == ["whole-s0"]
    assert team_names(store_url, "friday") == ["apes", "howlers"]
    assert team_names(store_url, "nobody") == []
    assert last_source(store_url) == DATA.source


@pytest.mark.parametrize(
    "url", ["", "sqlite:///nowhere/store.db", "postgresql+psycopg://x@127.0.0.1:1/y", "nonsense"]
)
def test_nothing_is_said_where_there_are_no_names(
    url: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAME_STORE", url)
    assert offered("gamectl logs ") == []
    assert not home.exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_says_how_it_is_installed(shell: str) -> None:
    script = gamectl("completion", shell).stdout
    assert "_GAMECTL_COMPLETE" in script
    assert f"gamectl completion {shell}" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_completes(game: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "gamectl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    program.chmod(0o755)
    script = """
        source <(gamectl completion bash)
        complete -p gamectl
        try() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _gamectl_completion gamectl
            echo "${COMPREPLY[@]}"
        }
        try gamectl sus
        try gamectl logs howl
    """
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _gamectl_completion gamectl",
        "suspend",
        "howlers howling-pixels",
    ]
