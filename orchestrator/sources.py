"""Where a cohort's images come from: the embedded drawn set, or a folder of photos.

In: a cohort's data section, and perhaps another folder named on the command line. Out: a source
(`drawn`, or an absolute path) and its images, decoded once and cached. Used by `submission`,
`inputs` and `cli.score`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from jobs.drawn_monkeys import ensure_drawn
from jobs.images import DecodedFolder, decode
from orchestrator.files import Reading
from orchestrator.settings import Settings

DRAWN = "drawn"

ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""From a label to a block in which (done, total) is shown."""


@contextmanager
def silent(_label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that shows nothing."""
    yield lambda _done, _total: None


def data_root(source: str, settings: Settings, progress: ProgressBar = silent) -> Path:
    """The folder of a data source; the embedded set is drawn where it is not there yet."""
    if source == DRAWN:
        with progress("drawing the monkeys") as show:
            return ensure_drawn(settings.data, progress=show)
    return Path(source).expanduser()


def source_of(reading: Reading, override: Path | None) -> str:
    """Where a cohort's data lies: `drawn` or an absolute path."""
    if override is not None:
        return str(override.expanduser().absolute())
    source = reading.cohort.spec.data.source
    if source == DRAWN:
        return source
    return str((reading.folder / Path(source).expanduser()).absolute())


def decode_source(
    source: str,
    sizes_px: Sequence[int],
    skip_broken: bool,
    settings: Settings,
    progress: ProgressBar = silent,
) -> DecodedFolder:
    """A source's images, decoded at these sizes; raises `jobs.errors.DataError` if it can't be."""
    root = data_root(source, settings, progress)
    with progress("decoding the images") as show:
        return decode(root, sizes_px, settings.image_cache, skip_broken, show)
