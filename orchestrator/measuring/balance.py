"""What each loadout is worth: the same loadouts with several seeds, and what came of them.

In: a `Reading` of the loadouts to compare. Out: a `Reading` of a side cohort, in which each of them
is there once a seed; and, once that cohort has run and was scored, a `Balance`: mean and spread of
each loadout's test accuracy. Pure, like `leaderboard`; `workflows` runs the side cohort between
the two halves, and `balance_table` writes the result down.
"""

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator.admission.cohort import Cohort, CohortMetadata
from orchestrator.admission.files import LoadoutFile, Reading
from orchestrator.admission.rewriting import renamed, values_of
from orchestrator.errors import Refused
from orchestrator.measuring.student import interval_of_points
from orchestrator.phases import Phase
from orchestrator.results.scorebook import ScoreBook
from orchestrator.state import Job, newest_revisions

SEED_STEP = 1000
"""Between two runs of a loadout; more, in steps of this, where its own seeds are further apart."""
DATA_CHARS = 24
"""Of the data's name in a side cohort's; the fingerprint behind it tells two of them apart."""
MAX_LABEL, MAX_SEED = 63, 2**53 - 1
WITHOUT = "-without-"


@dataclass(frozen=True)
class Row:
    """One loadout. Accuracies are of the test images; without any, its jobs did not succeed."""

    loadout: str
    spent_bnn: float
    accuracies: tuple[float, ...]
    """Of the runs that have a score, in the order of the seeds."""
    mean: float | None
    """None where a run has no score: a mean of the others would flatter risky settings."""
    spread: float | None
    """Sample standard deviation; None for fewer than two runs."""
    gain_points: float | None
    """Percentage points above the baseline."""
    gain_half_points: float | None
    """Half of the gain's 95 % interval: Student's, over the differences at each seed."""
    kept: float | None
    """Of `best-without-ITEM`: its share of what `best` gains over the baseline, if that is a gain:
    its interval does not hold 0."""


@dataclass(frozen=True)
class Balance:
    """Loadouts by their worth, the best first."""

    cohort: str
    num_seeds: int
    baseline: str | None
    test_images: int
    test_images_left_out: int
    rows: tuple[Row, ...]
    degraded: tuple[str, ...] = ()
    """The runs that are scored without members that were lost, and how many they have left."""

    def to_dict(self) -> dict[str, Any]:
        """The form of `--output json`."""
        return asdict(self)


def side_cohort(reading: Reading, num_seeds: int, data: str) -> Reading:
    """Makes the cohort that measures, of an admitted one: each `TEAM` as `TEAM-s0`, `TEAM-s1`, ...

    `data` names the images: each set has a side cohort of its own, so that the results of one never
    mix with another's. Whoever measures may do so often: there is no limit to submissions.

    Raises `Refused` for a name or a seed that leaves no room for this.
    """
    name = f"{reading.cohort.name}-{data}"
    if len(name) > MAX_LABEL:
        raise Refused(
            f"the measurement's cohort would be named {name!r}, of {len(name)} characters; allowed "
            f"are {MAX_LABEL}: give the cohort a shorter name"
        )
    limits = reading.cohort.spec.limits.model_copy(update={"submissions_per_team": None})
    spec = reading.cohort.spec.model_copy(update={"limits": limits})
    cohort: Cohort = reading.cohort.model_copy(
        update={"metadata": CohortMetadata(name=name), "spec": spec}
    )
    # One step for all, so that runs of the same number are pairs: they differ by the loadout alone.
    step = max((_step(f) for f in reading.files if f.loadout is not None), default=SEED_STEP)
    files = [
        seeded
        for file in reading.files
        for seeded in (_runs(file, num_seeds, step) if file.loadout is not None else [file])
    ]
    return replace(reading, cohort=cohort, files=tuple(files), side=True)


def job_name(team: str, number: int) -> str:
    """The name of a loadout's run; the first has number 0. Raises `Refused` for too long a name."""
    name = f"{team}-s{number}"
    if len(name) > MAX_LABEL:
        raise Refused(
            f"team {team!r} has {len(team)} characters; its runs are named {name!r}, and a name "
            f"has at most {MAX_LABEL}: give the loadout a shorter one"
        )
    return name


def _runs(file: LoadoutFile, num_seeds: int, step: int) -> list[LoadoutFile]:
    return [_seeded(file, number, step) for number in range(num_seeds)]


def _seeded(file: LoadoutFile, number: int, step: int) -> LoadoutFile:
    """The same loadout under another name, every seed of it moved by `number` steps."""
    assert file.loadout is not None
    root = values_of(file)
    for each in _with_seeds(file, root):
        each["seed"] = _moved(file.path, each["seed"], number * step, number)
    return renamed(file, root, job_name(file.loadout.team, number))


def _step(file: LoadoutFile) -> int:
    """How far seeds are moved, so that no two runs of a loadout have one in common."""
    assert file.loadout is not None
    seeds = [int(each["seed"]) for each in _with_seeds(file, values_of(file))]
    # Members without a seed of their own count on from the loadout's.
    seeds.append(seeds[0] + file.loadout.num_members)
    return SEED_STEP * (1 + (max(seeds) - min(seeds)) // SEED_STEP)


def _with_seeds(file: LoadoutFile, root: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of a loadout's values that hold a seed: its spec, and members with their own."""
    assert file.loadout is not None
    spec = root["spec"]
    spec.setdefault("seed", file.loadout.spec.seed)
    members = [m for bought in spec.get("purchases", ()) for m in bought.get("members", ())]
    return [spec, *(member for member in members if "seed" in member)]


def _moved(path: str, seed: int, by: int, number: int) -> int:
    moved = seed + by
    if moved > MAX_SEED:
        raise Refused(
            f"{path}: run {number} would have the seed {moved}; allowed is at most {MAX_SEED}: "
            "choose a smaller seed"
        )
    return moved


def data_label(source: str, fingerprint: str) -> str:
    """Part of a side cohort's name: what the data is called, and which version of it this is."""
    return f"{section_name(source)[:DATA_CHARS].rstrip('-')}-{fingerprint[:8]}"


def section_name(source: str) -> str:
    """What the data is called in a file of results: `drawn`, or its folder's name as a label."""
    name = re.sub(r"[^a-z0-9]+", "-", Path(source).name.lower()).strip("-")
    return name or "data"


def known_baseline(name: str | None, default: str, teams: Sequence[str]) -> str | None:
    """The loadout to compare with: the named one; by default `default`, where it is there.

    Raises `Refused` for a named one that is not among the loadouts.
    """
    if name is None:
        return default if default in teams else None
    if name not in teams:
        raise Refused(
            f"no loadout {name!r} to compare with; --baseline names one of {', '.join(teams)}"
        )
    return name


def balance(
    spent_bnn: Mapping[str, float],
    num_seeds: int,
    baseline: str | None,
    jobs: Sequence[Job],
    book: ScoreBook,
) -> Balance:
    """Sums the runs of each loadout up.

    Args:
        spent_bnn: of each loadout, by its name without the seed.
        num_seeds: runs of each.
        baseline: which of them the others are compared with.
        jobs: the side cohort's jobs.
        book: its scores.
    """
    newest = {job.team: job for job in newest_revisions(jobs)}
    accuracies: dict[str, tuple[float, ...]] = {}
    degraded: list[str] = []
    for team in spent_bnn:
        runs = [newest[job_name(team, number)] for number in range(num_seeds)]
        degraded += lost_members(runs)
        scores = [found for job in runs if (found := book.find(job)) is not None]
        accuracies[team] = tuple(score.accuracy for score in scores)
    means = {
        team: statistics.fmean(each) for team, each in accuracies.items() if len(each) == num_seeds
    }
    whole = {team: accuracies[team] for team in means}
    gains = _gains(whole, baseline, book.test_images)
    rows = [
        Row(
            loadout=team,
            spent_bnn=spent_bnn[team],
            accuracies=accuracies[team],
            mean=means.get(team),
            spread=statistics.stdev(accuracies[team]) if len(accuracies[team]) > 1 else None,
            gain_points=gains[team].points if team in gains else None,
            gain_half_points=gains[team].half_points if team in gains else None,
            kept=_kept(gains, team),
        )
        for team in spent_bnn
    ]
    rows.sort(key=lambda row: (-row.mean if row.mean is not None else math.inf, row.loadout))
    return Balance(
        cohort=book.cohort,
        num_seeds=num_seeds,
        baseline=baseline,
        test_images=book.test_images,
        test_images_left_out=book.test_images_left_out,
        rows=tuple(rows),
        degraded=tuple(degraded),
    )


def lost_members(jobs: Iterable[Job]) -> list[str]:
    """Of jobs that succeeded without all of their members: whose, and how many were left."""
    return [
        f"{job.team} ({job.members_trained} of {len(job.members)})"
        for job in jobs
        if job.phase is Phase.SUCCEEDED and job.members_trained < len(job.members)
    ]


@dataclass(frozen=True)
class _Gain:
    """What a loadout has above the baseline, in percentage points."""

    points: float
    half_points: float | None
    """Of its interval; None for one seed, which says nothing of luck."""


def _gains(
    accuracies: Mapping[str, Sequence[float]], baseline: str | None, num_images: int
) -> dict[str, _Gain]:
    """The gains of loadouts, from accuracies in the order of the seeds; the same seed is a pair."""
    if baseline is None or baseline not in accuracies:
        return {}
    gains: dict[str, _Gain] = {}
    for team, own in accuracies.items():
        points = [100 * (a - b) for a, b in zip(own, accuracies[baseline], strict=True)]
        mean, interval = statistics.fmean(points), interval_of_points(points, num_images)
        gains[team] = _Gain(mean, None if interval is None else interval[1] - mean)
    return gains


def _kept(gains: Mapping[str, _Gain], team: str) -> float | None:
    """Which share of `best`'s gain `best-without-ITEM` has; None where there is none to share."""
    name, without, _ = team.partition(WITHOUT)
    whole, gain = gains.get(name), gains.get(team)
    if not without or gain is None or whole is None or whole.points <= (whole.half_points or 0):
        return None
    return gain.points / whole.points
