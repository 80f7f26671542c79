"""`gamectl get`: a cohort in every state, as tables of 80 columns and as JSON."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.get import _changing_jobs
from orchestrator.settings import Settings
from orchestrator.state import MemberKey
from orchestrator.store import Store
from orchestrator.terminal.lookup import nobody_at_work
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.commands import gamectl, read_json
from tests.orchestrator.states import EPOCHS, Game, every_state

JOB_KEYS = [
    "cohort", "team", "revision", "phase", "reason", "message", "blame", "priority", "suspended",
    "position", "expected_finish", "val_accuracy", "spent_bnn", "num_members", "members_trained",
    "min_members", "submitted_at", "started_at", "ended_at", "active_seconds",
    "slot_seconds", "members",
]  # fmt: skip
MEMBER_KEYS = [
    "index", "phase", "reason", "message", "blame", "attempt", "team_failures", "cluster_failures",
    "not_before", "slot", "node", "started_at", "ended_at", "epoch", "epochs", "val_accuracy",
]  # fmt: skip


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The store that the commands find."""
    store = Store(Settings().store_url)
    yield store
    store.close()


@pytest.fixture
def game(store: Store, monkeypatch: pytest.MonkeyPatch) -> Game:
    """A cohort in every state; the commands think that their terminal has 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return every_state(store, time.time() - 100)


def rows(text: str) -> dict[str, list[str]]:
    """A table's rows by their first word."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()[1:] if line.strip()}


def test_jobs_as_a_table(game: Game) -> None:
    shown = gamectl("get", "jobs")
    assert shown.exit_code == 0
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())
    table = rows(shown.stdout)
    assert table["quiet-apes"] == ["Succeeded", "20/20", "58.4%", "41s"]
    assert table["wild"] == ["Failed", "Diverged", "✗4/20", "38.0%", "16s"]
    assert table["flaky"][:2] == ["Running", "BackOff"]
    assert table["sleepy"] == ["Pending", "Suspended", "0/20", "-"]
    assert table["swing-state"][:4] == ["Pending", "Queued", "0/20", "#2,"]
    assert table["swing-state"][4].startswith("~")
    assert table["gone"] == ["Cancelled", "0/20"]
    assert table["revised"][:2] == ["r2", "Pending"]
    assert "Degraded" in shown.stdout
    assert shown.stderr == ""


def test_a_narrow_terminal_gets_fewer_columns(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = gamectl("get", "jobs").stdout
    assert all(len(line) <= 60 for line in shown.splitlines())
    assert shown.splitlines()[0].split() == ["team", "phase", "epochs", "val", "expected"]
    assert rows(shown)["howling-pixels"] == ["Degraded", "20/20", "+3", "✗1", "61.3%"]


def test_jobs_as_json(game: Game) -> None:
    told = read_json("get", "jobs")
    assert (told["cohort"], told["controller"]) == ("small", "test")
    jobs = {job["team"]: job for job in told["jobs"]}
    assert all(list(job) == JOB_KEYS for job in jobs.values())
    assert all(list(m) == MEMBER_KEYS for job in jobs.values() for m in job["members"])
    pixels = jobs["howling-pixels"]
    assert (pixels["num_members"], pixels["members_trained"], pixels["min_members"]) == (4, 3, 3)
    assert pixels["reason"] == "Degraded"
    assert pixels["message"].startswith("3 of 4 members; lost member 2: ")
    assert pixels["slot_seconds"] == pytest.approx(3 * 41 + 10)
    assert pixels["active_seconds"] == pytest.approx(41)
    assert (jobs["tree-huggers"]["position"], jobs["revised"]["position"]) == (1, 3)
    now = time.time()
    assert jobs["tree-huggers"]["expected_finish"] > now
    assert jobs["sleepy"]["suspended"] is True
    assert jobs["sleepy"]["expected_finish"] is None
    (flaky,) = jobs["flaky"]["members"]
    assert (flaky["cluster_failures"], flaky["team_failures"]) == (1, 0)
    assert flaky["not_before"] == pytest.approx(game.began_at + 51)


def test_older_revisions_are_listed_when_asked_for(game: Game) -> None:
    assert len(read_json("get", "jobs")["jobs"]) == 12
    every = read_json("get", "jobs", "--all")["jobs"]
    assert [j["phase"] for j in every if j["team"] == "revised"] == ["Superseded", "Pending"]


def test_without_a_controller_no_time_is_promised_and_it_is_said_how_to_go_on(
    game: Game,
) -> None:
    game.ledger.release()
    shown = gamectl("get", "jobs")
    assert rows(shown.stdout)["tree-huggers"] == ["Pending", "Queued", "0/20", "#1"]
    assert "`gamectl resume --cohort small`" in shown.stderr
    assert "of which 1 suspended; no controller" in shown.stderr
    job = next(j for j in read_json("get", "jobs")["jobs"] if j["team"] == "tree-huggers")
    assert (job["position"], job["expected_finish"]) == (1, None)
    (cohort,) = read_json("get", "cohorts")["cohorts"]
    assert cohort["controller"] is None
    game.store.resume("small", "sleepy", time.time())
    assert "not over; no controller is at work" in gamectl("get", "jobs").stderr


def test_a_side_cohort_is_meant_only_where_it_is_named(store: Store) -> None:
    submit(store, new_job("whole-s0"), at=3.0, name="side", side=True)
    nothing = gamectl("get", "jobs")
    assert nothing.exit_code == 1
    assert "--cohort side names the newest" in nothing.stderr
    submit(store, new_job("apes"), at=1.0)
    shown = gamectl("get", "jobs", "-o", "json")
    assert json.loads(shown.stdout)["jobs"][0]["team"] == "apes"
    assert "submitted last" not in shown.stderr, "there is only one that could be meant"
    assert read_json("get", "jobs", "--cohort", "side")["jobs"][0]["team"] == "whole-s0"
    cohorts = {each["name"]: each["side"] for each in read_json("get", "cohorts")["cohorts"]}
    assert cohorts == {"side": True, "small": False}
    listed = gamectl("get", "cohorts")
    assert listed.stdout.splitlines()[1].startswith("side *")
    assert listed.stderr.startswith("* a side cohort, of ablate or balance")
    submit(store, new_job("whole-s0"), at=4.0, name="side")  # somebody's own, from now on
    assert store.cohort("side").side is False


def test_priority_moves_a_job_up_the_queue(store: Store) -> None:
    teams = ("apes", "bears", "cats")
    submit(store, *(new_job(team) for team in teams), at=time.time() - 100)
    game = Game(store, time.time() - 100)
    store.prioritize("small", "cats", game.began_at, 200)
    jobs = {job["team"]: job for job in read_json("get", "jobs")["jobs"]}
    assert (jobs["cats"]["priority"], jobs["cats"]["position"]) == (200, 1)


def test_events_of_all_teams_and_of_one(game: Game) -> None:
    every = read_json("get", "events")["events"]
    assert list(every[0]) == [
        "cohort", "id", "at", "kind", "team", "revision", "member", "reason", "message",
    ]  # fmt: skip
    assert [e["id"] for e in every] == sorted(e["id"] for e in every)
    mine = read_json("get", "events", "--team", "wild")["events"]
    assert mine == [event for event in every if event["team"] == "wild"]
    assert [e["reason"] for e in mine] == [
        "Queued", "Training", "BackOff", "Training", "Diverged", "MemberFailed",
    ]  # fmt: skip
    shown = gamectl("get", "events", "--team", "wild").stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "wild/0" in shown
    unknown = gamectl("get", "events", "--team", "wilt")
    assert unknown.exit_code == 1
    assert "did you mean 'wild'?" in unknown.stderr


def over(store: Store) -> None:
    """A cohort of one job that has ended."""
    submit(store, new_job("apes", epochs=EPOCHS), at=time.time() - 100)
    game = Game(store, time.time() - 100)
    game.start("apes")
    game.train("apes")
    game.finish("apes", 0.5)
    game.ledger.release()


def test_a_narrow_terminal_breaks_no_reason_of_an_event(
    game: Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = gamectl("get", "events").stdout
    words = set(shown.split())
    assert {event["reason"] for event in read_json("get", "events")["events"]} <= words
    assert all(len(line) <= 60 for line in shown.splitlines())


def test_watching_ends_by_itself_when_all_is_over(store: Store) -> None:
    over(store)
    jobs = gamectl("get", "jobs", "--watch")
    assert jobs.exit_code == 0
    assert jobs.stdout.split(" ", 1)[1] == "apes: Succeeded, validation accuracy 50.0%\n"
    (line,) = gamectl("get", "jobs", "--watch", "-o", "json").stdout.splitlines()
    assert json.loads(line)["phase"] == "Succeeded"
    lines = gamectl("get", "events", "--watch", "-o", "json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == read_json("get", "events")["events"]
    plain = gamectl("get", "events", "--watch").stdout.splitlines()
    assert [line.split()[1:3] for line in plain] == [
        ["apes", "Queued"], ["apes/0", "Training"], ["apes/0", "Completed"], ["apes", "Completed"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words", [["jobs"], ["jobs", "-o", "json"], ["events"], ["events", "-o", "json"]]
)
def test_ctrl_c_ends_watching_quietly(store: Store, home: Path, words: list[str]) -> None:
    submit(store, new_job("apes"), at=time.time())
    command = [sys.executable, "-m", "orchestrator", "get", *words, "--watch"]
    watching = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline() != ""
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=30)
    finally:
        watching.kill()
    assert watching.returncode == 0
    if words == ["jobs"]:  # the view itself says so
        assert err == ""
    else:
        assert err == f"{nobody_at_work('small')}\n"


def test_a_watch_of_all_revisions_is_refused(store: Store) -> None:
    submit(store, new_job("apes"))
    refused = gamectl("get", "jobs", "--watch", "--all")
    assert refused.exit_code == 2
    assert "leave out --all" in refused.stderr


def test_a_team_that_is_withdrawn_is_told_once_more_while_watching(store: Store) -> None:
    submit(store, new_job("apes"), new_job("bears"), at=time.time())
    coming = _changing_jobs(store, "small")
    assert [next(coming)[0].team for _ in range(2)] == ["apes", "bears"]
    store.withdraw("small", "apes", time.time())
    job, _ = next(coming)
    assert (job.team, job.phase, job.reason) == ("apes", "Superseded", "Withdrawn")


def test_what_a_lost_controller_left_running_takes_no_longer(home: Path, store: Store) -> None:
    began_at = time.time() - 1000
    submit(store, new_job("apes"), at=began_at)
    ledger = store.acquire("small", "gone", began_at, 30.0)
    ledger.start(MemberKey(store.jobs("small")[0].id, 0), "slot-0", "node", began_at + 5)
    (job,) = read_json("get", "jobs")["jobs"]
    assert job["phase"] == "Running"
    assert job["slot_seconds"] < 100
    assert job["active_seconds"] < 100
