"""The store and the score book -> the values of the report, and of one team's part of it.

In: a cohort's jobs, attempts, epochs and receipts, and its scores where there are any. Out: a
`Report`. Next on the path: `pictures` for what it names, then `html`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from orchestrator.admission.cohort import Cohort
from orchestrator.phases import Phase
from orchestrator.report.curves import Series, line_chart
from orchestrator.report.page import (
    ClassName,
    Confusion,
    Figures,
    HardImage,
    MemberLine,
    ReceiptLine,
    Report,
    Said,
    Score,
    State,
    Team,
)
from orchestrator.report.timeline import Run, timeline
from orchestrator.results.leaderboard import scored, unranked, unscored
from orchestrator.results.scorebook import ScoreBook
from orchestrator.results.titles import Contender, Title, titles
from orchestrator.state import Attempt, Job, Member, newest_revisions
from orchestrator.store import Store
from orchestrator.terminal.lookup import controller_of

HARD_IMAGES_SHOWN = 24


def gather(store: Store, cohort: str, book: ScoreBook | None, now: float) -> Report:
    """Everything that is known of a cohort; raises `NotFound` for an unknown one.

    `book` are its scores, which are for the organizer alone unless they are published.
    """
    record = store.cohort(cohort)
    budget_bnn = float(Cohort.stored(record.spec).spec.budget)
    # Before the jobs are read: a controller that has ended by then has written everything.
    at_work = controller_of(store, cohort) is not None
    jobs = store.jobs(cohort)
    attempts = {job.id: store.attempts(job.id) for job in jobs}
    scores = scores_of(jobs, book)
    held = titles_of(jobs, book, budget_bnn)
    by_team: dict[str, list[str]] = {}
    for title in held:
        for team in title.teams:
            by_team.setdefault(team, []).append(title.name)
    by_uid, newest = {job.uid: job for job in jobs}, newest_revisions(jobs)
    ranked = [by_uid[uid] for uid in scores]
    shown = [*ranked, *unranked(jobs, ranked)]
    teams = tuple(
        team_of(
            store,
            job,
            attempts[job.id],
            number,
            scores.get(job.uid),
            now if at_work else None,
            by_team.get(job.team, ()),
        )
        for number, job in enumerate(shown)
    )
    numbers = {team.team: team.number for team in teams}
    hard = hard_images(jobs, book) if book else ()
    runs = [
        Run(
            attempt,
            job.team,
            numbers[job.team],
            len(job.members),
            None if at_work else _last_seen(store, attempt),
        )
        for job in jobs
        if job.team in numbers  # not of a team that was withdrawn
        for attempt in attempts[job.id]
    ]
    drawn = timeline(runs, now)
    return Report(
        cohort=cohort,
        state=state_of(book),
        made_at=now,
        budget_bnn=budget_bnn,
        # Of what was scored: the cohort may have been handed in on other photos since.
        classes=class_names(book.classes if book else record.data.classes),
        test_images=book.test_images if book else 0,
        test_images_left_out=book.test_images_left_out if book else 0,
        figures=_figures(shown, runs, len(drawn.rows) if drawn else 0, now),
        teams=teams,
        titles=held,
        hard_images=hard[:HARD_IMAGES_SHOWN],
        num_hard_images=len(hard),
        answers_known=book is not None and book.tells_images,
        unscored=tuple(job.team for job in unscored(jobs, book)),
        at_work=tuple(job.team for job in newest if not job.phase.terminal),
        timeline=drawn,
    )


def state_of(book: ScoreBook | None) -> State:
    """How far a cohort's results may be shown."""
    if book is None:
        return "unscored"
    return "published" if book.published else "unpublished"


def class_names(classes: Sequence[str]) -> tuple[ClassName, ...]:
    """The classes by name; those of the game's own images, n0 to n9, with their species."""
    from jobs.drawn_monkeys import known_species

    species = known_species(classes)
    return tuple(ClassName(name, species.get(name, "")) for name in classes)


def scores_of(jobs: Sequence[Job], book: ScoreBook | None) -> dict[str, Score]:
    """The scores of the jobs that count, by the job's uid, the best first."""
    if book is None:
        return {}
    return {
        job.uid: Score(
            place.rank,
            place.shared,
            score.accuracy,
            score.accuracy_low,
            score.accuracy_high,
            score.macro_recall,
            Confusion(score.confusion),
        )
        for job, score, place in scored(jobs, book)
    }


def titles_of(jobs: Sequence[Job], book: ScoreBook | None, budget_bnn: float) -> tuple[Title, ...]:
    """Who holds which title; none before the first scoring."""
    if book is None:
        return ()
    contenders = [
        Contender(
            job.team,
            place.rank,
            score.accuracy,
            score.recall_per_class,
            job.spent_bnn,
            len(job.members),
        )
        for job, score, place in scored(jobs, book)
    ]
    return titles(contenders, book.classes, budget_bnn)


def hard_images(jobs: Sequence[Job], book: ScoreBook) -> tuple[HardImage, ...]:
    """The test images that more than half of the teams got wrong, the hardest first."""
    if not book.tells_images:
        return ()
    scores = [score for _, score, _ in scored(jobs, book)]
    found = []
    for row, image in enumerate(book.images):
        answers = [(score.team, score.predicted[row]) for score in scores]
        wrong = Counter(label for _, label in answers if label != image.label)
        if 2 * wrong.total() > len(answers):
            found.append(
                HardImage(
                    sha256=image.sha256,
                    label=image.label,
                    num_wrong=wrong.total(),
                    num_teams=len(answers),
                    said=tuple(Said(*each) for each in wrong.most_common()),
                    right=tuple(team for team, label in answers if label == image.label),
                )
            )
    return tuple(sorted(found, key=lambda image: (-image.num_wrong, image.label, image.sha256)))


def team_of(
    store: Store,
    job: Job,
    attempts: Sequence[Attempt],
    number: int,
    score: Score | None,
    now: float | None,
    held: Sequence[str],
) -> Team:
    """One team's part: its receipt, its networks and their curves.

    Of an attempt that nobody has ended the time is up to `now`; where that is None, as without a
    controller at work, up to when it was heard of last.
    """
    _, receipt = store.document(job.id)
    told = {member.index: _epochs(store, member) for member in job.members}
    own_code = any(plan.custom is not None for plan in store.plans(job.id))
    return Team(
        number=number,
        team=job.team,
        revision=job.revision,
        phase=str(job.phase),
        reason=str(job.reason),
        message=job.message,
        spent_bnn=job.spent_bnn,
        budget_bnn=float(receipt["budget_bnn"]),
        receipt=tuple(
            ReceiptLine(str(line["title"]), int(line.get("quantity", 1)), float(line["total_bnn"]))
            for line in receipt["lines"]
        ),
        combine=job.combine,
        members=tuple(
            _member(
                member,
                told[member.index],
                sum(_took(store, each, now) for each in attempts if each.key == member.key),
            )
            for member in job.members
        ),
        num_members_trained=job.members_trained,
        val_accuracy=job.val_accuracy,
        accuracy_curves=line_chart(_series(told, "accuracy"), _in_words(told), top=1.0),
        loss_curves=line_chart(_series(told, "loss"), _losses_in_words(told), top=None),
        self_reported=own_code,
        score=score,
        titles=tuple(held),
    )


Epochs = Mapping[str, tuple[float, ...]]
"""By the name of the figure, after each epoch."""
FIGURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def _epochs(store: Store, member: Member) -> Epochs:
    # A further attempt tells its history again.
    reports = [report for _, report in store.history(member.key.job_id, member.index)]
    return {name: tuple(getattr(report, name) for report in reports) for name in FIGURES}


def _series(told: Mapping[int, Epochs], figure: str) -> list[Series]:
    """Training behind validation."""
    train = [Series(each[f"train_{figure}"], index, dashed=True) for index, each in told.items()]
    return [*train, *(Series(each[f"val_{figure}"], index) for index, each in told.items())]


def _in_words(told: Mapping[int, Epochs]) -> str:
    parts = [
        f"network {index} from {known[0]:.1%} to {known[-1]:.1%} in {len(known)} epochs"
        for index, each in told.items()
        if (known := each["val_accuracy"])
    ]
    return f"Validation accuracy by epoch: {'; '.join(parts)}"


def _losses_in_words(told: Mapping[int, Epochs]) -> str:
    parts = [
        f"network {index} from {known[0]:.2f} to {known[-1]:.2f}"
        for index, each in told.items()
        if (known := each["val_loss"])
    ]
    return f"Validation loss by epoch: {'; '.join(parts)}"


def _last_seen(store: Store, attempt: Attempt) -> float | None:
    """When an attempt that nobody ended was heard of last; None of one that has ended."""
    if attempt.ended_at is not None:
        return None
    told = store.epochs(attempt.key.job_id, attempt.key.index, attempt.number)
    return told[-1][0] if told else attempt.started_at


def _took(store: Store, attempt: Attempt, now: float | None) -> float:
    ends_at = attempt.ended_at or now or _last_seen(store, attempt)
    return (ends_at or attempt.started_at) - attempt.started_at


def _member(member: Member, told: Epochs, seconds: float) -> MemberLine:
    known = told["val_accuracy"]
    best = max(range(len(known)), key=lambda epoch: known[epoch]) + 1 if known else None
    return MemberLine(
        index=member.index,
        phase=str(member.phase),
        epoch=member.epoch,
        epochs=member.epochs,
        first_val_accuracy=known[0] if known else None,
        val_accuracy=member.val_accuracy,
        best_epoch=best,
        val_accuracies=known,
        seconds=seconds,
    )


def _figures(newest: Sequence[Job], runs: Sequence[Run], num_slots: int, now: float) -> Figures:
    members = [member for job in newest for member in job.members]
    return Figures(
        num_teams=len(newest),
        num_networks=sum(member.phase is Phase.SUCCEEDED for member in members),
        num_epochs=sum(member.epoch for member in members),
        num_slots=num_slots,
        slot_seconds=sum(run.ends_at(now) - run.attempt.started_at for run in runs),
    )
