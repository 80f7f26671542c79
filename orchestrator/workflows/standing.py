"""A submission held against the cohort of that name that the store has already.

In: what was read, and what the store has. Out: a refusal where teams would be judged by rules that
are not the cohort's, learn from other images, or land in the cohort of others; or a remark that
says what has changed, and for whom it has not. Used by `submitting`, within the transaction that
hands in, and by `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator import console
from orchestrator.admission.admit import DRAWN
from orchestrator.admission.cohort import Cohort
from orchestrator.admission.files import Reading
from orchestrator.admission.starter import TEAM as STARTER
from orchestrator.errors import Refused
from orchestrator.opening import is_there, open_store
from orchestrator.settings import Settings
from orchestrator.state import DataRecord, newest_revisions

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Standing

SPLIT = ("data.validationFraction", "data.splitSeed")
"""Rules that decide which images are validation images."""
NO_RULES = ("cluster", "data.source")
"""Where a cohort runs, and where its data lies: the store compares the images themselves."""
MOST_SHOWN = 5


def check_data(reading: Reading, standing: Standing, data: DataRecord) -> None:
    """Refuses other images than the cohort has, where no word of this submission changes them.

    They were named by `--data` before, and are forgotten: all teams would train anew, on others.
    """
    before, own = standing.data, reading.cohort.spec.data.source
    said = str(standing.rules.get("spec", {}).get("data", {}).get("source", own))
    if reading.side or said != own or data.fingerprint == before.fingerprint:
        return
    moved = _is_named(before.source, said) and not Path(before.source).exists()
    if data.source != before.source and not moved:
        raise Refused(
            f"cohort {reading.cohort.name!r} trains on the images of {before.source}, and without "
            f"--data these files would give it others ({data.source}), so nothing was submitted. "
            f"Add --data {before.source}, name the folder that is meant, or give the cohort "
            "another name"
        )


def _is_named(source: str, said: str) -> bool:
    """Whether a cohort's file may have named this folder, wherever that file lay then."""
    own = tuple(part for part in PurePosixPath(said).parts if part != "..")
    return said != DRAWN and PurePosixPath(source).parts[-len(own) :] == own


def check_rules(reading: Reading, standing: Standing) -> str:
    """Refuses rules that a file beside single loadouts would change, and a split for some teams.

    Returns what there is to say once others are handed in: which other rules the organizer has
    changed, and who keeps the older ones.
    """
    stay = standing.stay
    name = reading.cohort.name
    if reading.side:
        return ""
    try:
        before = Cohort.stored(standing.rules)
    except Refused:  # it is of another release
        return ""
    changed = dict(_changed(_rules(before), _rules(reading.cohort)))
    if not changed:
        return ""
    shown = [f"{rule} is {now}, was {was}" for rule, (was, now) in changed.items()]
    said = ", ".join(shown[:MOST_SHOWN]) + (", ..." if len(shown) > MOST_SHOWN else "")
    if reading.beside:
        raise Refused(
            f"{reading.cohort_path} has other rules than cohort {name!r} was submitted with "
            f"({said}), so nothing was submitted. A loadout alone does not change them: put it "
            "beside the cohort's own file, or name the folder to change them"
        )
    if stay and any(rule in changed for rule in SPLIT):
        raise Refused(
            f"cohort {name!r} was submitted with another validation split ({said}), and these of "
            f"its teams are not handed in again: {', '.join(stay)}. Submit all teams, take these "
            "out with `gamectl withdraw`, or give the cohort another name"
        )
    kept = f"; {', '.join(stay)} stay as they were admitted" if stay else ""
    return f"cohort {name}: its rules have changed: {said}{kept}"


def name_is_taken(reading: Reading, teams: Sequence[str]) -> str:
    """Why a folder's teams do not belong into the cohort of that name; empty where they do.

    A class's folder is copied for the next class, and its cohort keeps the name: of the `teams`
    that are in it nobody has a file there.
    """
    given = {file.team for file in reading.files}
    teams = [team for team in teams if team != STARTER]  # of a first try with what `init` wrote
    if reading.side or not reading.whole or not teams or any(team in given for team in teams):
        return ""
    more = f", and {len(teams) - MOST_SHOWN} more" if len(teams) > MOST_SHOWN else ""
    return (
        f"cohort {reading.cohort.name!r} is there already, and none of its teams "
        f"({', '.join(teams[:MOST_SHOWN])}{more}) has a file in the folder. Give this one another "
        f"name (metadata.name in {reading.cohort_path}); to add its teams to the cohort that is "
        "there, name their files instead of the folder; who is no longer wanted there is taken "
        "out with `gamectl withdraw`"
    )


def name_is_taken_here(reading: Reading, settings: Settings) -> str:
    """The same, asked before anything is submitted; empty where there is no store yet."""
    if not is_there(settings):
        return ""
    name = reading.cohort.name
    with open_store(settings) as store:
        known = any(record.name == name for record in store.cohorts())
        jobs = store.jobs(name) if known else ()
    return name_is_taken(reading, sorted(job.team for job in newest_revisions(jobs)))


def _rules(cohort: Cohort) -> dict[str, Any]:
    spec = cohort.model_dump(mode="json", by_alias=True)["spec"]
    return {rule: value for rule, value in _flat(spec) if rule not in NO_RULES}


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _changed(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for rule in [*before, *(rule for rule in after if rule not in before)]:
        if before.get(rule) != after.get(rule):
            yield rule, (_written(before.get(rule)), _written(after.get(rule)))


def _written(value: Any) -> str:
    """As the cohort's file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "not set" if value is None or value == [] else console.shortened(str(value), 60)
