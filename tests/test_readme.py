"""The README keeps its promises: its targets exist, its files are admitted.

Its commands are run by `test_examples`.
"""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import main
from tests.examples import lines_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


@pytest.mark.parametrize("line", sorted(c for c in lines_of(README) if c.startswith("make")))
def test_every_make_target_exists(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:.*## ", MAKEFILE, re.MULTILINE)


def test_loadout_and_cohorts_are_admitted(tmp_path: Path) -> None:
    files = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(files) == 3
    for number, text in enumerate(files):
        file = tmp_path / str(number) / "x.yaml"
        file.parent.mkdir()
        file.write_text(text)
        done = CliRunner().invoke(main, ["validate", str(file)])
        assert done.exit_code == 0, done.output


def test_every_target_of_the_makefile_has_a_line_of_help() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    for target in phony.split():
        assert re.search(rf"^{target}:.*## \w", MAKEFILE, re.MULTILINE), target
