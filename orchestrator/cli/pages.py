"""HTML pages that a command writes: their option, their pictures, the file.

In: what `report` drew up. Out: a page on disk. Used by the commands `report` and `results`.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from jobs.errors import JobsError
from jobs.places import Where
from orchestrator import console
from orchestrator.cli.common import check_places, ending_in, write_result
from orchestrator.cli.paths import LocalPath
from orchestrator.settings import Settings

if TYPE_CHECKING:  # numpy comes with it
    from orchestrator.state import DataRecord

_P = ParamSpec("_P")
_T = TypeVar("_T")


def page_option(words: str) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """The option -o that names a page; `words` are its help."""
    return click.option(
        "-o",
        "file",
        metavar="FILE.html",
        type=LocalPath(dir_okay=False),
        callback=ending_in(".html", ".htm", hint="; --output json is for programs"),
        help=words,
    )


def find_pictures(
    record: "DataRecord",
    data: Where | None,
    wanted: Collection[str],
    test: bool,
    settings: Settings,
) -> tuple[Mapping[str, str], str]:
    """The wanted images as data URIs, by SHA-256; and why some are missing, if any are.

    They are looked for in the data's hidden part or, with `test` False, in its training part.
    """
    from jobs.image_folder import scan
    from orchestrator.report.pictures import pictures
    from orchestrator.sources import data_root, source_again
    from orchestrator.terminal.progress_bars import progress

    if not wanted:
        return {}, ""
    source = source_again(record, data)
    try:
        folder = scan(data_root(source, settings, progress), with_test=test)
        found = pictures(folder.test if test else folder.training, wanted)
    except (JobsError, OSError) as error:
        return {}, f"without pictures: {error}; name the folder of the images with --data"
    if len(found) < len(set(wanted)):
        lacking = len(set(wanted)) - len(found)
        return (
            found,
            f"{lacking} of the pictures are not in {source} any more; --data names a folder",
        )
    return found, ""


def write_page(path: Path, text: str, secret: bool) -> None:
    """Writes the file, for its owner alone where it is secret, and says where it is."""
    check_places(path)
    content = text.encode()
    write_result(path, content, secret=secret)
    console.print_note(f"written to {path} ({_size(len(content))}); open it in a browser")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{max(1, num_bytes // 1000)} kB"
