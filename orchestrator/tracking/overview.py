"""What stands on top of a cohort's experiment: its description, and the views people choose from.

In: jobs, the runs that show them and, once they are published, scores. Out: texts for tags of the
experiment. Pure. Next on the path: `front_page`, which writes them.

MLflow shows the first line of a description, and the rest when it is unfolded. A view is what its
pages keep under "Views": columns, order and filter.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.phases import Phase
from orchestrator.results.leaderboard import places, standing, unranked
from orchestrator.state import Job, newest_revisions
from orchestrator.terminal.display import team_of
from orchestrator.tracking.runs import COUNTS, COUNTS_TAG

VIEW_TAG = "mlflow.sharedViewState."
TEAMS_VIEW, MEMBERS_VIEW = "teams", "members"
MOST_ROWS, MOST_CHARS = 80, 17_000
"""Of the table: an experiment's tag has 20,000 characters, and other words stand in it."""
GAP = "&emsp;"
"""Between the columns of a table, which MLflow draws without any."""

HOW_TO_READ = (
    "**How to read this page.** A team's job is one run, named after the team (`team r2` is its "
    "second revision); what it bought stands on the run's own page. The networks that it trained "
    "are the runs `team/0`, `team/1`, ... below it; their pages have the curves. *Views*, above, "
    "holds **Teams** (phase, accuracy and nuggets, one line a team) and **Members** (one line a "
    "network). Validation accuracy is measured on images that teams may look at; test accuracy "
    "decides, and is here once the organizer has published it.\n\n"
    "*gamectl keeps this text up to date; what you change in it is overwritten.*"
)


@dataclass(frozen=True)
class Score:
    """A job on the test set, with its 95 % interval."""

    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Published:
    """What the organizer has published: scores by the job's uid, and whose model was registered."""

    scores: Mapping[str, Score]
    champion: str | None = None
    """The registered model; None where no job has one."""
    report: str | None = None
    """A link to the report."""

    @property
    def accuracies(self) -> dict[str, float]:
        """On the test set, by the job's uid."""
        return {uid: score.accuracy for uid, score in self.scores.items()}

    def counting(self, jobs: Sequence[Job]) -> set[str]:
        """The uids of the jobs that the description's table lists: one for each team."""
        ranked = standing(jobs, self.accuracies, published=True)
        return {job.uid for job in [*ranked, *unranked(jobs, ranked)]}


NOTHING_YET = Published({})


def description(
    cohort: str, jobs: Sequence[Job], runs: Mapping[str, str], published: Published
) -> str:
    """The experiment's description, in Markdown; `runs` has the job's run, as a link, by uid."""
    newest = newest_revisions(jobs)
    accuracies = published.accuracies
    ranked = standing(jobs, accuracies, published=True)
    found = places(ranked, accuracies)
    rows = list(zip(map(str, found), ranked, strict=True))
    rows += [("", job) for job in unranked(jobs, ranked)]
    heads = ["team", "phase", "validation accuracy", "B NN spent", "members"]
    if ranked:
        heads = ["place", "team", "test accuracy", "95 % interval", *heads[1:]]
    lines = [_line(heads), "|" + ":--|" * len(heads)]
    num_chars = 0
    for place, job in rows[:MOST_ROWS]:
        name = team_of(job)
        team = f"[{name}]({runs[job.uid]})" if job.uid in runs else name
        cells = [team, job.phase, _percent(job.val_accuracy), f"{job.spent_bnn:g}", _members(job)]
        if ranked:
            cells = [place, team, *_test_cells(published.scores.get(job.uid)), *cells[1:]]
        line = _line(cells)
        num_chars += len(line) + 1
        if num_chars > MOST_CHARS:
            break
        lines.append(line)
    if num_left := len(rows) - (len(lines) - 2):
        lines += ["", f"... and {num_left} more teams."]
    first = ranked[: sum(place.rank == 1 for place in found)]
    parts = [_headline(cohort, newest, first, accuracies), "\n".join(lines), "&nbsp;"]
    if published.champion is not None:
        parts.append(
            f"The best network that MLflow can load is [{published.champion}]"
            f"(#/models/{published.champion}) in the model registry, with the alias `champion`."
        )
    if published.report is not None:
        parts.append(f"One page for the projector: [the report]({published.report}).")
    return "\n\n".join([*parts, HOW_TO_READ])


def views(cohort: str, made_at: float, is_published: bool) -> dict[str, str]:
    """The experiment's tags that hold its views; teams are in order of what is known of them."""
    accuracy = "metrics.`test_accuracy`" if is_published else "metrics.`val_accuracy`"
    figures = ["metrics.`val_accuracy`", "metrics.`spent_bnn`", "metrics.`num_members_trained`"]
    if is_published:
        figures.insert(0, accuracy)
    epochs = ["train_loss", "val_loss", "train_accuracy", "val_accuracy", "seconds"]
    teams = {
        "orderByKey": accuracy,
        # Members have no such tag. In order of a figure they would stand among the teams.
        "searchFilter": f"tags.cohort = '{cohort}' and tags.{COUNTS_TAG} = '{COUNTS}'",
        **_columns(["tags.`phase`", *figures, "attributes.`Models`"]),
    }
    members = {
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": True,
        "searchFilter": "tags.member != ''",
        **_columns(["tags.`phase`", *(f"metrics.`{name}`" for name in epochs), "tags.`attempt`"]),
    }
    return {
        VIEW_TAG + TEAMS_VIEW: _view("Teams", teams, made_at),
        VIEW_TAG + MEMBERS_VIEW: _view("Members", members, made_at),
    }


def _columns(columns: list[str]) -> dict[str, Any]:
    return {"selectedColumns": columns, "columnOrder": columns}


def _view(name: str, shown: Mapping[str, Any], made_at: float) -> str:
    state = {
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        **shown,
    }
    return json.dumps(
        {"name": name, "createdAt": round(made_at * 1000), "state": json.dumps(state)}
    )


def _headline(
    cohort: str, newest: Sequence[Job], first: Sequence[Job], accuracies: Mapping[str, float]
) -> str:
    """The line that is always to be seen; `first` are the jobs that share the first place."""
    phases = Counter(job.phase for job in newest)
    states = ", ".join(f"{phases[phase]} {phase}" for phase in Phase if phases[phase])
    teams = "1 team" if len(newest) == 1 else f"{len(newest)} teams"
    if first:
        several = f"{len(first)} teams share the first place"
        who = f"**{first[0].team}** won" if len(first) == 1 else several
        result = f"{who} with {accuracies[first[0].uid]:.1%} on the test set"
    else:
        result = "test accuracy is not published yet"
    return f"**{cohort}**: {teams} ({states}); {result}. Unfold this for all of them."


def _line(cells: Sequence[str]) -> str:
    return "| " + f"{GAP}| ".join(cells) + " |"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _test_cells(score: Score | None) -> list[str]:
    if score is None:
        return ["", ""]
    return [f"**{score.accuracy:.1%}**", f"{score.low:.1%} - {score.high:.1%}"]


def _members(job: Job) -> str:
    if job.phase is Phase.SUCCEEDED and job.members_trained < len(job.members):
        return f"{job.members_trained} of {len(job.members)}"
    return str(len(job.members))
