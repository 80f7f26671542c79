"""`gamectl cancel`, `suspend`, `resume`, `retry`, `priority` on a real store, no Ray."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.admission.cohort import Retry
from orchestrator.phases import Blame, Reason
from orchestrator.settings import Settings
from orchestrator.state import Fault, Job, MemberKey
from orchestrator.store import Ledger, Store
from tests.orchestrator.cohorts import controller_elsewhere, new_job, submit
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.ray_head import free_port

DIVERGED = Fault(Reason.DIVERGED, "the loss is not a finite number", Blame.TEAM)


@pytest.fixture
def game(home: Path) -> Iterator[Store]:
    """The store that the commands use, with the jobs of two teams."""
    store = Store(Settings().store_url)
    submit(store, new_job("howling-pixels", num_members=3), new_job("apes"))
    yield store
    store.close()


@pytest.fixture
def controller(game: Store) -> Ledger:
    """A controller elsewhere that is at work on the cohort."""
    return controller_elsewhere(game)


def start(ledger: Ledger, job: Job, *members: int) -> None:
    for index in members:
        ledger.start(MemberKey(job.id, index), f"slot-{index}", "node", time.time())


def fail(ledger: Ledger, job: Job) -> None:
    start(ledger, job, 0)
    ledger.fail(MemberKey(job.id, 0), 1, DIVERGED, Retry(), time.time())


def by_team() -> dict[str, Any]:
    return {job["team"]: job for job in read_json("get", "jobs", "--cohort", "small")["jobs"]}


def test_a_suspended_job_stops_and_a_second_time_nothing_changes(
    game: Store, controller: Ledger
) -> None:
    start(controller, game.jobs("small")[0], 0, 2)
    first = gamectl("suspend", "howling-pixels", "apes")
    assert first.exit_code == 0, first.output
    assert first.stdout == (
        "howling-pixels: suspended; 2 members stop at the next batch\napes: suspended\n"
    )
    before = by_team()
    assert [before[team]["suspended"] for team in ("howling-pixels", "apes")] == [True, True]
    assert (before["apes"]["phase"], before["apes"]["reason"]) == ("Pending", "Suspended")
    again = gamectl("suspend", "howling-pixels", "apes")
    assert again.exit_code == 0
    assert again.stdout.count("is suspended already") == 2
    assert len(game.events("small", team="apes")) == 2


def test_a_cancelled_job_stops_and_a_second_time_nothing_changes(
    game: Store, controller: Ledger
) -> None:
    start(controller, game.jobs("small")[1], 0)
    assert gamectl("cancel", "apes").stdout == "apes: cancelled; 1 member stops at the next batch\n"
    assert by_team()["apes"]["phase"] == "Cancelled"
    again = gamectl("cancel", "apes", "apes")
    assert (again.exit_code, again.stdout) == (0, "apes: was cancelled already\n")


def test_without_a_controller_nobody_is_said_to_stop(game: Store) -> None:
    ledger = controller_elsewhere(game)
    start(ledger, game.jobs("small")[1], 0)
    ledger.release()  # as after a crash: the member is Running still
    assert gamectl("suspend", "apes").stdout == "apes: suspended\n"


def test_the_priority_is_changed_and_shown(game: Store) -> None:
    assert gamectl("priority", "apes", "200").stdout == "apes: priority 200 (was 100)\n"
    assert by_team()["apes"]["priority"] == 200
    assert gamectl("priority", "apes", "200").stdout == "apes: has priority 200 already\n"
    for wrong in ("0", "10001", "high"):
        refused = gamectl("priority", "apes", wrong)
        assert refused.exit_code == 2
        assert wrong in refused.stderr
    assert by_team()["apes"]["priority"] == 200


def test_every_problem_is_said_and_the_other_teams_get_what_they_want(game: Store) -> None:
    done = gamectl("cancel", "apse", "apes", "nobody-at-all", "--cohort", "small")
    assert done.exit_code == 1
    assert done.stdout == "apes: cancelled\n"
    first, second = done.stderr.splitlines()
    assert first.endswith("no team 'apse'; did you mean 'apes'?")
    assert second.endswith("no team 'nobody-at-all'; see `gamectl get jobs --cohort small`")


@pytest.mark.parametrize(
    "words",
    [["suspend", "apes"], ["resume", "apes"], ["priority", "apes", 7], ["priority", "apes", 100]],
)
def test_a_job_that_is_over_is_left_alone(game: Store, words: list[object]) -> None:
    game.cancel("small", "apes", 200.0)
    before = game.jobs("small")
    refused = gamectl(*words)
    assert refused.exit_code == 1
    assert "it has ended (Cancelled, CancelledByOrganizer)" in refused.stderr
    assert game.jobs("small") == before


def test_all_means_the_jobs_that_it_can_be_done_to(game: Store, controller: Ledger) -> None:
    submit(game, new_job("late"))
    game.cancel("small", "apes", 200.0)
    assert gamectl("suspend", "--all").stdout == "howling-pixels: suspended\nlate: suspended\n"
    resumed = gamectl("resume", "--all")
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stdout == (
        "howling-pixels: resumed; queued again\nlate: resumed; queued again\n"
    )
    assert "controller elsewhere:1 is at work" in resumed.stderr
    assert "no job is suspended" in gamectl("resume", "--all").stderr
    game.cancel("small", "howling-pixels", 300.0)
    game.cancel("small", "late", 300.0)
    none = gamectl("suspend", "--all")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "there is none to suspend" in none.stderr


def test_a_wrong_start_is_cancelled_and_taken_up_as_a_whole(
    game: Store, controller: Ledger
) -> None:
    assert gamectl("cancel", "--all").stdout == "howling-pixels: cancelled\napes: cancelled\n"
    assert "there is none to cancel" in gamectl("cancel", "--all").stderr
    assert "no job has failed" in gamectl("retry", "--failed").stderr
    again = gamectl("retry", "--all")
    assert again.stdout == "howling-pixels: queued again\napes: queued again\n"
    assert "no job has failed or was cancelled" in gamectl("retry", "--all").stderr


def test_a_team_that_was_withdrawn_is_in_no_list_until_it_hands_in_again(
    game: Store, controller: Ledger
) -> None:
    start(controller, game.jobs("small")[0], 0)
    fail(controller, game.jobs("small")[1])
    first = gamectl("withdraw", "howling-pixels", "apes")
    assert first.exit_code == 0, first.output
    assert first.stdout == (
        "howling-pixels: withdrawn; 1 member stops at the next batch\napes: withdrawn\n"
    )
    assert "apes: was withdrawn already" in gamectl("withdraw", "apes").stdout
    assert by_team() == {}
    shown = read_json("get", "jobs", "--all", "--cohort", "small")["jobs"]
    assert {(job["phase"], job["reason"]) for job in shown} == {("Superseded", "Withdrawn")}
    for command, *more in (["retry"], ["resume"], ["cancel"], ["priority", "100"]):
        refused = gamectl(command, "apes", *more)
        assert refused.exit_code == 1
        assert "submitted once more, brings the team back: `gamectl submit`" in refused.stderr
    assert gamectl("describe", "job", "apes").exit_code == 0
    submit(game, new_job("apes"), at=300.0)
    assert (by_team()["apes"]["phase"], by_team()["apes"]["revision"]) == ("Pending", 2)
    submit(game, new_job("apes"), at=400.0)  # that one is not made again
    assert by_team()["apes"]["revision"] == 2


def test_what_is_suspended_as_a_whole_goes_on_with_the_command_that_is_named(
    game: Store,
) -> None:
    gamectl("suspend", "--all")
    said = gamectl("get", "jobs").stderr
    assert "`gamectl resume --all --cohort small` lets them go on" in said
    game.resume("small", "apes", 300.0)
    assert "`gamectl resume --cohort small` starts one" in gamectl("get", "jobs").stderr


def test_a_name_that_stands_by_itself_gets_its_option(game: Store) -> None:
    said = gamectl("get", "job", "small").stderr
    assert "Did you mean --cohort small or `gamectl describe job small`?" in said
    said = gamectl("get", "events", "apes").stderr
    assert "Did you mean --cohort apes or --team apes?" in said


def test_failed_jobs_are_retried_and_others_refused(game: Store, controller: Ledger) -> None:
    assert "no job has failed" in gamectl("retry", "--failed").stderr
    fail(controller, game.jobs("small")[1])
    assert by_team()["apes"]["phase"] == "Failed"
    retried = gamectl("retry", "--failed")
    assert retried.exit_code == 0
    assert retried.stdout == (
        "apes: queued again; it will fail again (Diverged) unless its loadout is changed\n"
    )
    assert by_team()["apes"]["phase"] == "Pending"
    refused = gamectl("retry", "howling-pixels")
    assert refused.exit_code == 1
    assert (
        "has nothing to retry: its job (revision 1) is Pending and waits already" in refused.stderr
    )
    assert "`gamectl resume --cohort small` starts one" in refused.stderr


def test_a_suspended_job_is_resumed_rather_than_retried(game: Store) -> None:
    game.suspend("small", "apes", 200.0)
    refused = gamectl("retry", "apes")
    assert refused.exit_code == 1
    said = "is suspended; `gamectl resume apes --cohort small` lets it go on"
    assert said in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["cancel"],
        ["cancel", "apes", "--all"],
        ["suspend"],
        ["suspend", "apes", "--all"],
        ["resume", "apes", "--all"],
        ["retry"],
        ["retry", "apes", "--failed"],
        ["retry", "apes", "--all"],
    ],
)
def test_which_teams_must_be_said_once(game: Store, words: list[str]) -> None:
    before = game.jobs("small")
    assert gamectl(*words).exit_code == 2
    assert game.jobs("small") == before


def test_resume_without_a_team_lifts_no_suspension_and_says_where_nothing_is_left(
    game: Store,
) -> None:
    game.suspend("small", "apes", 200.0)
    game.cancel("small", "howling-pixels", 200.0)
    for words in (["resume"], ["resume", "--detach"]):
        done = gamectl(*words)
        assert done.exit_code == 0, done.output
        assert "nothing is left to run" in done.stderr
    assert by_team()["apes"]["suspended"] is True
    told = gamectl("resume").stderr
    assert "cohort small: 1 Cancelled, 1 Suspended\n" in told
    assert "1 job stays suspended: gamectl resume apes --cohort small\n" in told
    assert not (Settings().root / "controllers").exists()


def test_an_operation_that_is_refused_starts_nothing(game: Store) -> None:
    before = game.jobs("small")
    for words in (["resume", "nobody"], ["retry", "apes"]):
        assert gamectl(*words).exit_code == 1
    assert game.jobs("small") == before
    assert game.lease("small") is None


def test_cpus_are_for_a_ray_of_ones_own(game: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:10001")
    for words in (["resume"], ["retry", "apes"], ["controller"]):
        refused = gamectl(*words, "--cpus", "1")
        assert refused.exit_code == 1
        assert "RAY_ADDRESS names another" in refused.stderr


def test_a_ray_that_is_away_is_told_with_what_comes_after_it(
    game: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    gamectl("cancel", "apes")
    # In a process of its own: in this one a Ray may be at work, for other tests.
    words = [sys.executable, "-m", "orchestrator", "retry", "apes"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "apes: queued again\n")
    assert "nothing answers there" in done.stderr
    assert done.stderr.endswith("; `gamectl resume --cohort small` then runs what is left\n")


def test_operations_need_neither_torch_nor_ray(game: Store) -> None:
    script = """
import sys
from orchestrator.cli import main
sys.argv = ["gamectl", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    heavy = {"torch", "ray", "mlflow", "numpy", "rich"} & set(sys.modules)
    sys.exit(end.code or ", ".join(sorted(heavy)) or None)
"""
    for words in (["suspend", "apes"], ["priority", "apes", "7"], ["cancel", "apes"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
