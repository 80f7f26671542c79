"""Data behind a URI -> the same folder on this node, fetched once for each state of what is there.

In: the URI of a folder with `training/CLASS/*` and `validation/CLASS/*` (or the first one alone),
or of an archive (.zip, .tar.gz) of such a folder; a web address names an archive, as no listing
stands behind it. Out: a local folder that `jobs.images` scans; its fingerprint is that of the same
files anywhere. What is there is told by a listing: names, sizes and the store's own marks of
content or time. Where the listing is one that was fetched before, nothing is fetched again.

    CACHE/URI/lock            held by whoever fetches; others wait, and find what it fetched
    CACHE/URI/LISTING/        one state, renamed into place when it is complete
    CACHE/URI/LISTING/.files  JSON: the files in it and their sizes
"""

import bz2
import errno
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from jobs.atomic import alone
from jobs.errors import DataError, Stopped
from jobs.image_folder import TEST, TRAINING
from jobs.places import in_words, opened

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
WEB = ("http://", "https://")
COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ": lzma.open,
    b"BZh": bz2.open,
}
"""How files begin, as their names may not tell: some servers take the compression off."""
MARKS = ("ETag", "etag", "md5Hash", "Content-MD5", "mtime", "LastModified", "Last-Modified",
         "last_modified", "updated", "created")  # fmt: skip
"""What stores call that which changes with a file's content; the first that there is counts."""
FILES = ".files"
NUM_THREADS = 16  # they wait for the network
BYTES_A_READ = 1 << 20

UNPACKING_FAILS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # encrypted
    UnicodeDecodeError,
)
OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}
"""Any other error of the system is a damaged archive's, or of one with names that cannot be."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RemoteFile:
    """A file of the listing; `path` is the store's, `name` the one below the data folder."""

    path: str
    name: str
    size_bytes: int | None
    """None where the store does not tell."""
    mark: str


def fetch(uri: str, cache: Path, progress: Progress = lambda _done, _total: None) -> Path:
    """Return a local folder with what is behind the URI now.

    Args:
        uri: of a data folder, or of an archive of one.
        cache: folder of everything that was fetched; made if it does not exist.
        progress: called with (files done, files to do) while fetching.

    Raises:
        DataError: there is no such data, or its store cannot be used.
        OSError: the cache cannot be written.
    """
    address, uri = uri, without_query(uri)
    if uri.lower().startswith(WEB) and not _is_archive(uri):
        raise DataError(f"{uri}: a web address must name an archive ({', '.join(ARCHIVES)})")
    with _data_errors(uri), in_words(uri):
        filesystem, root = opened(address)
        files = _listing(filesystem, uri, root)
    # Not the path: a store may spell it otherwise the next time.
    known = json.dumps([astuple(file)[1:] for file in files])
    folder = cache / _short(uri) / _short(known)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.parent / "lock"):
        _remove_unfinished(folder.parent)
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            _fetch_into(folder, uri, filesystem, files, progress)
    return folder


def _listing(filesystem: Any, uri: str, root: str) -> list[RemoteFile]:
    if _is_archive(uri):
        about = filesystem.info(root)
        return [_remote(root, without_query(root).rpartition("/")[2], about)]
    found: dict[str, dict[str, Any]] = {}
    for part in (TRAINING, TEST):
        found |= filesystem.find(f"{root}/{part}", detail=True)
    return [
        _remote(path, path.removeprefix(root).lstrip("/"), about)
        for path, about in sorted(found.items())
        if not path.endswith("/")  # the mark of an empty folder
    ]


def _remote(path: str, name: str, about: dict[str, Any]) -> RemoteFile:
    mark = next((str(about[key]) for key in MARKS if about.get(key) is not None), "")
    size = about.get("size")
    return RemoteFile(path, name, None if size is None else int(size), mark)


def _fetch_into(
    folder: Path, uri: str, filesystem: Any, files: Sequence[RemoteFile], progress: Progress
) -> None:
    if not _is_archive(uri) and not any(file.name.startswith(f"{TRAINING}/") for file in files):
        raise DataError(f"{uri} cannot be used as data", [f"no files in {TRAINING}/CLASS/ there"])
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unfinished-"))
    try:
        with _data_errors(uri):
            _copy_all(uri, filesystem, files, unfinished, progress)
        if _is_archive(uri):
            _unpack(uri, unfinished, unfinished / files[0].name)
        sizes = {
            path.relative_to(unfinished).as_posix(): path.stat().st_size
            for path in sorted(unfinished.rglob("*"))
            if path.is_file()
        }
        (unfinished / FILES).write_text(json.dumps(sizes))
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _copy_all(
    uri: str, filesystem: Any, files: Sequence[RemoteFile], folder: Path, progress: Progress
) -> None:
    from fsspec.callbacks import Callback

    left = threading.Event()

    def check_wanted(_size_bytes: int | None, _done_bytes: int) -> None:
        if left.is_set():
            raise Stopped("nobody waits for it any more")

    def copy(file: RemoteFile) -> None:
        target = _inside(folder, file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with in_words(uri):
            between_blocks = Callback(hooks={"check_wanted": check_wanted})
            filesystem.get_file(file.path, str(target), callback=between_blocks)
        if file.size_bytes not in (None, target.stat().st_size):
            raise DataError(f"{uri}: {file.name} has changed while it was fetched; try again")

    pool = ThreadPoolExecutor(NUM_THREADS if filesystem.async_impl else 1)
    try:
        for done, _ in enumerate(pool.map(copy, files), start=1):
            progress(done, len(files))
    finally:
        left.set()  # or else Ctrl-C would wait until what is under way is here
        pool.shutdown(cancel_futures=True)


def _inside(folder: Path, name: str) -> Path:
    """The file's place; an object may be called anything, such as ../../x."""
    target = Path(os.path.normpath(folder / name))
    if folder not in target.parents:
        raise DataError(f"an object's name leads out of the data folder: {name!r}")
    return target


def _unpack(uri: str, folder: Path, archive: Path) -> None:
    """Replace an archive by what is in it: the data folder, or the only folder that holds it."""
    inner = folder / ".unpacked"
    inner.mkdir()
    try:
        if archive.suffix.lower() == ".zip":
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(inner)  # noqa: S202  # no name leads out of the folder
        else:
            with tarfile.open(archive) as packed_tar:
                _extract(packed_tar, inner)
            _check_end(archive, packed_tar.offset)
    except UNPACKING_FAILS as error:
        raise DataError(f"{uri} cannot be unpacked: {error}") from error
    except OSError as error:
        if error.errno in OF_THE_DISK:
            raise
        name = f": {os.path.relpath(error.filename, inner)}" if error.filename else ""
        raise DataError(f"{uri} cannot be unpacked: {error.strerror or error}{name}") from error
    archive.unlink()
    roots = [inner, *(entry for entry in sorted(inner.iterdir()) if entry.is_dir())]
    root = next((root for root in roots if (root / TRAINING).is_dir()), None)
    if root is None:
        raise DataError(f"{uri} cannot be used as data", [f"no folder {TRAINING}/ in it"])
    for part in (TRAINING, TEST):
        if (root / part).is_dir():
            (root / part).rename(folder / part)
    shutil.rmtree(inner)


def _check_end(archive: Path, end: int) -> None:
    """Raise `ReadError` unless a tar ends where tarfile has stopped, as it does at damage, too.

    All of it is read: a checksum is behind everything that tarfile reads.
    """
    with archive.open("rb") as raw:
        begin = raw.read(tarfile.BLOCKSIZE)
    marked = (o for mark, o in COMPRESSED.items() if begin.startswith(mark))
    plain = begin[257:262] == b"ustar"  # a file's name may begin as compressed content does
    opener = Path.open if plain else next(marked, Path.open)
    with opener(archive, "rb") as content:
        while end > 0 and (skipped := len(content.read(min(end, BYTES_A_READ)))):
            end -= skipped
        if content.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut short or damaged")
        while content.read(BYTES_A_READ):
            pass


def _extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Write an archive's files; a link becomes a copy of the file in the archive that it means.

    `extractall` takes a filter that would do since Python 3.11.4 only.
    """
    for member in archive:
        try:
            file = archive.extractfile(member)
        except (KeyError, RecursionError) as error:
            raise tarfile.ExtractError(f"{member.name} links to what is not in it") from error
        if file is None and (member.issym() or member.islnk()):
            raise tarfile.ExtractError(f"{member.name} links to what is no file")
        if file is None:  # a folder, or nothing that holds data
            continue
        target = _inside(folder, member.name.lstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy)


def _is_whole(folder: Path) -> bool:
    """Whether a state has all its files still, in their sizes; what is in them is checked later."""
    try:
        sizes = json.loads((folder / FILES).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _remove_unfinished(folder: Path) -> None:
    """Remove what was left half-way; whoever holds the lock is the only one at work."""
    for leftover in folder.glob(".unfinished-*"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _data_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{uri}: there is no such data") from error
    except OSError as error:
        raise DataError(f"{uri} cannot be fetched: {error.strerror or error}") from error


def _is_archive(uri: str) -> bool:
    return uri.lower().endswith(ARCHIVES)


def without_query(uri: str) -> str:
    """The URI without what a web address says behind its path: a signature is nobody's business."""
    return re.split("[?#]", uri)[0] if uri.lower().startswith(WEB) else uri


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
