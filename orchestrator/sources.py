"""Where a cohort's images come from: the embedded drawn set, or a folder of photos.

In: a cohort's data section, and perhaps another folder named on the command line. Out: a source
(`drawn`, an absolute path, or a URI) and its images, fetched and decoded once and cached. Used by
`submission`, `inputs` and `workflows.scoring`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from jobs.drawn_monkeys import CLASS_NAMES, TRAINING_COUNTS, drawn_folder, ensure_drawn
from jobs.fetching import fetch
from jobs.image_folder import scan
from jobs.images import DecodedFolder, decode, readable
from jobs.places import Where, at_home, is_uri, where
from orchestrator.admission.files import Reading
from orchestrator.console import encodable, printable
from orchestrator.errors import Refused
from orchestrator.settings import Settings
from orchestrator.state import DataRecord

DRAWN = "drawn"

ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""From a label to a block in which (done, total) is shown."""


@contextmanager
def silent(_label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that shows nothing."""
    yield lambda _done, _total: None


def data_root(source: str, settings: Settings, progress: ProgressBar = silent) -> Path:
    """The folder of a data source; what is not there yet is drawn, or fetched from its URI.

    Raises `jobs.errors.DataError` where it can't be fetched, and `OSError` for a ~ of nobody.
    """
    if source == DRAWN:
        with progress("drawing the monkeys") as show:
            return ensure_drawn(settings.data, progress=show)
    if isinstance(place := where(source), str):
        with progress("fetching the images") as show:
            return fetch(place, settings.fetched, show)
    return place if is_uri(source) else at_home(source)


def size_of_data(
    source: str, skip_broken: bool, settings: Settings, progress: ProgressBar = silent
) -> tuple[tuple[str, ...], int, str]:
    """The classes of a source, how many training images it holds, and their fingerprint.

    Nothing is decoded: broken files count until a submission has met them. The embedded set has no
    fingerprint before it is drawn. Raises `jobs.errors.DataError` as `data_root`.
    """
    if source == DRAWN and not drawn_folder(settings.data).is_dir():
        return tuple(CLASS_NAMES), sum(TRAINING_COUNTS), ""
    root = data_root(source, settings, progress)
    folder = readable(root, settings.image_cache) if skip_broken else scan(root)
    return folder.classes, len(folder.training), folder.fingerprint


def source_of(reading: Reading, override: Where | None) -> str:
    """Where a cohort's data lies: `drawn`, an absolute path, or a URI.

    Raises `OSError` where it begins with a ~ of nobody who is known here, and `Refused` where it
    could not be kept with the cohort.
    """
    source = _source_of(reading, override)
    if not encodable(source):
        raise Refused(f"the data's folder {printable(source)} is not named in UTF-8; rename it")
    return source


def _source_of(reading: Reading, override: Where | None) -> str:
    if override is not None:
        return str(where(str(override)))
    source = reading.cohort.spec.data.source
    if source == DRAWN:
        return source
    if is_uri(source):
        return str(where(source))
    return str((reading.folder / at_home(source)).absolute())


def source_again(stored: DataRecord, override: Where | None) -> str:
    """Where a submitted cohort's data lies now: where it lay then, or where somebody says."""
    return stored.source if override is None else str(where(str(override)))


def decode_source(
    source: str,
    sizes_px: Sequence[int],
    skip_broken: bool,
    settings: Settings,
    progress: ProgressBar = silent,
    with_test: bool = True,
) -> DecodedFolder:
    """A source's images, decoded at these sizes; raises `jobs.errors.DataError` if it can't be.

    Without `with_test` no test image is read.
    """
    root = data_root(source, settings, progress)
    with progress("decoding the images") as show:
        return decode(root, sizes_px, settings.image_cache, skip_broken, show, with_test)
