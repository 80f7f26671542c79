"""The commands, called as a user calls them."""

import json
from typing import Any

from click.testing import CliRunner, Result

from orchestrator.cli import main


def gamectl(*words: object) -> Result:
    """Run `gamectl WORDS...`; whatever goes wrong, it must not end in a traceback."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    # A SystemExit is how a command ends; anything else is a traceback in somebody's face.
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def read_json(*words: object) -> Any:
    """Return what `gamectl WORDS... -o json` prints."""
    result = gamectl(*words, "-o", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def phases(name: str = "small") -> dict[str, str]:
    """The phase of each team's job, as `gamectl get jobs` has it."""
    return {job["team"]: job["phase"] for job in read_json("get", "jobs", "--cohort", name)["jobs"]}
