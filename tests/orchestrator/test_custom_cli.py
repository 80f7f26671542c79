"""What the commands do with a team's own code where no sandbox is, or none is needed."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.plan import SandboxRules
from orchestrator.admission.files import read_paths
from orchestrator.cli.demo import LOADOUTS as DEMO
from orchestrator.cli.demo import without_code
from orchestrator.submission import no_sandbox
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.custom_code import ALLOWED, BUILD, BUY, LOSS

WriteCohort = Callable[..., Path]


@pytest.mark.parametrize("command", ["submit", "plan"])
def test_code_that_cannot_be_kept_apart_is_refused_before_anything_is_stored(
    write_cohort: WriteCohort, photos: Path, home: Path, command: str
) -> None:
    """On a machine without bubblewrap; in a process of its own, which must find that out."""
    folder = write_cohort({"a": BUY, "plain": "epochs: 1"}, ALLOWED)
    (folder / "ours.py").write_text(BUILD)
    program = "from orchestrator.cli import main; main()"
    words = [sys.executable, "-c", program, command, str(folder), "--data", str(photos)]
    others = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    env = {**others, "PATH": str(home / "nothing-here")}
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    said = done.stdout + done.stderr
    assert "bubblewrap is not installed" in said
    assert "customIsolation: process" in said
    assert "plain: " not in said
    assert not list(home.glob("store.db*"))


def test_a_plain_process_can_always_be_made() -> None:
    assert no_sandbox(SandboxRules(isolation="process")) is None


def test_a_preview_says_that_it_leaves_code_out(
    write_cohort: WriteCohort, photos: Path, home: Path, tmp_path: Path
) -> None:
    folder = write_cohort({"a": BUY}, ALLOWED)
    (folder / "ours.py").write_text("def augment(images, generator): return images\n")
    words = ["preview", folder / "a.yaml", "--data", photos, "-o", tmp_path / "a.png"]
    result = gamectl(*words)
    assert result.exit_code == 0, result.output
    assert "without augment of ours.py: a team's own code runs in a sandbox only" in result.stderr
    (folder / "ours.py").write_text(LOSS)
    assert "sandbox" not in gamectl(*words).output


def test_on_a_cluster_elsewhere_the_sandbox_is_its_own_affair(
    write_cohort: WriteCohort, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    folder = write_cohort({"a": BUY}, ALLOWED)
    (folder / "ours.py").write_text(BUILD)
    assert read_json("plan", folder)["refused"] == []


def test_the_demo_has_a_team_with_code_and_can_do_without_it() -> None:
    reading = read_paths([DEMO])
    left_out = {f.team for f in reading.files} - {f.team for f in without_code(reading).files}
    assert left_out == {"residual-raccoons"}
