"""Ranking, and the file that keeps the scores."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import Damaged
from orchestrator.phases import Phase, Reason
from orchestrator.results.leaderboard import leaderboard, unranked
from orchestrator.results.scorebook import (
    ScoreBook,
    TeamScore,
    read_published,
    read_scores,
    write_scores,
)
from orchestrator.state import Job, newest_revisions
from orchestrator.store import Store
from orchestrator.terminal.ranking import print_leaderboard
from tests.orchestrator.cohorts import new_job, submit
from tests.orchestrator.job_states import job, member


def score(job: Job, accuracy: float) -> TeamScore:
    return TeamScore(
        job=job.uid,
        team=job.team,
        accuracy=accuracy,
        accuracy_low=accuracy - 0.1,
        accuracy_high=accuracy + 0.1,
        macro_recall=accuracy,
        recall_per_class=(accuracy,) * 3,
        confusion=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    )


def book(*scores: TeamScore, published: bool = False) -> ScoreBook:
    return ScoreBook(
        cohort="small",
        test_fingerprint="t",
        test_images=3,
        classes=("n0", "n1", "n2"),
        published=published,
        scores=scores,
    )


@pytest.fixture
def jobs(store: Store) -> dict[str, Job]:
    """Four jobs that have succeeded, without spending anything, at the same time."""
    submit(store, *(new_job(team) for team in "abcd"))
    return {j.team: replace(j, phase=Phase.SUCCEEDED) for j in store.jobs("small")}


def test_accuracy_then_fewer_nuggets_then_earlier_submission(jobs: dict[str, Job]) -> None:
    ranked = [
        replace(jobs["a"], spent_bnn=30, submitted_at=1.0),
        replace(jobs["b"], spent_bnn=20, submitted_at=3.0),
        replace(jobs["c"], spent_bnn=20, submitted_at=2.0),
        replace(jobs["d"], spent_bnn=99, submitted_at=9.0),
    ]
    accuracies = {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.6}
    scores = book(*(score(jobs[team], accuracy) for team, accuracy in accuracies.items()))
    rows = leaderboard(ranked, scores).rows
    assert [(row.rank, row.team) for row in rows] == [(1, "d"), (2, "c"), (3, "b"), (4, "a")]


def test_teams_that_nothing_tells_apart_share_a_place(
    jobs: dict[str, Job], capsys: pytest.CaptureFixture[str]
) -> None:
    accuracies = {"a": 0.5, "b": 0.6, "c": 0.5, "d": 0.4}
    scores = book(*(score(jobs[team], accuracy) for team, accuracy in accuracies.items()))
    board = leaderboard(list(jobs.values()), scores)
    assert [(row.rank, row.shared, row.team) for row in board.rows] == [
        (1, False, "b"),
        (2, True, "a"),
        (2, True, "c"),
        (4, False, "d"),
    ]
    print_leaderboard(board)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2=", "2=", "4"]
    cheaper = [jobs["a"], jobs["b"], replace(jobs["c"], spent_bnn=-1.0), jobs["d"]]
    assert [row.place for row in leaderboard(cheaper, scores).rows] == ["1", "2", "3", "4"]


def test_jobs_without_a_score_stand_below_without_a_rank(jobs: dict[str, Job]) -> None:
    failed = replace(jobs["a"], phase=Phase.FAILED)
    rows = leaderboard([failed, jobs["b"]], book(score(jobs["b"], 0.1))).rows
    assert [(row.rank, row.team, row.phase) for row in rows] == [
        (1, "b", Phase.SUCCEEDED),
        (None, "a", Phase.FAILED),
    ]
    assert rows[1].accuracy is None


def test_without_scores_teams_stand_by_validation_accuracy_then_by_name() -> None:
    accuracies = {1: None, 2: 0.0, 3: 0.5, 4: 0.5, 5: None}
    some = [job(n, val_accuracy=accuracies[n], spent_bnn=9.0 - n) for n in (5, 4, 3, 2, 1)]
    assert [each.id for each in unranked(some, ())] == [3, 4, 2, 1, 5]
    assert [each.id for each in unranked(some, (some[2], some[4]))] == [4, 2, 5]


def test_the_newest_revision_counts_and_an_older_score_does_not(jobs: dict[str, Job]) -> None:
    revised = replace(jobs["a"], id=9, uid="another", revision=2)
    both = [jobs["a"], revised]
    assert newest_revisions(both) == newest_revisions(both[::-1]) == [revised]
    (row,) = leaderboard(both, book(score(jobs["a"], 0.9))).rows
    assert row.rank is None
    (row,) = leaderboard(both, book(score(jobs["a"], 0.9), score(revised, 0.4))).rows
    assert row.accuracy == 0.4


def test_what_was_published_stands_whatever_teams_hand_in_since(jobs: dict[str, Job]) -> None:
    a, b = jobs["a"], jobs["b"]
    newer = replace(a, id=9, uid="newer", revision=2)
    told = book(score(a, 0.9), score(b, 0.5), published=True)
    board = leaderboard([a, b, newer], told)
    assert [(row.rank, row.team, row.accuracy) for row in board.rows] == [
        (1, "a", 0.9),
        (2, "b", 0.5),
    ]
    assert board.num_unscored == 1
    # Whoever was withdrawn has no place, and none again by handing in another network.
    gone = {"phase": Phase.SUPERSEDED, "reason": Reason.WITHDRAWN}
    assert [row.team for row in leaderboard([replace(a, **gone), b], told).rows] == ["b"]
    for out, late in ((a, newer), (newer, replace(newer, id=10, uid="late", revision=3))):
        jobs_now = {each.uid: each for each in (a, b, newer, late)} | {
            out.uid: replace(out, **gone)
        }
        rows = leaderboard(list(jobs_now.values()), told).rows
        assert [(row.rank, row.team) for row in rows] == [(1, "b"), (None, "a")]


def test_the_json_form(jobs: dict[str, Job]) -> None:
    document = json.loads(
        json.dumps(leaderboard([jobs["a"]], book(score(jobs["a"], 0.5))).to_dict())
    )
    assert list(document) == [
        "cohort",
        "test_images",
        "test_images_left_out",
        "published",
        "rows",
        "num_unscored",
        "newer",
    ]
    assert set(document["rows"][0]) == {
        "rank",
        "shared",
        "team",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "macro_recall",
        "spent_bnn",
        "num_members",
        "num_members_trained",
        "phase",
    }


def test_a_degraded_job_is_ranked_with_what_it_has_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained, lost = member(1, 0, Phase.SUCCEEDED), member(1, 1, Phase.FAILED)
    degraded = job(1, trained, lost, team="a", phase=Phase.SUCCEEDED, reason=Reason.DEGRADED)
    whole = job(2, Phase.SUCCEEDED, team="b", phase=Phase.SUCCEEDED)
    failed = job(3, Phase.SUCCEEDED, Phase.FAILED, team="c", phase=Phase.FAILED)
    board = leaderboard([degraded, whole, failed], book(score(degraded, 0.5), score(whole, 0.4)))
    rows = {row.team: row for row in board.rows}
    assert (rows["a"].num_members, rows["a"].num_members_trained) == (2, 1)
    assert [team for team, row in rows.items() if row.degraded] == ["a"]
    print_leaderboard(board)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [line.split()[-1] for line in lines[1:]] == ["2", "1", "2"]
    assert lines[1].rstrip().endswith("1 of 2")
    assert "1 team is scored without members that were lost" in err


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_with_little_room_keeps_intervals_whole_and_names_apart(
    jobs: dict[str, Job],
    width: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    names = {team: f"the-quite-long-winded-group-{team}-11" for team in "abcd"}
    named = [replace(job, team=names[job.team]) for job in jobs.values()]
    board = leaderboard(named, book(*(score(job, 0.5) for job in named)))
    print_leaderboard(board)
    heads, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len({line.split()[1] for line in lines}) == 4
    assert all(len(line) <= width and "40.0% - 60.0%" in line for line in lines)
    assert ("recall" in heads) == (width == 120)
    assert ("spent" in heads) == ("members" in heads) == (width > 40)
    assert (names["a"] in lines[0]) == (width >= 80)


def test_teams_that_were_withdrawn_have_no_place(store: Store, jobs: dict[str, Job]) -> None:
    store.withdraw("small", "a", 200.0)
    left = store.jobs("small")
    board = leaderboard(left, book(score(jobs["a"], 0.9), score(jobs["b"], 0.5)))
    assert "a" not in {row.team for row in board.rows}
    assert [row.team for row in board.rows if row.rank == 1] == ["b"]


def test_a_published_score_of_an_older_revision_is_told_as_such(
    jobs: dict[str, Job], capsys: pytest.CaptureFixture[str]
) -> None:
    newer = replace(jobs["a"], id=99, uid="newer", revision=2, phase=Phase.PENDING)
    scores = book(score(jobs["a"], 0.9), score(jobs["b"], 0.5)).model_copy(
        update={"published": True}
    )
    board = leaderboard([*jobs.values(), newer], scores)
    assert (board.rows[0].team, board.rows[0].rank) == ("a", 1)
    print_leaderboard(board)
    assert "ranked by an older revision: there is a r2 (Pending)" in capsys.readouterr().err
    print_leaderboard(leaderboard(list(jobs.values()), scores))
    assert "older revision" not in capsys.readouterr().err


def test_networks_that_have_no_score_yet_are_told(
    jobs: dict[str, Job], capsys: pytest.CaptureFixture[str]
) -> None:
    succeeded = [job for job in jobs.values() if job.phase is Phase.SUCCEEDED]
    print_leaderboard(leaderboard(succeeded, book(*(score(job, 0.5) for job in succeeded))))
    assert "without a score" not in capsys.readouterr().err
    print_leaderboard(leaderboard(succeeded, book(score(succeeded[0], 0.5))))
    number = len(succeeded) - 1
    assert number > 0
    teams = "1 team has" if number == 1 else f"{number} teams have"
    told = f"{teams} a network without a score: gamectl score --cohort small"
    assert told in capsys.readouterr().err


def test_scores_are_kept_for_their_owner_only(tmp_path: Path, jobs: dict[str, Job]) -> None:
    kept = book(score(jobs["a"], 0.5))
    path = write_scores(tmp_path / "scores", kept)
    assert read_scores(tmp_path / "scores", "small") == kept
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["small.json"]


def test_what_was_published_stays_until_it_is_published_again(
    tmp_path: Path, jobs: dict[str, Job]
) -> None:
    first = book(score(jobs["a"], 0.5))
    assert read_published(tmp_path, "small") is None
    write_scores(tmp_path, first)
    assert read_published(tmp_path, "small") is None
    shown = first.model_copy(update={"published": True})
    shown_file = write_scores(tmp_path, shown).parent / "published" / "small.json"
    assert stat.S_IMODE(shown_file.stat().st_mode) == 0o600
    later = book(score(jobs["a"], 0.5), score(jobs["b"], 0.75))
    write_scores(tmp_path, later)
    assert read_scores(tmp_path, "small") == later
    assert read_published(tmp_path, "small") == shown
    everything = later.model_copy(update={"published": True})
    write_scores(tmp_path, everything)
    assert read_published(tmp_path, "small") == everything
    # A book that a release without the second file had published.
    shown_file.unlink()
    assert read_published(tmp_path, "small") == everything


def test_no_scores_yet_and_a_broken_file_are_told_apart(tmp_path: Path) -> None:
    assert read_scores(tmp_path, "small") is None
    (tmp_path / "small.json").write_text('{"cohort": "small"')
    with pytest.raises(Damaged, match="gamectl score --cohort small"):
        read_scores(tmp_path, "small")
