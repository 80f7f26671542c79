"""The report in a real browser: what it looks like, what it does, and what it must not do."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.report.gather import gather
from orchestrator.report.html import report_html, results_html
from orchestrator.report.pictures import data_uri
from orchestrator.report.take_home import TrainingImages, take_home
from orchestrator.settings import Settings
from orchestrator.store import Store
from tests.orchestrator.browser import browser, opened, reason_why_not
from tests.orchestrator.reported import BEGAN_AT, MadeUp, made_up_book, put

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(reason_why_not() is not None, reason=f"no browser: {reason_why_not()}"),
]

SCRIPT = "<script>window.pwned = 1; alert(1)</script>"
IMAGE = '"><img src=x onerror="window.pwned = 1">'
HOSTILE = (f"</title>{SCRIPT}", IMAGE, "' onclick='window.pwned = 1", "{{ 7 * 7 }}{% raw %}")
CLASSES = ("n7", f"n8{SCRIPT}", IMAGE, "javascript:alert(1)")
TEAMS = (
    MadeUp("apes", 0.5, num_items=1),
    MadeUp("trio", 0.8, num_members=3),
    MadeUp("free", 0.6, num_items=0),
    MadeUp(HOSTILE[0], 0.7, num_items=3),
    MadeUp(HOSTILE[1], 0.4),
    MadeUp(HOSTILE[2], 0.3),
    MadeUp(HOSTILE[3], 0.2, num_items=4),
    MadeUp("wild", None, message=f"ValueError: {SCRIPT}{IMAGE}</details></main>"),
    MadeUp("a-team-with-a-very-long-name-that-goes-on-and-on-and-on-and-on", 0.45),
)
WINDOWS = [(1920, 1080, "light"), (1920, 1080, "dark"), (390, 844, "light"), (320, 640, "dark")]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a cohort whose teams and classes have names that want to be scripts."""
    folder = tmp_path_factory.mktemp("report")
    store = Store(f"sqlite:///{folder / 'store.db'}")
    jobs = put(store, TEAMS, CLASSES)
    book = made_up_book(jobs, TEAMS, CLASSES, published=False)
    report = gather(store, "small", book, BEGAN_AT + 3600)
    store.close()
    photo = folder / "photo.png"
    Image.fromarray(np.full((300, 200, 3), 120, np.uint8)).save(photo)
    shown = dict.fromkeys((i.sha256 for i in report.hard_images[1:]), data_uri(photo.read_bytes()))
    page = folder / "report.html"
    page.write_text(report_html(report, shown, "one picture is missing"))
    return page


@pytest.fixture(scope="module")
def results(file: Path) -> Path:
    """What the team with the longest story takes home of it."""
    store = Store(f"sqlite:///{file.parent / 'store.db'}")
    jobs = store.jobs("small")
    book = made_up_book(jobs, TEAMS, CLASSES)
    images = TrainingImages(store.cohort("small"), None, Settings())
    told = take_home(store, jobs[1], book, images, Settings(), BEGAN_AT + 3600)
    store.close()
    page = file.parent / "results.html"
    page.write_text(results_html(told, {}, "no pictures"))
    return page


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.mark.parametrize(("width", "height", "scheme"), WINDOWS)
def test_it_fits_every_window_in_silence(
    running: Any, file: Path, width: int, height: int, scheme: str, tmp_path: Path
) -> None:
    with opened(running, file, width, height, scheme) as shown:
        page = shown.page
        page.get_by_role("button", name="Open all").click()
        assert page.locator("details.team:not([open])").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(",")))
        assert (brightness < 3 * 64) == (scheme == "dark")
        assert page.locator(".gallery img").evaluate_all(
            "images => images.every(image => image.complete && image.naturalWidth === 192)"
        )
        assert len(page.screenshot()) > 10_000
        assert shown.console == []
        assert [url for url in shown.requests if not url.startswith("data:")] == [file.as_uri()]


@pytest.mark.parametrize("width", [400, 1100, 1280, 1920])
def test_every_team_shows_what_it_took_for_what(running: Any, file: Path, width: int) -> None:
    with opened(running, file, width) as shown:
        shown.page.get_by_role("button", name="Open all").click()
        boxes = shown.page.locator("details.team .scroll:has(.matrix)").evaluate_all(
            "boxes => boxes.map(box => box.clientWidth)"
        )
        assert len(boxes) == len(TEAMS) - 1
        assert min(boxes) >= min(300, 0.7 * width)


def test_names_and_messages_are_only_words(running: Any, file: Path) -> None:
    with opened(running, file) as shown:
        page = shown.page
        page.get_by_role("button", name="Open all").click()
        assert page.evaluate("window.pwned") is None
        assert shown.dialogs == []
        assert page.title() == "small: the Classification Game"
        names = page.locator(".board tbody th a").all_text_contents()
        assert set(names) == {team.team for team in TEAMS}
        assert page.locator("script").count() == 1
        assert page.locator("[onclick], [onerror]").count() == 0
        assert page.locator("img").count() == page.locator(".gallery > li > img").count()
        message = page.locator(".trouble").text_content()
        assert f"ValueError: {SCRIPT}{IMAGE}" in message
        heads = page.locator("details.team").first.locator(".matrix thead th").all_text_contents()
        assert tuple(heads) == CLASSES
        # Not even a script that came in would run, or load anything.
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), "
                      "{textContent: 'window.pwned = 2'}))")  # fmt: skip
        assert page.evaluate("window.pwned") is None
        assert "Content Security Policy" in " ".join(shown.console)


@pytest.mark.parametrize(("width", "height", "scheme"), WINDOWS[1:3])
def test_what_a_team_takes_home_fits_as_well(
    running: Any, results: Path, width: int, height: int, scheme: str
) -> None:
    with opened(running, results, width, height, scheme) as shown:
        page = shown.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.get_by_role("heading", level=1).inner_text() == "trio"
        assert page.get_by_text("1st of 8").is_visible()
        assert page.locator("table").evaluate_all("all => all.every(table => table.caption)")
        mistakes = page.locator(".gallery > li").count()
        assert f"{mistakes} of 108 hidden test images" in page.locator("main").inner_text()
        assert page.evaluate("window.pwned") is None
        assert shown.console == []


def column(page: Any, number: int) -> list[str]:
    return list(page.locator(f".board tbody tr > :nth-child({number})").all_inner_texts())


def test_columns_sort_by_a_click_and_say_so(running: Any, file: Path) -> None:
    with opened(running, file) as shown:
        page = shown.page
        ranks = [str(rank) for rank in range(1, 9)]
        assert column(page, 1) == [*ranks, "–"]
        spent = page.get_by_role("columnheader", name="Spent")
        for order, first, last in (("ascending", 0.0, 35.0), ("descending", 35.0, 0.0)):
            spent.get_by_role("button").click()
            figures = [float(text) for text in column(page, 6)]
            assert figures == sorted(figures, reverse=order == "descending")
            assert (figures[0], figures[-1]) == (first, last)
            assert spent.get_attribute("aria-sort") == order
        # Names sort as words; a click from the keyboard does as well.
        page.get_by_role("columnheader", name="Team").get_by_role("button").press("Enter")
        names = page.locator(".board tbody th a").all_inner_texts()
        plain = [name for name in names if name in ("apes", "free", "trio", "wild")]
        assert plain == ["apes", "free", "trio", "wild"]
        assert spent.get_attribute("aria-sort") is None
        # The best first, which is what one looks for.
        page.get_by_role("columnheader", name="Accuracy").get_by_role("button").click()
        assert column(page, 1) == [*ranks, "–"]
        assert shown.console == []


def test_a_name_on_the_leaderboard_opens_the_team(running: Any, file: Path) -> None:
    with opened(running, file) as shown:
        page = shown.page
        trio = page.locator("details.team", has=page.get_by_role("heading", name="trio"))
        assert trio.get_attribute("open") is None
        page.locator(".board").get_by_role("link", name="trio").click()
        page.wait_for_function(
            "id => document.getElementById(id).open", arg=trio.get_attribute("id")
        )
        assert trio.get_by_text("What trio bought").is_visible()
    with opened(running, file) as shown:
        shown.page.goto(f"{file.as_uri()}#team-0")
        shown.page.reload()
        assert shown.page.locator("details.team").first.get_attribute("open") is not None


def test_it_can_be_read_with_a_screen_reader(running: Any, file: Path) -> None:
    with opened(running, file) as shown:
        page = shown.page
        page.get_by_role("button", name="Open all").click()
        assert page.locator("html").get_attribute("lang") == "en"
        for landmark in ("banner", "navigation", "main", "contentinfo"):
            assert page.get_by_role(landmark).count() == 1, landmark
        levels = page.locator("h1, h2, h3").evaluate_all(
            "all => all.map(h => Number(h.tagName[1]))"
        )
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
        unnamed = {
            "table": "t => !t.caption || !t.caption.textContent.trim()",
            "img": "i => !i.alt.trim()",
            "svg": "s => s.getAttribute('aria-hidden') !== 'true' && !(s.getAttribute('role') === "
            "'img' && s.getAttribute('aria-label'))",
            "section": "s => !document.getElementById(s.getAttribute('aria-labelledby'))",
            "th": "t => !t.scope",
        }
        for element, test in unnamed.items():
            found = page.locator(element).evaluate_all(f"all => all.filter({test}).length")
            assert (element, found) == (element, 0)
        ids = page.locator("[id]").evaluate_all("all => all.map(each => each.id)")
        assert len(ids) == len(set(ids))
        heard = page.get_by_role("img", name="95 % interval").first.get_attribute("aria-label")
        assert "interval" in heard
        note = page.get_by_role("note").first
        assert "For the organizer's eyes." in note.text_content()


def test_without_its_script_everything_is_there(running: Any, file: Path) -> None:
    context = running.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("#open-all").is_hidden()
    page.locator("details.team summary").first.click()
    assert page.locator("details.team .receipt").first.is_visible()
    context.close()
