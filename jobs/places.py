"""Where things are kept: a local path, or the URI of an object in a store such as S3.

In: a `Where`, which `where` makes of what the user wrote. Out: bytes, read, or written whole or not
at all: a local file through `jobs.atomic`, an object by a single PUT, which is that by itself. Used
wherever a setting may name either. fsspec speaks to the stores, and its package for a scheme finds
endpoint and credentials as it always does (of S3: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).

Whatever goes wrong is an `OSError` whose words say what to do; `FileNotFoundError` is an object
that is not there, anything else a store that cannot be used. For local paths fsspec is not even
imported: a checkpoint is written after every epoch.
"""

import errno
import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from jobs import atomic

Where = Path | str
"""A local path, or a URI without a slash at its end."""

URI = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
FILE = "file://"
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
"""What fsspec needs for a scheme, where its own words do not say how to install it."""
WEB, WEB_S = {"http", "https"}, 60.0
"""Schemes of the web, and how long a server there may say nothing."""
NOT_THERE = {404, 410}
NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
SAID = {errno.ENODEV, errno.ENOSPC, errno.EDQUOT}
"""Of errors whose words are ours already, or that are about this machine's disk."""
PROBE, NEVER_THERE = ".writable", ".never-there"


def where(text: str) -> Where:
    """Read what a user wrote: a URI as it is, a folder as an absolute path.

    Raises:
        OSError: it begins with file:// and names no absolute path, or with a ~ of nobody.
    """
    if text.lower().startswith(FILE):
        path = unquote(text[len(FILE) :]).removeprefix("localhost")
        if not path.startswith("/"):
            raise OSError(errno.EINVAL, f"{text} names no folder; write file:///FOLDER")
        return Path(path)
    return text.rstrip("/") if URI.match(text) else at_home(text).absolute()


def at_home(text: str) -> Path:
    """A path as a user wrote it, with the folder that a ~ at its beginning stands for.

    Raises:
        OSError: there is no such user here.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = text.partition("/")[0].removeprefix("~")
        whose = f"there is no user {user} here" if user else "nobody's home folder is known here"
        raise OSError(errno.EINVAL, f"{text}: {whose}; write the whole path") from error


def is_uri(text: str) -> bool:
    """Whether it names an object or a folder of a store, and no local path."""
    return URI.match(text) is not None


def join(folder: Where, name: str) -> Where:
    """Return the place of that relative name, with forward slashes, in a folder."""
    return folder / name if isinstance(folder, Path) else f"{folder}/{name}"


@contextmanager
def whole_file(place: Where) -> Iterator[IO[bytes]]:
    """Open a file that takes `place`'s at the end of the block, unless the block raises."""
    if isinstance(place, Path):
        with atomic.atomic_file(place) as file:
            yield file
        return
    buffer = io.BytesIO()
    yield buffer
    with in_words(place):
        filesystem, path = opened(place)
        filesystem.pipe_file(path, buffer.getvalue())


def read_bytes(place: Where, start: int = 0) -> bytes:
    """Return what is kept there, from that byte on; nothing where it is no longer than that."""
    if isinstance(place, Path):
        with place.open("rb") as file:
            file.seek(start)
            return file.read()
    with in_words(place):
        filesystem, path = opened(place)
        if start and filesystem.info(path)["size"] <= start:
            return b""  # a store refuses a range that begins at the end
        return bytes(filesystem.cat_file(path, start=start or None))


def remove(place: Where) -> None:
    """Remove it, if it is there, and what a writer killed half-way left beside it."""
    if isinstance(place, Path):
        atomic.remove(place)
        return
    with in_words(place), suppress(FileNotFoundError):
        filesystem, path = opened(place)
        filesystem.rm_file(path)


def remove_leftovers(place: Where) -> None:
    """Remove what writers that were killed half-way have left; with an object they leave none."""
    if isinstance(place, Path):
        atomic.remove_leftovers(place)


def check_writable(folder: Where) -> None:
    """Raise `OSError`, with what to do, where a folder or a store does not take what is kept there.

    A store must also say of an object that it is not there, which S3 tells only those who may list:
    a member that starts has no checkpoint yet.
    """
    if isinstance(folder, Path):
        _check_folder(folder)
        return
    probe = join(folder, PROBE)
    with whole_file(probe) as file:
        file.write(b"")
    with suppress(OSError):  # who may write may not always remove
        remove(probe)
    try:
        read_bytes(join(folder, NEVER_THERE))
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"{folder} can be written, but not asked whether something is there "
            f"({error.strerror}): allow reading and listing, s3:GetObject and s3:ListBucket",
        ) from error


def is_there(path: Path) -> bool:
    """Whether there is such a path; False, too, below a folder that may not be entered."""
    try:
        return path.exists()
    except OSError:
        return False


def _check_folder(folder: Path) -> None:
    # A missing one is made when there is something to keep: where that would be.
    there = next(place for place in (folder, *folder.parents) if is_there(place))
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise OSError(
            error.errno, f"{there} cannot be written: {error.strerror}; name another folder"
        ) from error


def opened(uri: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URI, and the path in it.

    Raises:
        OSError: no package knows the scheme, or it is not installed.
    """
    import fsspec

    scheme = _scheme(uri)
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        package = PACKAGES.get(scheme)
        how = f"pip install {package}" if package else str(error)
        raise OSError(
            errno.ENODEV, f"{scheme}:// needs a package that is not installed here: {how}"
        ) from error
    except ValueError as error:
        raise OSError(
            errno.ENODEV,
            f"{scheme}:// is no scheme that fsspec knows; write a folder, file:///FOLDER or "
            "s3://BUCKET/PREFIX",
        ) from error
    # Most clients may be shared between threads. One a thread, fsspec's own way, would stay behind
    # with each of a slot's trainings; only those that are not made for sharing are had so.
    make = _shared if kind.async_impl else _new
    return make(kind, os.getpid()), kind._strip_protocol(uri)


def _new(kind: Any, _process: int) -> Any:
    # Others write to the same store: what was listed a moment ago may not be so any more.
    return kind(use_listings_cache=False)


@cache
def _shared(kind: Any, _process: int) -> Any:
    more = {}
    if "http" in kind.protocol:
        import aiohttp  # fsspec's own client for the web; by itself it gives up after 5 minutes

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=WEB_S, sock_read=WEB_S)
        more["client_kwargs"] = {"timeout": timeout}
    return kind(use_listings_cache=False, skip_instance_cache=True, **more)


@contextmanager
def in_words(uri: str) -> Iterator[None]:
    """Turn whatever a store's client raises into an `OSError` that says what to do."""
    try:
        yield
    except Exception as error:
        raise _in_words(uri, error) from error


def _in_words(uri: str, error: Exception) -> OSError:
    if isinstance(error, OSError) and error.errno in SAID:
        return error
    scheme, bucket = _scheme(uri), URI.sub("", uri).partition("/")[0]
    store = f"{scheme}://{bucket}"
    if _code(error) == "NoSuchBucket":
        return OSError(errno.ENODEV, f"there is no {store}: make the bucket, or name another one")
    said = error.__cause__ if scheme in WEB and error.__cause__ is not None else error
    status = getattr(said, "status", None)  # what a web server has answered
    if isinstance(error, FileNotFoundError) and (said is error or status in NOT_THERE):
        return FileNotFoundError(errno.ENOENT, "there is no such object", uri)
    if type(error).__name__ in NO_CREDENTIALS:
        return PermissionError(
            errno.EACCES,
            f"no credentials for {store}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, here "
            "and on every node",
        )
    words = " ".join(str(said).split()) or type(said).__name__
    if status is not None:
        words = f"{status} {getattr(said, 'message', '')}"
    if scheme in WEB:  # an address may be signed
        words = re.sub(r"[?#]\S+", "", words)
    if isinstance(error, PermissionError):
        return PermissionError(errno.EACCES, f"{store} refuses: {words}")
    return OSError(errno.EIO, f"{store} cannot be used: {words}")


def _code(error: BaseException | None) -> str | None:
    """The store's own name for what is wrong, of the error or of what it came from."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code"))
        error = error.__cause__
    return None


def _scheme(uri: str) -> str:
    match = URI.match(uri)
    assert match is not None, f"{uri} is no URI"
    return match[1].lower()
