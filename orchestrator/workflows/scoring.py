"""The hidden test set, evaluated by the organizer, and published.

In: a cohort's succeeded jobs and the test images. Out: scores in the home folder; where asked to,
in MLflow too, with the report and the champion. Next on the path: `results.scoring` evaluates,
`publishing` shows.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from jobs.errors import TeamCodeError
from jobs.places import Where
from orchestrator import console
from orchestrator.errors import Damaged, Refused
from orchestrator.opening import open_store
from orchestrator.phases import Phase
from orchestrator.results.scorebook import (
    ScoreBook,
    read_published,
    read_scores,
    scoring_alone,
    write_scores,
)
from orchestrator.settings import Settings
from orchestrator.state import newest_revisions
from orchestrator.terminal.ranking import images_in_words

if TYPE_CHECKING:  # they import Pillow, SQLAlchemy and MLflow
    from jobs.image_folder import ImageFolder
    from orchestrator.store import Store
    from orchestrator.tracking.champion import Crowning

PUBLISHING_S = 10.0
"""About how long a small class takes, most of it loading MLflow and drawing."""
WAITING = "another `gamectl score` is at work on this cohort; waiting for it"


def score_and_publish(
    name: str,
    publish: bool,
    data: Where | None,
    settings: Settings,
    exclude_leaked: bool | None = None,
) -> None:
    """Scores a cohort and, where asked to, publishes.

    `data` are other images than the cohort was submitted with. Leaked test images are left out as
    the cohort says, unless `exclude_leaked` says otherwise. Raises `Refused` where there are no
    test images, or others than there should be.
    """
    from orchestrator.terminal.progress_bars import TORCH_S, progress, waiting

    with waiting("loading torch", TORCH_S):
        from jobs.duplicates import leaked_test_images
        from orchestrator import sources
        from orchestrator.admission.cohort import Cohort
        from orchestrator.artifacts import Artifacts
        from orchestrator.results import scoring

    with open_store(settings) as store:
        record = store.cohort(name)
        source = sources.source_again(record.data, data)
        counted = newest_revisions(store.jobs(name))
        trained = [job for job in counted if job.phase is Phase.SUCCEEDED]
        sizes_px = sorted({p.data.image_size_px for job in trained for p in store.plans(job.id)})
        rules = Cohort.stored(record.spec).spec
        skip_broken = rules.data.skip_broken_images
        decoded = sources.decode_source(source, sizes_px, skip_broken, settings, progress)
        if decoded.folder.classes != record.data.classes:
            raise Refused(
                f"{source} has other classes than the data of cohort {name!r}; name a folder that "
                f"has them: gamectl score --cohort {name} --data FOLDER"
            )
        scoring.need_test_images(decoded, source, f"gamectl score --cohort {name} --data FOLDER")
        expected = record.data.test_fingerprint or decoded.folder.test_fingerprint
        if data is None and decoded.folder.test_fingerprint != expected:
            raise Refused(
                f"the test images in {source} are not those of the submission any more; put them "
                f"back, or say that these are meant: gamectl score --cohort {name} --data {source}"
            )
        if exclude_leaked is None:
            exclude_leaked = rules.scoring.exclude_leaked
        left_out: frozenset[str] = frozenset()
        if exclude_leaked:
            if decoded.folder.fingerprint != record.data.fingerprint:
                raise Refused(
                    f"the training images in {source} are not those that cohort {name!r} trained "
                    "on, so leaks cannot be told; put them back, or score with --no-exclude-leaked"
                )
            with progress("looking for leaked test images") as show:
                left_out = leaked_test_images(decoded.folder, decoded.cache, show)
        failures: dict[str, Exception] = {}
        with scoring_alone(settings.scores, name, lambda: console.print_note(WAITING)):
            with progress("scoring the jobs") as show:
                book = scoring.score_cohort(
                    name,
                    trained,
                    rules.sandbox_rules,
                    store,
                    Artifacts(settings.artifacts),
                    decoded,
                    _newest(settings, name, decoded.folder.test_fingerprint, left_out),
                    show,
                    left_out,
                    failures.__setitem__,
                )
            going_on = [job for job in counted if not job.phase.terminal]
            if record.side:  # there what another call wanted is set aside
                going_on = [job for job in going_on if not job.suspended]
            if going_on:
                teams = ", ".join(f"{job.team} ({job.phase})" for job in going_on)
                console.print_note(
                    f"{len(going_on)} of {len(counted)} teams are not through, score again when "
                    f"they are: {teams}"
                )
            for team, error in failures.items():
                console.print_note(f"{team}: no score{_why(error)}: {error}")
            if not book.scores:
                raise Damaged("no job could be scored, so nothing was written")
            path = write_scores(settings.scores, book)
            images = images_in_words(book.test_images, book.test_images_left_out)
            console.print_note(f"scored on {images}: {len(book.scores)}, in {path}")
            # A team's own code is the team's; for anything else it would lose its place wrongly.
            lost = [team for team, e in failures.items() if not isinstance(e, TeamCodeError)]
            if publish and lost:
                raise Damaged(
                    f"nothing was published, as {', '.join(lost)} could not be scored: put back "
                    "what is missing, or take the team out with `gamectl withdraw`"
                )
            if publish:
                _publish(book, decoded.folder, store, settings)


def _newest(
    settings: Settings, name: str, test_fingerprint: str, left_out: Collection[str]
) -> ScoreBook | None:
    """The newest scores on these images; the published ones, where others were tried since."""
    newest = read_scores(settings.scores, name)
    if newest is not None and newest.measured_on(test_fingerprint, left_out):
        return newest
    return read_published(settings.scores, name)


def _publish(book: ScoreBook, images: "ImageFolder", store: "Store", settings: Settings) -> None:
    from orchestrator.terminal.progress_bars import waiting

    with waiting("publishing to MLflow", PUBLISHING_S) as show:
        from orchestrator.publishing import publish_cohort

        crowning = publish_cohort(book, images, store, settings, show)
    console.print_note(
        "published to MLflow; the report is `report.html` of the run `the whole cohort`\n"
        f"look at it: gamectl ui --cohort {book.cohort}, or here: "
        f"gamectl report --cohort {book.cohort}"
    )
    _say(crowning, book.cohort)


def _why(error: Exception) -> str:
    return ", its code failed" if isinstance(error, TeamCodeError) else ""


def _say(crowning: "Crowning", cohort: str) -> None:
    for team, why in crowning.passed_over:
        console.print_note(f"{team} is ahead and no champion: {why}")
    champion = crowning.champion
    if champion is None:
        console.print_note("no champion: no scored team has a model")
        return
    console.print_note(
        f"champion: {champion.job.team}, {champion.score.accuracy:.1%}; version {champion.version} "
        f"of the model {champion.model!r} in MLflow:\n  {champion.load}\n"
        f"try it: gamectl classify IMAGE --cohort {cohort}"
    )
