"""What people want of a cohort: operations, limits on submissions, and clients that race."""

from dataclasses import replace

import pytest

from jobs.plan import CustomPlan
from orchestrator.admission.cohort import Retry
from orchestrator.errors import NotFound, Refused
from orchestrator.phases import Blame, Phase, Reason
from orchestrator.state import Fault, Job, MemberKey, newest_revisions
from orchestrator.store import JobResult, Ledger, NewJob, Standing, Store
from tests.orchestrator.cohorts import DATA, TRAINED, cohort, epoch, new_job, start, submit, take
from tests.orchestrator.racing import at_once

KEY = MemberKey(1, 0)
DIVERGED = Fault(Reason.DIVERGED, "nan", Blame.TEAM)
DISK_FULL = Fault(Reason.STORAGE, "disk full", Blame.CLUSTER)


@pytest.fixture
def store(each_store: Store) -> Store:
    return each_store


def members(job: Job) -> list[tuple[Phase, str]]:
    return [(member.phase, member.reason) for member in job.members]


# --- operations -----------------------------------------------------------------------------------


def test_a_job_is_cancelled_beside_its_controller(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    ledger = take(store)
    start(ledger, KEY)
    altered = store.cancel("small", "a", 105.0)
    assert (altered.before.phase, altered.after.phase) == (Phase.RUNNING, Phase.CANCELLED)
    assert store.job(1) == altered.after
    running = Phase.RUNNING, Reason.TRAINING
    assert members(altered.after) == [running, (Phase.CANCELLED, Reason.JOB_ENDED)]
    again = store.cancel("small", "a", 106.0)
    assert again.before == again.after == altered.after
    assert [e.reason for e in store.events("small")].count(Reason.CANCELLED_BY_ORGANIZER) == 1
    stopped = ledger.halt(KEY, 1, 107.0)
    assert members(stopped)[0] == (Phase.CANCELLED, Reason.JOB_ENDED)


def test_a_suspended_job_keeps_what_it_has_learnt_until_it_is_resumed(store: Store) -> None:
    submit(store, new_job("a", num_members=2, epochs=4))
    ledger = take(store)
    start(ledger, KEY)
    ledger.record_epochs([(KEY, 1, epoch(1), 102.0)])
    suspended = store.suspend("small", "a", 105.0).after
    assert (suspended.suspended, suspended.phase) == (True, Phase.RUNNING)
    halted = ledger.halt(KEY, 1, 107.0)
    assert (halted.phase, halted.reason) == (Phase.PENDING, Reason.SUSPENDED)
    assert members(halted) == [(Phase.PENDING, Reason.SUSPENDED)] * 2
    assert (halted.members[0].epoch, halted.active_seconds) == (1, 6.0)
    resumed = store.resume("small", "a", 200.0).after
    assert (resumed.suspended, resumed.queued_at, resumed.reason) == (False, 200.0, Reason.QUEUED)
    assert store.job(1) == resumed
    assert start(ledger, KEY, at=201.0) == 2


def test_a_failed_job_is_retried_from_where_it_was(store: Store) -> None:
    submit(store, new_job("a", num_members=2))
    ledger, other = take(store), MemberKey(1, 1)
    ledger.succeed(KEY, start(ledger, KEY), TRAINED, 110.0)
    ledger.fail(other, start(ledger, other), DISK_FULL, Retry(cluster_retries=0), 112.0)
    retried = store.retry("small", "a", 200.0).after
    assert (retried.phase, retried.blame, retried.ended_at) == (Phase.PENDING, None, None)
    assert members(retried) == [
        (Phase.SUCCEEDED, Reason.COMPLETED),
        (Phase.PENDING, Reason.QUEUED),
    ]
    assert store.job(1) == retried
    assert start(ledger, other, at=201.0) == 2
    ledger.succeed(other, 2, TRAINED, 210.0)
    assert ledger.finish(1, JobResult(0.5), 211.0).phase is Phase.SUCCEEDED


def test_operations_are_on_the_newest_revision(store: Store) -> None:
    submit(store, new_job("a"))
    submit(store, new_job("a", seed=1))
    assert store.prioritize("small", "a", 105.0, 300).after.revision == 2
    assert [(job.revision, job.priority) for job in store.jobs("small")] == [(1, 100), (2, 300)]


def test_operations_that_are_refused_change_nothing(store: Store) -> None:
    submit(store, new_job("a"))
    store.cancel("small", "a", 105.0)
    before, told = store.jobs("small"), store.events("small")
    for operation in (store.suspend, store.resume):
        with pytest.raises(Refused, match="it has ended"):
            operation("small", "a", 106.0)
    assert (store.jobs("small"), store.events("small")) == (before, told)


def test_an_unknown_team_or_cohort_is_answered_with_what_there_is(store: Store) -> None:
    with pytest.raises(NotFound, match="no cohort 'small'; nothing was submitted yet"):
        store.cancel("small", "a", 105.0)
    submit(store, new_job("capuchins"))
    with pytest.raises(NotFound, match=r"no team 'capuchin'; did you mean 'capuchins'\?"):
        store.cancel("small", "capuchin", 105.0)
    with pytest.raises(NotFound, match="no team 'x'; see `gamectl get jobs --cohort small`"):
        store.retry("small", "x", 105.0)
    with pytest.raises(NotFound, match="no cohort 'smal'; there are: small"):
        store.suspend("smal", "capuchins", 105.0)


# --- limits ---------------------------------------------------------------------------------------


def test_what_is_over_keeps_the_price_it_was_judged_by(store: Store) -> None:
    dearer = replace(new_job("b"), receipt={"lines": [], "total_bnn": 7, "budget_bnn": 100})
    submit(store, new_job("a"), new_job("b"))
    take(store).give_up(1, Fault(Reason.STORAGE, "lost", Blame.TEAM), 1001.0)
    submit(store, replace(dearer, team="a"), dearer, at=1002.0)
    assert [job.spent_bnn for job in store.jobs("small")] == [0, 7]
    assert store.document(1)[1]["total_bnn"] == 0


def test_a_retry_asks_for_as_many_members_as_are_wanted_now(store: Store) -> None:
    several = new_job("a", num_members=3, min_members=3)
    submit(store, several)
    ledger = take(store)
    ledger.fail(KEY, start(ledger, KEY), DIVERGED, Retry(), 105.0)
    assert store.job(1).phase is Phase.FAILED
    (same,) = submit(store, replace(several, min_members=2), at=110.0)
    assert (same.created, same.retry_needs) == (False, 2)
    assert (store.job(1).phase, store.job(1).min_members) == (Phase.FAILED, 2)
    (again,) = submit(store, replace(several, min_members=2), at=111.0)
    assert again.retry_needs is None


def test_more_members_than_are_left_are_another_revision(store: Store) -> None:
    several = new_job("a", num_members=3, min_members=1)
    submit(store, several)
    ledger = take(store)
    ledger.fail(KEY, start(ledger, KEY), DIVERGED, Retry(), 105.0)
    (same,) = submit(store, replace(several, min_members=2), at=110.0)
    assert (same.created, store.job(1).min_members) == (False, 2)
    (anew,) = submit(store, replace(several, min_members=3), at=111.0)
    assert (anew.created, anew.revision) == (True, 2)
    assert store.job(1).phase is Phase.SUPERSEDED


def test_a_team_hands_in_as_many_revisions_as_it_may(store: Store) -> None:
    for seed in range(2):
        submit(store, new_job("a", seed=seed), new_job("b"), submissions_per_team=2)
    assert submit(store, new_job("a", seed=1), submissions_per_team=2)[0].created is False
    used_up = (
        "^team 'a' has handed in 2 revisions, cohort 'small' allows 2 "
        r"\(limits.submissionsPerTeam\); "
        "revisions that failed by the cluster's fault, or were withdrawn, are not counted$"
    )
    with pytest.raises(Refused, match=used_up):
        submit(store, new_job("a", seed=2), new_job("c"), submissions_per_team=2)
    assert [job.team for job in store.jobs("small")] == ["a", "b", "a"], "all or nothing"


def test_every_team_that_has_used_up_its_submissions_is_named(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"), new_job("c"))
    with pytest.raises(Refused) as caught:
        submit(
            store, new_job("b", seed=1), new_job("a", seed=1), new_job("c"), submissions_per_team=1
        )
    assert "team 'a' has handed in 1 revision, cohort" in str(caught.value)
    assert "team 'b' has handed in 1 revision, cohort" in str(caught.value)
    assert "team 'c'" not in str(caught.value)


def test_revisions_that_the_cluster_failed_are_not_counted(store: Store) -> None:
    submit(store, new_job("a"), submissions_per_team=1)
    ledger = take(store)
    ledger.fail(KEY, start(ledger, KEY), DISK_FULL, Retry(cluster_retries=0), 105.0)
    (changed,) = submit(store, new_job("a", seed=1), submissions_per_team=1)
    assert (changed.revision, changed.created) == (2, True)
    with pytest.raises(Refused, match="has handed in 1 revision, "):
        submit(store, new_job("a", seed=2), submissions_per_team=1)


def test_what_the_organizer_changes_uses_up_nobodys_submissions(store: Store) -> None:
    mine = new_job("a").loadout
    submit(store, new_job("a"), submissions_per_team=1)
    (changed,) = submit(store, replace(new_job("a", seed=1), loadout=mine), submissions_per_team=1)
    assert (changed.revision, changed.created) == (2, True)
    remarked = replace(new_job("a", seed=2), loadout=f"# better\n{mine}")
    assert submit(store, remarked, submissions_per_team=1)[0].revision == 3
    for other in (new_job("a", seed=4), with_code(replace(new_job("a", seed=3), loadout=mine))):
        with pytest.raises(Refused, match="has handed in 1 revision, "):
            submit(store, other, submissions_per_team=1)


def with_code(job: NewJob) -> NewJob:
    """The job with a team's own code, whose text its loadout does not have."""
    code = CustomPlan(file="own.py", source="x = 1", defines=("build_model",))
    plans = tuple(plan.model_copy(update={"custom": code}) for plan in job.plans)
    return replace(job, plans=plans)


# --- races ----------------------------------------------------------------------------------------


def trained(store: Store, ledger: Ledger, team: str) -> MemberKey:
    submit(store, new_job(team))
    key = MemberKey(store.jobs("small")[-1].id, 0)
    ledger.succeed(key, start(ledger, key), TRAINED, 110.0)
    return key


def test_a_team_that_was_withdrawn_is_in_nobodys_way(store: Store) -> None:
    submit(store, new_job("a"), new_job("b"), submissions_per_team=1)
    store.withdraw("small", "a", 150.0)
    (again,) = submit(store, new_job("a"), submissions_per_team=1)  # that one does not count
    assert (again.created, again.revision) == (True, 2)
    store.withdraw("small", "a", 160.0)
    other, job = replace(DATA, fingerprint="g"), new_job("b")
    (plan,) = job.plans
    seen = plan.data.model_copy(update={"fingerprint": "g"})
    job = replace(job, plans=(plan.model_copy(update={"data": seen}),))
    store.submit("small", cohort().model_dump(mode="json", by_alias=True), other, [job], 200.0)
    assert [job.team for job in newest_revisions(store.jobs("small"))] == ["b"]


def test_a_finish_after_a_cancel_changes_nothing(store: Store) -> None:
    ledger = take(store)
    key = trained(store, ledger, "a")
    cancelled = store.cancel("small", "a", 111.0).after
    assert ledger.finish(key.job_id, JobResult(0.5), 112.0) == cancelled


def test_a_cancel_and_a_finish_that_race_are_put_in_order(store: Store) -> None:
    ledger = take(store)
    for number in range(8):
        team = f"team-{number}"
        key = trained(store, ledger, team)
        raised = at_once(
            lambda team=team: store.cancel("small", team, 111.0),
            lambda key=key: ledger.finish(key.job_id, JobResult(0.5), 111.0),
        )
        job = store.job(key.job_id)
        told = [e.reason for e in store.events("small", team=team) if e.member is None][1:]
        if job.phase is Phase.SUCCEEDED:  # the cancel came second, and was told so
            assert [type(error) for error in raised] == [Refused]
            assert (told, job.val_accuracy) == ([Reason.COMPLETED], 0.5)
        else:
            assert (job.phase, raised, job.val_accuracy) == (Phase.CANCELLED, [], None)
            assert told == [Reason.CANCELLED_BY_ORGANIZER]


@pytest.mark.parametrize("operation", ["cancel", "suspend"])
def test_a_member_that_is_not_wanted_any_more_is_not_started(store: Store, operation: str) -> None:
    submit(store, new_job("a"))
    ledger = take(store)
    after = getattr(store, operation)("small", "a", 101.0).after
    assert ledger.start(KEY, "slot-0", "node", 102.0) == after
    assert after.members[0].phase is not Phase.RUNNING
    assert store.attempts(1) == ()


def test_operations_of_many_clients_are_all_kept(store: Store) -> None:
    teams = [f"team-{number}" for number in range(8)]
    submit(store, *map(new_job, teams))
    seen = store.changes("small", 0).last_event_id
    calls = [lambda team=team: store.prioritize("small", team, 105.0, 7) for team in teams]
    assert at_once(*calls) == []
    assert [job.priority for job in store.changes("small", seen).jobs] == [7] * 8


def test_organizers_who_hand_in_at_once_each_check_the_rules_that_theirs_replace(
    store: Store,
) -> None:
    submit(store, new_job("a"))
    told: list[tuple[int, int, list[str]]] = []

    def hand_in(budget: int) -> None:
        spec = cohort(budget=budget).model_dump(mode="json", by_alias=True)

        def check(standing: Standing) -> None:
            told.append((standing.rules["spec"]["budget"], budget, list(standing.stay)))
            if budget == 7:
                raise Refused("seven")

        jobs = [new_job(f"team-{budget}")]
        store.submit("small", spec, DATA, jobs, at=101.0, check=check)

    budgets = range(5, 9)
    raised = at_once(*(lambda budget=budget: hand_in(budget) for budget in budgets))
    assert [str(error) for error in raised] == ["seven"]
    teams, before = {"a"}, 100
    for was, now, stay in told:  # in one order, in which each sees what the one before has done
        assert (was, stay) == (before, sorted(teams))
        if now != 7:
            before, teams = now, teams | {f"team-{now}"}
    assert {job.team for job in store.jobs("small")} == teams
