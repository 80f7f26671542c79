"""The values of the report: what is shown when, and the geometry of its charts."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.image_folder import scan
from orchestrator.report.curves import Series, line_chart, sparkline
from orchestrator.report.gather import gather, hard_images
from orchestrator.report.html import report_html
from orchestrator.report.page import Confusion
from orchestrator.report.pictures import pictures
from orchestrator.store import Store
from tests.conftest import write_photos
from tests.orchestrator.reported import BEGAN_AT, MadeUp, made_up_book, put
from tests.orchestrator.states import LONG_NAME, every_state

TEAMS = (
    MadeUp("apes", 0.5, num_items=1),
    MadeUp("trio", 0.8, num_members=3),
    MadeUp("wild", None, message="validation loss is not a finite number from epoch 3 on"),
)
NOW = BEGAN_AT + 3600


def test_before_scoring_teams_stand_by_validation_accuracy(store: Store) -> None:
    put(store, TEAMS)
    report = gather(store, "small", None, NOW)
    assert report.state == "unscored"
    assert [team.team for team in report.teams] == ["trio", "apes", "wild"]
    assert report.unscored == ("trio", "apes")
    assert report.titles == report.hard_images == report.podium == ()
    page = report_html(report, {})
    assert "Not scored yet." in page
    assert "gamectl score --cohort small" in page
    assert "hidden test images" not in page
    assert 'class="matrix' not in page


def test_a_cohort_at_work_is_shown_as_far_as_it_is(store: Store) -> None:
    every_state(store, BEGAN_AT)
    report = gather(store, "small", None, BEGAN_AT + 100)
    assert len(report.at_work) == 7
    assert report.teams[0].team == "howling-pixels"
    assert report.teams[0].degraded
    page = report_html(report, {})
    assert "7 of 12 are not through yet" in page
    for word in ("still training", "No epoch was trained.", "validation loss is nan after epoch 3"):
        assert word in page


def test_what_a_lost_controller_left_open_ends_where_it_was_heard_of_last(
    store: Store, tmp_path: Path
) -> None:
    every_state(store, BEGAN_AT)
    once_lost = Store(f"sqlite:///{tmp_path / 'store.db'}", clock=lambda: BEGAN_AT + 2e12)
    ends = {}
    for now, seen in (BEGAN_AT + 100, store), (BEGAN_AT + 200, once_lost):
        report = gather(seen, "small", None, now)
        assert report.timeline is not None
        bars = [bar for row in report.timeline.rows for bar in row.bars]
        ends[now] = {bar.name: (bar.took, bar.ended, bar.lost) for bar in bars}
    then, later = ends.values()
    assert then["banana-republic / 0"] == ("38s", "still training", False)
    assert later["banana-republic / 0"] == ("14s", "left by its controller", True)
    assert later[f"{LONG_NAME} / 0"] == ("0s", "left by its controller", True)
    assert later["quiet-apes"] == then["quiet-apes"]
    assert report.figures.slot_seconds < 1000
    once_lost.close()


def test_a_network_that_trains_has_taken_the_time_so_far(store: Store) -> None:
    every_state(store, BEGAN_AT)
    seconds = {}
    for now in (BEGAN_AT + 100, BEGAN_AT + 200):
        teams = {team.team: team for team in gather(store, "small", None, now).teams}
        seconds[now] = [member.seconds for member in teams["banana-republic"].members]
    assert seconds[BEGAN_AT + 100][0] == 38
    assert seconds[BEGAN_AT + 200][0] == 138


def test_scores_that_are_not_published_are_for_the_organizer(store: Store) -> None:
    jobs = put(store, TEAMS)
    for published in (False, True):
        book = made_up_book(jobs, TEAMS, published=published)
        report = gather(store, "small", book, NOW)
        assert report.state == ("published" if published else "unpublished")
        page = report_html(report, {})
        assert ("For the organizer" in page) is not published
        assert ("gamectl score --cohort small --publish" in page) is not published
        assert all(f"{score.accuracy:.1%}" in page for score in book.scores)


@pytest.mark.parametrize(("num_level", "on_podium"), [(2, 3), (5, 6), (6, 1)])
def test_teams_that_are_level_share_a_place(store: Store, num_level: int, on_podium: int) -> None:
    level = [MadeUp(f"team-{n}", 0.5) for n in range(num_level)]
    teams = [MadeUp("first", 0.9), *level, MadeUp("last", 0.3)]
    jobs = put(store, teams)
    book = made_up_book(jobs, teams)
    same = {"accuracy": 0.5}
    some = [s.model_copy(update=same) if s.team.startswith("team") else s for s in book.scores]
    report = gather(store, "small", book.model_copy(update={"scores": tuple(some)}), NOW)
    assert [team.score.place for team in report.teams if team.score] == [
        "1",
        *["2="] * num_level,
        str(num_level + 2),
    ]
    assert len(report.podium) == on_podium
    page = report_html(report, {})
    assert page.count("<span>shared 2nd</span>") == num_level
    assert "<span>1st</span>" in page


def test_a_team_is_shown_with_everything_it_did(store: Store) -> None:
    jobs = put(store, TEAMS)
    report = gather(store, "small", made_up_book(jobs, TEAMS), NOW)
    trio, apes, wild = report.teams
    assert (trio.team, trio.score.rank if trio.score else None) == ("trio", 1)
    assert [line.title for line in trio.receipt] == ["Flip Trick", "Info Infusion"]
    assert trio.spent_bnn == 30
    assert [member.epoch for member in trio.members] == [20, 20, 20]
    assert trio.accuracy_curves is not None
    assert len(trio.accuracy_curves.lines) == 6
    assert "Half a Purse" in trio.titles
    assert apes.score is not None
    assert sum(map(sum, apes.score.confusion.counts)) == report.test_images == 270
    assert wild.score is None
    assert "finite" in wild.message
    assert report.figures.num_networks == 4
    assert report.timeline is not None
    assert [row.label for row in report.timeline.rows] == ["slot-0", "slot-1"]
    # One attempt of the trio was lost, and the wild one's failed.
    bars = [bar for row in report.timeline.rows for bar in row.bars]
    assert sorted(bar.name for bar in bars if bar.lost) == ["trio / 1", "wild"]
    assert "trio / 1, attempt 2" in [bar.name for bar in bars]


def test_the_hard_images_are_those_that_more_than_half_got_wrong(store: Store) -> None:
    jobs = put(store, TEAMS[:2])
    book = made_up_book(jobs, TEAMS[:2])
    answers = ((0, 1, 2), (1, 1, 2))  # of the two teams; the images are of classes 0, 1 and 1
    images = book.images[0], book.images[27], book.images[28]
    told = book.model_copy(
        update={
            "images": images,
            "scores": tuple(
                score.model_copy(update={"predicted": predicted})
                for score, predicted in zip(book.scores, answers, strict=True)
            ),
        }
    )
    (hard,) = hard_images(jobs, told)
    assert (hard.sha256, hard.num_wrong, hard.num_teams, hard.right) == (images[2].sha256, 2, 2, ())
    assert [(said.label, said.num_teams) for said in hard.said] == [(2, 2)]

    # The second team has a newer revision without a score, which changes what is not published yet.
    newer = replace(jobs[1], id=9, uid="newer", revision=2)
    for published, num_teams in ((False, 1), (True, 2)):
        told = told.model_copy(update={"published": published})
        found = hard_images([*jobs, newer], told)
        assert [(each.sha256, each.num_teams) for each in found] == [(images[2].sha256, num_teams)]

    older = book.model_copy(update={"images": ()})
    assert hard_images(jobs, older) == ()
    assert "gamectl score --cohort small" in report_html(gather(store, "small", older, NOW), {})


def test_a_new_revision_has_no_score_and_the_page_says_so(store: Store) -> None:
    jobs = put(store, TEAMS[:2])
    book = made_up_book(jobs, TEAMS[:2])
    (apes,) = (score for score in book.scores if score.team == "apes")
    unscored = book.model_copy(update={"scores": (apes,)})
    report = gather(store, "small", unscored, NOW)
    assert report.unscored == ("trio",)
    assert "Without a score:" in report_html(report, {})


def test_sixty_teams_make_a_page_of_a_few_megabytes(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    teams = [MadeUp(f"team-{n}", 0.3 + n / 20, 1 + 2 * (n % 3), n % 5) for n in range(6)]
    jobs = put(store, teams, num_slots=8)
    report = gather(store, "small", made_up_book(jobs, teams), NOW)
    assert report.timeline is not None
    report = replace(  # putting sixty into a store takes much longer
        report,
        teams=tuple(replace(team, number=n) for n, team in enumerate(report.teams * 10)),
        timeline=replace(report.timeline, rows=report.timeline.rows * 10),
    )
    folder = write_photos(tmp_path_factory.mktemp("large"), num_training=2, num_test=8, side_px=192)
    noise = pictures(scan(folder).test, {file.sha256 for file in scan(folder).test})
    shown = dict(zip((i.sha256 for i in report.hard_images), noise.values(), strict=True))
    assert len(shown) == 24
    # Noise takes far more room than photos do.
    assert len(report_html(report, shown).encode()) < 3_000_000


def test_classes_that_are_too_many_for_a_matrix_are_told_as_mix_ups() -> None:
    matrix = Confusion(((8, 2, 0), (0, 5, 5), (1, 0, 0)))
    assert matrix.mix_ups == ((1, 2, 5), (0, 1, 2), (2, 0, 1))
    assert [matrix.shade(0, column) for column in range(3)] == [8, 2, 0]


def test_a_matrix_of_forty_classes_is_not_drawn(store: Store) -> None:
    classes = tuple(f"species-{number}" for number in range(40))
    jobs = put(store, TEAMS[:1], classes)
    book = made_up_book(jobs, TEAMS[:1], classes, images_a_class=2)
    page = report_html(gather(store, "small", book, NOW), {})
    assert 'class="matrix' not in page
    assert "The most frequent mix-ups" in page
    assert "squirrel" not in page


def test_scores_are_shown_with_the_classes_that_were_scored(store: Store) -> None:
    """The cohort may have been handed in on other photos since."""
    jobs = put(store, TEAMS[:1], ("n0", "n1"))
    book = made_up_book(jobs, TEAMS[:1], ("oaks", "elms", "yews"))
    report = gather(store, "small", book, NOW)
    assert [each.name for each in report.classes] == ["oaks", "elms", "yews"]
    assert "yews" in report_html(report, {})


def test_a_cohort_of_one_team_has_words_for_one(store: Store) -> None:
    jobs = put(store, [MadeUp("apes", 0.5)])
    report = gather(store, "small", made_up_book(jobs, [MadeUp("apes", 0.5)]), NOW)
    page = report_html(report, {})
    assert "<dt>team</dt><dd>1</dd>" in page
    assert "<dt>network trained</dt><dd>1</dd>" in page


def test_a_chart_leaves_out_what_is_not_finite() -> None:
    assert line_chart([Series((), 0)], "", top=1.0) is None
    assert line_chart([Series((math.nan,), 0)], "", top=1.0) is None
    chart = line_chart([Series((0.0, math.inf, 1.0), 0)], "three epochs", top=1.0)
    assert chart is not None
    (first, last) = (tuple(map(float, p.split(","))) for p in chart.lines[0].points.split())
    assert first == (chart.left, chart.bottom)
    assert last[0] == chart.right
    assert last[1] < first[1]
    assert [tick.label for tick in chart.y_ticks] == ["0%", "25%", "50%", "75%", "100%"]


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 7, 10, 20, 40, 333, 10_000])
def test_epochs_have_few_ticks_and_all_within_the_chart(num_epochs: int) -> None:
    chart = line_chart([Series((0.5,) * num_epochs, 0)], "", top=1.0)
    assert chart is not None
    assert 1 <= len(chart.x_ticks) <= 8
    assert all(chart.left <= tick.at <= chart.right for tick in chart.x_ticks)


def test_a_spark_line_rises_with_its_values() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert sparkline([n / 99 for n in range(100)], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([], 8) == ""
    assert sparkline([math.nan, 2.0], 8) == " █"
