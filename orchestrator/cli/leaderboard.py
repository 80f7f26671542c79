"""`gamectl leaderboard`: who won.

In: jobs and scores. Out: a ranking as a table or JSON.
"""

import click

from orchestrator import console
from orchestrator.cli.common import cohort_option, output_option
from orchestrator.errors import NotFound
from orchestrator.opening import open_store, pick_cohort
from orchestrator.results.leaderboard import leaderboard
from orchestrator.results.scorebook import read_published, read_scores
from orchestrator.settings import Settings
from orchestrator.terminal.ranking import print_leaderboard


@click.command(
    "leaderboard",
    epilog="""\b
    Example:
      gamectl leaderboard --cohort demo
      gamectl leaderboard --cohort demo -o json""",
)
@cohort_option
@output_option
def command(cohort: str | None, output: str) -> None:
    """Rank a cohort's scored teams by accuracy on the test set.

    Of each team its newest revision counts, whatever became of it; of published scores the newest
    one that was scored, until scores are published again. Ties go to the team that spent
    less, then to the earlier submission; teams that are level in that, too, share a place: 1=, 1=,
    3. The interval is Wilson's, at 95 %.
    """
    settings = Settings()
    with open_store(settings) as store:
        name = pick_cohort(store, cohort).name
        book = read_scores(settings.scores, name)
        if book is None:
            raise NotFound(
                f"cohort {name!r} has no scores yet; `gamectl score --cohort {name}` makes them"
            )
        board = leaderboard(store.jobs(name), book)
    if output == "json":
        console.print_json(board.to_dict())
    else:
        print_leaderboard(board, read_published(settings.scores, name) is not None)
