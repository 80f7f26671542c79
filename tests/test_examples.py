"""Every `gamectl` line of the pages and of every `--help` is run, on a small game of their own.

`examples` collects them, and says of each how it is run: see there for a new command.
"""

import os
import shlex
import shutil
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from jobs.drawn_monkeys import DRAWN_VERSION
from orchestrator.cli import main
from orchestrator.store import Store
from tests.examples import HOW, How, all_lines, commands, examples_of, how
from tests.orchestrator.cohorts import controller_elsewhere

LINES = all_lines()
COHORT = """\
apiVersion: game/v1
kind: Cohort
metadata: {{name: {name}}}
spec:
  limits: {{epochs: 2, imageSizePx: 32}}
  data: {{source: {data}}}
"""
LOADOUT = """\
apiVersion: game/v1
kind: Loadout
metadata: {{team: {team}}}
spec:
  epochs: 1
  purchases: [{{item: flip-trick}}, {{item: resolution-rocket, size: 32}}{more}]
"""
TRIO = ", {item: ensemble-enchanter, members: [{}, {seed: 1}, {seed: 2}]}"


class Game:
    """A folder like the pages' reader has, and its homes by name."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.folder = folder
        self._ran: set[tuple[str, str]] = set()
        for name in ("monkeys", "training", "validation"):
            link = folder / "photos" / name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(photos if name == "monkeys" else photos / name)
        (folder / "holiday").mkdir()
        for copy in ("photo.jpg", "holiday/one.png"):
            shutil.copy(photos / "training" / "n0" / "0.png", folder / copy)
        self._write("loadouts/demo", "demo", {"howling-pixels": TRIO, "dizzy-macaques": ""})
        self._write("loadouts/balance", "balance", {"none": ""})
        self._write(".", "demo", {"late": "", "my-loadout": ""})
        for home in ("played", "queued", "empty"):
            # The drawn monkeys, but few and small.
            drawn = folder / home / "cache" / "data" / f"drawn-monkeys-v{DRAWN_VERSION}-seed0"
            drawn.parent.mkdir(parents=True)
            drawn.symlink_to(photos)

    def _write(self, where: str, cohort: str, teams: dict[str, str]) -> None:
        folder = self.folder / where
        folder.mkdir(parents=True, exist_ok=True)
        data = os.path.relpath(self.folder / "photos" / "monkeys", folder)
        (folder / "cohort.yaml").write_text(COHORT.format(name=cohort, data=data))
        for team, more in teams.items():
            (folder / f"{team}.yaml").write_text(LOADOUT.format(team=team, more=more))

    def run(self, line: str, home: str, env: dict[str, str] | None = None) -> Result:
        """What becomes of the line in that home."""
        base = {"GAME_HOME": str(self.folder / home), "COLUMNS": "80"}
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            return CliRunner(env=base | (env or {})).invoke(main, shlex.split(line)[1:])
        finally:
            os.chdir(before)

    def run_as(self, line: str, told: How) -> Result:
        """What becomes of the line, run as it was told."""
        home = told.home
        if home == "queued":  # each on its own copy
            home = f"queued-{len(list(self.folder.glob('queued-*')))}"
            shutil.copytree(self.folder / "queued", self.folder / home, symlinks=True)
        if told.first and (home, told.first) not in self._ran:
            done = self._run_shown(told.first, home, how(told.first))
            assert done.exit_code == 0, done.output
        return self._run_shown(line, home, told)

    def _run_shown(self, line: str, home: str, told: How) -> Result:
        self._ran.add((home, line))
        return self.run(f"{line} {told.plus}", home, dict(told.env))


@pytest.fixture(scope="session")
def game(ray_cluster: None, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Game:
    """A game whose cohort was played in one home, and is queued in another."""
    import torch
    from torchvision.models import mobilenet_v2

    game = Game(tmp_path_factory.mktemp("examples"), photos)
    torch.save(mobilenet_v2().state_dict(), game.folder / "backbone.pth")
    done = game.run("gamectl submit loadouts/demo", "played")
    assert done.exit_code == 0, done.output
    store = Store(f"sqlite:///{game.folder / 'queued' / 'store.db'}")
    controller_elsewhere(store, "demo")
    store.close()
    done = game.run("gamectl submit loadouts/demo --detach", "queued")
    assert done.exit_code == 0, done.output
    return game


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_it_runs_as_shown(line: str, game: Game) -> None:
    told = how(line)
    done = game.run_as(line, told)
    # A SystemExit is how a command ends; anything else is a traceback in somebody's face.
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert done.exit_code == (1 if told.fails else 0), done.output
    if told.fails:
        errors = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
        assert len(errors) == 1
        assert told.fails in errors[0]


@pytest.mark.parametrize(
    ("name", "command"),
    [(name, command) for name, command in commands() if not isinstance(command, click.Group)],
)
def test_every_command_shows_an_example(name: str, command: click.Command) -> None:
    assert any(line.startswith(name) for line in examples_of(command)), (
        f"{name}: an epilog of examples"
    )


def test_whatever_is_not_run_as_shown_has_a_reason() -> None:
    assert all(bool(each.why) == bool(each.plus or each.env or each.fails) for each in HOW)


def test_every_kind_of_line_is_shown_somewhere() -> None:
    shown = {how(line).kind for line in LINES}
    assert [each.kind for each in HOW if each.kind not in shown] == []
