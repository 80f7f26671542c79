"""Names of cohorts and teams for the Tab key, read without the store's package.

In: the store's URL. Out: names, and none where anything is in the way: a shell that completes a
word shows no errors. The store itself imports SQLAlchemy and brings the schema up to date, which
takes a second; this reads two columns with the driver underneath. Used by `cli.completing`.
"""

import json
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

BUSY_S = 0.2
CONNECT_S = 1
SQLITE = "sqlite:///"

COHORTS = "SELECT name FROM cohorts ORDER BY submitted_at DESC"
DATA = "SELECT data FROM cohorts ORDER BY submitted_at DESC"
TEAMS = "SELECT DISTINCT team FROM jobs WHERE cohort = ? ORDER BY team"


def cohort_names(url: str) -> list[str]:
    """All cohorts, the one submitted last first; raises whatever the database's driver does."""
    return _column(url, COHORTS)


def team_names(url: str, cohort: str | None) -> list[str]:
    """A cohort's teams, by default of the one submitted last; raises as `cohort_names`."""
    if not cohort:
        each = zip(cohort_names(url), map(json.loads, _column(url, DATA)), strict=True)
        cohort = next((name for name, data in each if not data.get("side")), None)
    return _column(url, TEAMS, [cohort]) if cohort else []


def last_submission(url: str) -> float:
    """When a cohort was submitted last, in seconds since 1970; 0 where none was."""
    times = _column(url, "SELECT max(submitted_at) FROM cohorts")
    return max((float(time) for time in times if time != "None"), default=0.0)


def last_source(url: str) -> str | None:
    """Where the images of the cohort come from that was submitted last; None where none was."""
    with suppress(Exception):
        each = map(json.loads, _column(url, DATA))
        return next((str(data["source"]) for data in each if not data.get("side")), None)
    return None


def _column(url: str, query: str, values: Sequence[str] = ()) -> list[str]:
    with closing(_connection(url)) as connection:
        cursor = connection.cursor()
        cursor.execute(query if url.startswith(SQLITE) else query.replace("?", "%s"), values)
        return [str(row[0]) for row in cursor.fetchall()]


def _connection(url: str) -> Any:
    if url.startswith(SQLITE):
        path = Path(unquote(url.removeprefix(SQLITE).partition("?")[0]))
        # It makes no empty store; a reader that might not write would leave files of its own.
        file = f"{path.absolute().as_uri()}?mode=rw"
        return sqlite3.connect(file, uri=True, timeout=BUSY_S)
    import psycopg

    libpq_url = re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", url)
    return psycopg.connect(libpq_url, connect_timeout=CONNECT_S)
