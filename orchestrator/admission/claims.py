"""Files held against each other: whose rules hold, and what two files claim at once.

In: the drafts of all files that were read. Out: the one that gives the cohort's rules, and problems
at the lines of those that say what another one says. Used by `files`.

Teams send these files, so nothing depends on which comes first: a file that carries the name of
what it claims keeps it, and where none does all of them are told.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.admission.combinations import PURCHASES, LocatedProblem
from orchestrator.admission.draft import SUFFIXES, Draft, read_draft
from orchestrator.admission.items.custom import Custom
from orchestrator.admission.yaml_places import Loc
from orchestrator.console import printable, shortened

COHORT_FILE = "cohort.yaml"
COHORT_FILES = (COHORT_FILE, "cohort.yml")


def is_cohort(draft: Draft) -> bool:
    """Whether a file is a cohort's; one that cannot be read is known by its name."""
    return draft.kind == "Cohort" or (draft.kind is None and draft.path.name in COHORT_FILES)


def rules_among(drafts: Sequence[Draft], wanted: Path | None = None) -> Draft | None:
    """The file that gives the rules: the `wanted` one, `cohort.yaml`, or else the only cohort.

    Every other file of a cohort gets a problem; where it is not clear which holds, all get one.
    """
    cohorts = [draft for draft in drafts if is_cohort(draft)]
    named = [draft for draft in cohorts if draft.path == wanted]
    for name in COHORT_FILES:
        named = named or [draft for draft in cohorts if draft.path.name == name]
    named = named or cohorts
    for draft in cohorts:
        other = next((each for each in named if each is not draft), None)
        if other is None:
            continue
        message = f"a second cohort beside {printable(str(other.path))}"
        message += (
            ": name or keep one of them" if draft in named else ", whose rules hold: take it out"
        )
        draft.add_located([LocatedProblem(("kind",), "second-cohort", message)])
    return named[0] if named else None


def compare_claims(drafts: Sequence[Draft]) -> None:
    """Give a problem to files of the same team, and to teams that bring the same Python file."""
    claims: dict[tuple[str, str], list[tuple[Draft, Loc]]] = defaultdict(list)
    for draft in drafts:
        team = draft.team or _team_of_unread(draft)
        if team is not None:
            claims["team-taken", team].append((draft, ("metadata", "team")))
        for loc, file in _code_of(draft):
            claims["file-taken", str(file)].append((draft, loc))
    for (code, what), claimants in claims.items():
        owners = [each for each, _ in claimants if each.path.stem == (each.team or what)]
        for draft, loc in claimants:
            others = [other for other, _ in claimants if other is not draft]
            if not others or owners == [draft]:
                continue
            path = printable(str((owners if len(owners) == 1 else others)[0].path))
            if code == "team-taken":
                says = team_taken(what, path)
            else:
                name = printable(Path(what).name)
                says = f"{name} is the file of {path}, too; each team has its own"
            draft.add_located([LocatedProblem(loc, code, says)])


def team_taken(team: str, path: str) -> str:
    """What is said at the team of a file, where the file at that path has the same."""
    return f"team is '{shortened(team)}', as in {path}; a team has one loadout: keep one"


def _team_of_unread(draft: Draft) -> str | None:
    """Whose a loadout may be that cannot be read: that of the team that it is called after."""
    is_loadout = draft.path.suffix.lower() in SUFFIXES and not is_cohort(draft)
    return draft.path.stem if is_loadout and draft.kind is None else None


def _code_of(draft: Draft) -> Iterator[tuple[Loc, Path]]:
    """Where a loadout names the Python file that it brings, and which."""
    values = draft.document.values
    for loc, place in values.items():
        if loc[:2] == PURCHASES and loc[3:] == ("file",) and place.text:
            bought = values.get((*loc[:3], "item"))
            if bought is not None and bought.text == Custom.key():  # no other item has a file
                yield loc, draft.path.absolute().parent / place.text


def file_of_owner(path: Path, team: str) -> Path | None:
    """The loadout beside this one that is called after the team, where this one is not."""
    if path.stem == team:
        return None
    beside = [path.with_name(team + suffix) for suffix in SUFFIXES]
    return next((file for file in beside if file.is_file() and read_draft(file).team == team), None)
