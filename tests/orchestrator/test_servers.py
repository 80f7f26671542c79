"""Cohorts at once on PostgreSQL and an MLflow with passwords, both killed in the middle."""

from pathlib import Path

import pytest

from tests.bench.servers import EPOCHS, TEAMS, play
from tests.orchestrator import postgres

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),  # a minute alone; beside other tests everything in it takes turns
    pytest.mark.skipif(
        postgres.reason_why_not() is not None, reason=f"PostgreSQL: {postgres.reason_why_not()}"
    ),
]
COHORTS = 2


def test_nothing_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    figures = play(COHORTS, EPOCHS, tmp_path)
    num_members = 3 * COHORTS
    assert figures["jobs"] == figures["models"] == len(TEAMS) * COHORTS
    assert figures["members"] == num_members
    assert figures["runs"] == figures["jobs"] + num_members
    assert figures["metrics"] == 7 * num_members * EPOCHS
    assert 0 < figures["trained_when_killed"] < 1
    assert figures["attempts"] >= num_members
