"""Data behind a URI: fetched once for each state, whole or not at all, by one process at a time."""

import io
import multiprocessing
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs.errors import DataError
from jobs.fetching import fetch
from jobs.image_folder import scan
from tests.jobs.conftest import DrawFolder
from tests.s3 import S3

Upload = Callable[..., str]


@pytest.fixture
def upload(s3: S3) -> Upload:
    """A function that puts a local folder behind a URI, which it returns."""

    def put(folder: Path) -> str:
        uri = f"s3://{s3.bucket()}/monkeys"
        s3.files().put(f"{folder}/", f"{uri}/", recursive=True)
        return uri

    return put


class Counter:
    """Counts what is fetched."""

    def __init__(self) -> None:
        self.files = 0

    def __call__(self, done: int, total: int) -> None:
        assert 1 <= done <= total
        self.files += 1


def test_the_same_files_have_the_same_fingerprints(
    draw_folder: DrawFolder, upload: Upload, tmp_path: Path
) -> None:
    drawn, count = draw_folder(), Counter()
    fetched = scan(fetch(upload(drawn), tmp_path / "cache", count))
    original = scan(drawn)
    assert fetched.classes == original.classes
    assert fetched.fingerprint == original.fingerprint
    assert fetched.test_fingerprint == original.test_fingerprint
    assert count.files == len(original.training) + len(original.test) > 0


def test_nothing_is_fetched_twice_until_something_changes(
    draw_folder: DrawFolder, upload: Upload, s3: S3, tmp_path: Path
) -> None:
    uri, cache, count = upload(draw_folder()), tmp_path / "cache", Counter()
    first = fetch(uri, cache, count)
    num_files = count.files
    assert fetch(f"{uri}", cache, count) == first
    assert count.files == num_files

    image = sorted((first / "training" / "n1").iterdir())[0]
    s3.files().pipe_file(f"{uri}/training/n1/{image.name}", image.read_bytes() + b" ")
    second = fetch(uri, cache, count)
    assert count.files == 2 * num_files
    assert scan(second).fingerprint != scan(first).fingerprint
    s3.files().rm_file(f"{uri}/training/n1/{image.name}")
    assert len(scan(fetch(uri, cache)).training) == len(scan(first).training) - 1


def test_a_copy_that_lost_files_is_fetched_again(
    draw_folder: DrawFolder, upload: Upload, tmp_path: Path
) -> None:
    uri, cache = upload(draw_folder()), tmp_path / "cache"
    folder = fetch(uri, cache)
    whole = scan(folder).fingerprint
    sorted((folder / "training" / "n1").iterdir())[0].write_bytes(b"")
    assert scan(fetch(uri, cache)).fingerprint == whole


def test_what_a_killed_fetch_left_does_not_count(
    draw_folder: DrawFolder, upload: Upload, tmp_path: Path
) -> None:
    drawn, cache = draw_folder(), tmp_path / "cache"
    uri = upload(drawn)

    def killed(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(uri, cache, killed)
    (of_uri,) = cache.iterdir()
    assert [entry.name for entry in of_uri.iterdir()] == ["lock"]
    # One that had no time to put anything in order.
    shutil.copytree(drawn / "training", of_uri / ".unfinished-x" / "training")
    folder = fetch(uri, cache)
    assert scan(folder).fingerprint == scan(drawn).fingerprint
    assert sorted(entry.name for entry in of_uri.iterdir()) == sorted([folder.name, "lock"])


def _fetch_counting(uri: str, cache: Path) -> tuple[str, int]:
    count = Counter()
    return str(fetch(uri, cache, count)), count.files


def test_processes_that_fetch_at_once_fetch_once(
    draw_folder: DrawFolder, upload: Upload, tmp_path: Path
) -> None:
    drawn = draw_folder()
    uri, whole = upload(drawn), scan(drawn)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.starmap(_fetch_counting, [(uri, tmp_path / "cache")] * 3)
    assert len({folder for folder, _ in results}) == 1
    assert sorted(count for _, count in results) == [0, 0, len(whole.training) + len(whole.test)]
    assert scan(Path(results[0][0])).fingerprint == whole.fingerprint


def test_the_training_part_alone_is_fetched_where_there_is_no_other(
    draw_folder: DrawFolder, upload: Upload, tmp_path: Path
) -> None:
    drawn = draw_folder()
    whole = scan(drawn)
    shutil.rmtree(drawn / "validation")
    fetched = scan(fetch(upload(drawn), tmp_path / "cache"))
    assert (fetched.fingerprint, fetched.test) == (whole.fingerprint, ())


@pytest.mark.parametrize("name", ["monkeys.zip", "MONKEYS.ZIP", "monkeys.tar.gz", "monkeys.tgz"])
@pytest.mark.parametrize("inside", ["", "folder/"])
def test_archives_are_unpacked(
    draw_folder: DrawFolder, s3: S3, tmp_path: Path, name: str, inside: str
) -> None:
    drawn, packed = draw_folder(), io.BytesIO()
    if name.lower().endswith(".zip"):
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(drawn.rglob("*")):
                archive.write(path, f"{inside}{path.relative_to(drawn)}")
    else:
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for part in ("training", "validation"):
                tar.add(drawn / part, f"{inside}{part}")
    uri, count = f"s3://{s3.bucket()}/{name}", Counter()
    s3.files().pipe_file(uri, packed.getvalue())
    folder = fetch(uri, tmp_path / "cache", count)
    assert scan(folder).fingerprint == scan(drawn).fingerprint
    assert scan(folder).test_fingerprint == scan(drawn).test_fingerprint
    assert fetch(uri, tmp_path / "cache", count) == folder
    assert count.files == 1


def _tar_of(entries: list[tuple[str, bytes, str]]) -> bytes:
    """An archive of (name, content, what it links to)."""
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w:gz") as tar:
        for name, content, linked in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            if linked:
                entry.type, entry.linkname = tarfile.SYMTYPE, linked
            elif name.endswith("/"):
                entry.type = tarfile.DIRTYPE
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def test_links_in_an_archive_are_files_of_it(s3: S3, tmp_path: Path) -> None:
    bucket, cache = s3.bucket(), tmp_path / "cache"
    linked = _tar_of([("/training/a/1.png", b"one", ""), ("/training/a/2.png", b"", "1.png")])
    s3.files().pipe_file(f"{bucket}/linked.tgz", linked)
    folder = fetch(f"s3://{bucket}/linked.tgz", cache) / "training" / "a"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "1.png": b"one",
        "2.png": b"one",
    }
    assert not any(path.is_symlink() for path in folder.iterdir())

    for number, (target, said) in enumerate(
        {
            "/etc/passwd": "links to what is not in it",
            "2.png": "links to what is not in it",  # itself
            "../a": "links to what is no file",
        }.items()
    ):
        entries = [("training/a/1.png", b"one", ""), ("training/a/2.png", b"", target)]
        uri = f"s3://{bucket}/{number}.tgz"
        s3.files().pipe_file(uri, _tar_of([*entries, ("training/a/", b"", "")]))
        with pytest.raises(DataError, match=rf"cannot be unpacked: training/a/2\.png {said}"):
            fetch(uri, cache)
    s3.files().pipe_file(f"{bucket}/up.tgz", _tar_of([("../../../../x", b"x", "")]))
    with pytest.raises(DataError, match="leads out of the data folder"):
        fetch(f"s3://{bucket}/up.tgz", cache)
    assert not list(tmp_path.rglob("x"))


def test_what_cannot_be_used_is_said(s3: S3, tmp_path: Path) -> None:
    bucket, cache = s3.bucket(), tmp_path / "cache"
    s3.files().pipe_file(f"{bucket}/torn.zip", b"PK no more")
    with zipfile.ZipFile(torn := io.BytesIO(), "w") as archive:
        archive.writestr("other/x", b"x")
    s3.files().pipe_file(f"{bucket}/other.zip", torn.getvalue())
    for uri, expected in {
        f"s3://{bucket}/empty": "no files in training/CLASS/ there",
        f"s3://{bucket}/missing.zip": "there is no such data",
        f"s3://{bucket}/torn.zip": "cannot be unpacked",
        f"s3://{bucket}/other.zip": "no folder training/ in it",
        "s3://nowhere/monkeys": "there is no s3://nowhere",
        "xyz://monkeys": "no scheme that fsspec knows",
    }.items():
        with pytest.raises(DataError, match=expected):
            fetch(uri, cache)
    with s3.away(), pytest.raises(DataError, match="cannot be fetched"):
        fetch(f"s3://{bucket}/empty", cache)


def test_a_damaged_archive_is_not_data(draw_folder: DrawFolder, s3: S3, tmp_path: Path) -> None:
    drawn, bucket = draw_folder(), s3.bucket()
    noise = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    tar = bytearray(_tar_of([("training/a/1.png", noise, "")]))
    tar[100_000] ^= 1  # noise cannot be compressed, so gzip stores it, and only its checksum tells
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((drawn / "training").rglob("*.*")):
            archive.write(path, str(path.relative_to(drawn)))
    locked = bytearray(packed.getvalue())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(locked)):
            locked[found.start() + at] |= 1  # says that it is encrypted
    for name, content in {"torn.tar.gz": tar, "locked.zip": locked}.items():
        s3.files().pipe_file(f"{bucket}/{name}", bytes(content))
        with pytest.raises(DataError, match="cannot be unpacked"):
            fetch(f"s3://{bucket}/{name}", tmp_path / "cache")


def test_no_object_lands_outside_of_the_cache(s3: S3, tmp_path: Path) -> None:
    bucket = s3.bucket()
    s3.files().pipe_file(f"{bucket}/d/training/a/../../../../../x", b"x")
    with pytest.raises(DataError, match=r"leads out of the data folder|cannot be used"):
        fetch(f"s3://{bucket}/d", tmp_path / "cache")
    assert not list(tmp_path.rglob("x"))
