"""`gamectl results` and `gamectl report`: what they show, to whom, and when."""

import hashlib
import json
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import DataError
from orchestrator.cli.pages import find_pictures
from orchestrator.results.scorebook import ScoreBook, write_scores
from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.conftest import write_photos
from tests.orchestrator.cohorts import DATA, new_job
from tests.orchestrator.commands import gamectl
from tests.orchestrator.reported import MadeUp, made_up_book, put

TEAMS = (
    MadeUp("apes", 0.5, num_items=1),
    MadeUp("trio", 0.8, num_members=3),
    MadeUp("wild", None, message="validation loss is \x1b[31mnan after epoch 3"),
)


@pytest.fixture
def book(home: Path) -> ScoreBook:
    """Three teams in the home's store, and scores that nobody has kept yet."""
    home.mkdir()
    store = Store(Settings().store_url)
    jobs = put(store, TEAMS)
    store.close()
    return made_up_book(jobs, TEAMS, published=False)


def keep(book: ScoreBook, published: bool) -> None:
    write_scores(Settings().scores, book.model_copy(update={"published": published}))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder that is no data: drawing or decoding images is not what is tested here."""
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def test_a_revision_that_is_not_scored_yet_tells_where_the_team_stands(
    book: ScoreBook, empty: Path, tmp_path: Path
) -> None:
    keep(book, published=True)
    store = Store(Settings().store_url)
    cohort = store.cohorts()[0]
    store.submit(cohort.name, cohort.spec, cohort.data, [new_job("apes", seed=9)], 300.0)
    store.close()
    page = tmp_path / "apes.html"
    done = gamectl("results", "apes", "--data", empty, "-o", page)
    assert done.exit_code == 0, done.output
    assert "apes in cohort small, revision 2: Pending" in done.stdout
    assert "revision 1 stands 2nd of 2, with 48.9% of the test images" in done.stdout
    assert "Revision 1 stands 2nd of 2" in page.read_text()


def test_teams_go_on_seeing_what_was_published_whatever_becomes_of_the_organizers_file(
    book: ScoreBook, empty: Path
) -> None:
    keep(book, published=True)
    newest = Settings().scores / "small.json"
    newest.write_text("")
    assert "1st of 2" in gamectl("results", "trio", "--data", empty).stdout
    newest.unlink()
    assert "1st of 2" in gamectl("results", "trio", "--data", empty).stdout


def test_a_team_that_was_withdrawn_is_in_no_report(
    book: ScoreBook, tmp_path: Path, empty: Path
) -> None:
    page = tmp_path / "report.html"
    words = ["report", "--data", empty, "-o", page]
    keep(book, published=True)
    assert gamectl(*words).exit_code == 0
    assert "trio" in page.read_text()
    assert gamectl("withdraw", "trio").exit_code == 0
    done = gamectl(*words)
    assert done.exit_code == 0, done.output
    assert "trio" not in page.read_text()
    assert gamectl("results", "trio", "--data", empty).exit_code == 0


def test_only_a_team_in_the_game_is_told_when_it_learns_where_it_stands(
    book: ScoreBook, empty: Path
) -> None:
    note = "where the team stands is told once the organizer has published scores\n"
    assert note in gamectl("results", "wild", "--data", empty).stderr
    assert gamectl("withdraw", "wild").exit_code == 0
    done = gamectl("results", "wild", "--data", empty)
    assert (done.exit_code, note in done.stderr) == (0, False), done.output


def test_every_team_gets_a_page(book: ScoreBook, empty: Path, tmp_path: Path) -> None:
    keep(book, published=True)
    pages = tmp_path / "a" / "pages"
    words = ["--data", empty, "--all", pages]
    done = gamectl("results", *words)
    assert done.exit_code == 0, done.output
    assert f"3 pages written to {pages}\n" in done.stderr
    assert {path.name for path in pages.iterdir()} == {"apes.html", "trio.html", "wild.html"}
    alone = tmp_path / "trio.html"
    gamectl("results", "trio", "--data", empty, "-o", alone)
    assert "1st of 2" in (pages / "trio.html").read_text()
    assert [*_without_times(pages / "trio.html")] == [*_without_times(alone)]
    for more in (["trio"], ["-o", alone], ["--output", "json"]):
        assert gamectl("results", *words, *more).exit_code == 2
    assert gamectl("results").exit_code == 2


def test_images_are_looked_for_once_for_all_teams(
    book: ScoreBook, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(source: str, *_: object, **__: object) -> None:
        looks.append(source)
        raise DataError("no such images")

    monkeypatch.setattr("orchestrator.sources.decode_source", look)
    done = gamectl("results", "--data", empty, "--all", tmp_path / "pages")
    assert done.exit_code == 0, done.output
    assert looks == [str(empty)]
    told = [(tmp_path / "pages" / f"{team}.html").read_text() for team in ("apes", "trio")]
    assert all("Its mistakes are not known: no such images" in page for page in told)


def _without_times(page: Path) -> Iterator[str]:
    return (line for line in page.read_text().splitlines() if not re.search(r"\d\d:\d\d", line))


def test_before_publishing_nothing_is_told_of_the_test_set(
    book: ScoreBook, tmp_path: Path, empty: Path
) -> None:
    page = tmp_path / "trio.html"
    words = ["results", "trio", "--data", empty]

    def everything() -> list[str]:
        text, document = gamectl(*words, "-o", page), gamectl(*words, "--output", "json")
        assert text.exit_code == document.exit_code == 0, text.output
        return [text.output, document.stdout, page.read_text()]

    unscored = everything()
    keep(book, published=False)
    scored = everything()
    # But for the time of day the pages are the same, so nothing of the scores is in them.
    assert [drop_time(text) for text in scored] == [drop_time(text) for text in unscored]
    assert "80.0% of the validation images" in scored[0]
    assert "test images" not in "".join(scored)
    told = json.loads(scored[1])
    assert told["published"] is False
    assert told["team"]["score"] is None
    assert told["titles"] == []

    keep(book, published=True)
    text, document, html = everything()
    score = next(score for score in book.scores if score.team == "trio")
    assert text.startswith(f"trio in cohort small: 1st of 2, {score.accuracy:.1%} of 270 test")
    assert "title: Half a Purse" in text
    told = json.loads(document)
    assert (told["images"], told["team"]["score"]["rank"]) == ("test", 1)
    assert len(told["mistakes"]) == round(270 * (1 - score.accuracy))
    assert f"{score.accuracy:.1%}" in html


def drop_time(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(line for line in lines if "made_at" not in line and 'class="when"' not in line)


@pytest.mark.usefixtures("book")
def test_before_publishing_no_hidden_image_is_looked_at(tmp_path: Path) -> None:
    data = write_photos(tmp_path / "data\x1b[31m", num_training=2, num_test=1)
    training = next((data / "training" / "n1").iterdir())
    wanted = {hashlib.sha256(training.read_bytes()).hexdigest()}
    (data / "validation" / "n0" / "0.png").write_text("hidden")
    shutil.rmtree(data / "validation" / "n1")
    done = gamectl("results", "trio", "--data", data)
    assert done.exit_code == 0, done.output
    assert "are not those that it trained on" in done.stderr
    assert r"data\x1b[31m are" in done.stderr
    assert "\x1b" not in done.output
    assert len(find_pictures(DATA, data, wanted, test=False, settings=Settings())[0]) == 1
    shown, missing = find_pictures(DATA, data, wanted, test=True, settings=Settings())
    assert not shown
    assert "n1 is missing in validation/" in missing


def test_what_it_bought_and_how_it_trained(book: ScoreBook, empty: Path) -> None:
    keep(book, published=True)
    done = gamectl("results", "trio", "--data", empty)
    lines = done.stdout.splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert "  Flip Trick                                  10 B NN" in lines
    assert "  total                                       30 of 100 B NN" in lines
    (second,) = (line for line in lines if line.startswith("  network 1"))
    assert "▂" in second
    assert "best in epoch" in second
    assert "with -o trio.html" in done.stderr


def test_a_job_that_failed_says_why(book: ScoreBook, empty: Path) -> None:
    keep(book, published=True)
    done = gamectl("results", "wild", "--data", empty)
    assert done.exit_code == 0, done.output
    assert "wild in cohort small: Failed" in done.stdout
    assert "Nothing to compare: the job is Failed." in done.stderr
    assert r"\x1b[31mnan" in done.stdout
    assert "\x1b" not in done.output
    assert "the job is Failed" in done.stderr


def test_a_book_without_images_says_what_to_do(book: ScoreBook, empty: Path) -> None:
    older = book.model_copy(update={"images": ()})
    keep(older, published=True)
    done = gamectl("results", "trio", "--data", empty)
    assert done.exit_code == 0
    assert "gamectl score --cohort small" in done.stderr


def test_the_report_is_the_organizers_until_it_is_published(
    book: ScoreBook, tmp_path: Path, empty: Path
) -> None:
    page = tmp_path / "report.html"
    done = gamectl("report", "--data", empty, "-o", page)
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "no test results yet. next: gamectl score --cohort small" in done.stderr
    assert stat.S_IMODE(page.stat().st_mode) == 0o644

    keep(book, published=False)
    done = gamectl("report", "--data", empty, "-o", page)
    assert "for you alone. next: gamectl score --cohort small --publish" in done.stderr
    assert "without pictures:" in done.stderr
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert "For the organizer" in page.read_text()

    keep(book, published=True)
    done = gamectl("report", "--data", empty, "-o", page)
    assert "for you alone" not in done.stderr
    assert stat.S_IMODE(page.stat().st_mode) == 0o644


def test_the_report_as_json_writes_no_file(
    book: ScoreBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(book, published=True)
    monkeypatch.chdir(tmp_path)
    document = json.loads(gamectl("report", "--output", "json").stdout)
    assert document["state"] == "published"
    assert [team["team"] for team in document["teams"]] == ["trio", "apes", "wild"]
    assert {title["key"]: title["teams"] for title in document["titles"]}["single-network"] == [
        "apes"
    ]
    assert "points" not in json.dumps(document["teams"])
    assert list(tmp_path.glob("*.html")) == []


def test_wrong_words_are_explained(book: ScoreBook, tmp_path: Path) -> None:
    for words, expected in (
        (["report", "-o", "report.pdf"], "does not end in .html"),
        (["results", "apes", "-o", "json"], "--output json is for programs"),
        (["results", "ape"], "did you mean 'apes'?"),
        (["report", "--cohort", "smal"], "small"),
        (["report", "-o", tmp_path / "nowhere" / "x.html"], "there is no folder"),
    ):
        done = gamectl(*words)
        assert done.exit_code in (1, 2)
        assert expected in done.stderr


@pytest.mark.usefixtures("home")
def test_with_nothing_submitted_they_say_what_to_run() -> None:
    for words in (["report"], ["results", "apes"]):
        assert "`gamectl submit PATH` submits a cohort" in " ".join(gamectl(*words).stderr.split())


@pytest.mark.parametrize("command", ["report", "results"])
def test_help_shows_an_example(command: str) -> None:
    assert f"gamectl {command}" in gamectl(command, "--help").stdout.partition("Example:")[2]
