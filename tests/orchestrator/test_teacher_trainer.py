"""What is said of a teacher's training that failed."""

import pytest

from jobs.errors import DataError, Diverged
from orchestrator.cluster.faults import Seen, seen
from orchestrator.cluster.teacher_trainer import _in_words


def of(error: Exception) -> Seen:
    """The error as a slot tells of it."""
    with pytest.raises(type(error)) as raised:
        raise error
    return seen("training", raised.value)


def test_a_line_is_named_where_the_error_is_no_message_for_people() -> None:
    for error in (DataError("too few images"), Diverged(1, 2, 0.5)):
        assert _in_words(of(error)) == str(error)
    said = _in_words(of(RuntimeError("shapes differ")))
    assert said.startswith("RuntimeError: shapes differ (test_teacher_trainer.py:")
