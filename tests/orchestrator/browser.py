"""Debian's Chromium without a window, driven by Playwright.

Playwright needs no driver of its own for each version, sees every request and every word of the
console, and can pretend a dark theme or a phone. Its own download of a browser is not used.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLACES = ("chromium", "chromium-browser", "google-chrome")


def reason_why_not() -> str | None:
    """Why there is no browser here; None if there is."""
    if _executable() is None:
        return f"none of {', '.join(PLACES)} is installed; `apt-get install chromium` does that"
    return None


def _executable() -> str | None:
    return next((place for name in PLACES if (place := shutil.which(name))), None)


@dataclass
class Watched:
    """A page, and what it did beside being shown."""

    page: Any
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator[Any]:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=_executable(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield running
        running.close()


@contextmanager
def opened(
    running: Any, file: Path, width: int = 1920, height: int = 1080, scheme: str = "light"
) -> Iterator[Watched]:
    """The file shown in a window of that size."""
    context = running.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    )
    context.set_default_timeout(10_000)
    watched = Watched(context.new_page())
    watched.page.on("console", lambda message: watched.console.append(message.text))
    watched.page.on("pageerror", lambda error: watched.console.append(str(error)))
    watched.page.on("request", lambda request: watched.requests.append(request.url))

    def on_dialog(dialog: Any) -> None:
        watched.dialogs.append(dialog.message)
        dialog.dismiss()

    watched.page.on("dialog", on_dialog)
    watched.page.goto(file.as_uri())
    yield watched
    context.close()
