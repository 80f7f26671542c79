"""Values -> one HTML file that needs nothing else: no network, no font, no library.

In: a `Report` or a `TeamResults`, and pictures as data URIs. Out: the text of the file. The
templates stand beside this module; they escape every value, and a Content-Security-Policy keeps
anything from being loaded and any script from running but the one that is written here.
"""

import base64
import hashlib
import time
from collections.abc import Mapping
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator.report.page import Report, Score, TeamResults
from orchestrator.terminal import display

MATRIX_MAX_CLASSES = 24
"""With more of them a confusion matrix cannot be read, and the mix-ups are listed instead."""
MIX_UPS_SHOWN = 12
MISTAKES_SHOWN = 48


def report_html(report: Report, pictures: Mapping[str, str], no_pictures: str = "") -> str:
    """The whole cohort as a page; `no_pictures` says why some are missing."""
    return _render("report.html", report=report, pictures=pictures, no_pictures=no_pictures)


def results_html(results: TeamResults, pictures: Mapping[str, str], no_pictures: str = "") -> str:
    """One team's part as a page."""
    return _render("results.html", results=results, pictures=pictures, no_pictures=no_pictures)


def _render(template: str, **values: object) -> str:
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash_of('style.css')}; "
        f"script-src {_hash_of('page.js')}; base-uri 'none'; form-action 'none'"
    )
    return _environment().get_template(template).render(policy=policy, **values)


@cache
def _hash_of(name: str) -> str:
    """Names a style or a script by its content, as it stands in the page."""
    text = _environment().get_template(name).render()
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("orchestrator.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda share: f"{share:.1%}",
        "bnn": lambda amount: f"{amount:g}",
        "duration": display.duration,
        "date": lambda at: time.strftime("%d %B %Y, %H:%M", time.localtime(at)),
        "place_in_words": place_in_words,
    }
    environment.globals |= {
        "matrix_max_classes": MATRIX_MAX_CLASSES,
        "mix_ups_shown": MIX_UPS_SHOWN,
        "mistakes_shown": MISTAKES_SHOWN,
    }
    return environment


def place_in_words(score: Score) -> str:
    """A place in words: 1st, shared 2nd, 3rd, 11th."""
    number, shared = score.rank, "shared " if score.shared else ""
    teen = 10 <= number % 100 <= 20
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{shared}{number}{ending}"
