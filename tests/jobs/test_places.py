"""Places: local paths and objects in a store, read, written whole, and spoken of in plain words."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.errors import CheckpointError
from jobs.places import (
    Where,
    check_writable,
    is_uri,
    join,
    read_bytes,
    remove,
    where,
    whole_file,
)
from tests.s3 import S3


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """An empty folder of each kind."""
    if request.param == "local":
        return tmp_path / "kept"
    server: S3 = request.getfixturevalue("s3")
    return f"s3://{server.bucket()}/kept"


def write(place: Where, content: bytes) -> None:
    with whole_file(place) as file:
        file.write(content)


def test_what_is_written_is_read(folder: Where) -> None:
    place = join(folder, "cohort/team/m0.bin")
    write(place, b"first")
    assert read_bytes(place) == b"first"
    write(place, b"the second one")
    assert read_bytes(place) == b"the second one"
    assert read_bytes(place, 4) == b"second one"
    assert read_bytes(place, 14) == b""
    assert read_bytes(place, 100) == b""
    write(place, b"")
    assert read_bytes(place) == b""


def test_a_writer_that_fails_leaves_what_was_there(folder: Where) -> None:
    place = join(folder, "m0.bin")
    write(place, b"whole")

    def fail() -> None:
        with whole_file(place) as file:
            file.write(b"half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert read_bytes(place) == b"whole"


def test_what_is_removed_is_gone_and_may_be_removed_again(folder: Where) -> None:
    place = join(folder, "m0.bin")
    write(place, b"x")
    for _ in range(2):
        remove(place)
    for start in (0, 5):
        with pytest.raises(FileNotFoundError):
            read_bytes(place, start)
    write(place, b"y")
    assert read_bytes(place) == b"y"


def test_a_folder_that_can_be_written_passes_the_check(folder: Where) -> None:
    check_writable(folder)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "not" / "yet"):
        check_writable(place)
    assert not [*tmp_path.iterdir()]
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/sys/kept")):
        with pytest.raises(OSError, match=r"cannot be written: .*; name another folder"):
            check_writable(place)


def test_what_users_write_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert where("kept") == tmp_path / "kept"
    assert where("/kept/") == Path("/kept")
    assert where("file:///with%20space/x") == Path("/with space/x")
    assert where("s3://bucket/prefix/") == "s3://bucket/prefix"
    assert not is_uri("a:/b")
    with pytest.raises(OSError, match=r"write file:///FOLDER"):
        where("file://here")


def test_a_store_that_is_away_is_not_an_object_that_is_gone(s3: S3) -> None:
    place = f"s3://{s3.bucket()}/x"
    write(place, b"kept")
    with s3.away():
        for act in (
            lambda: read_bytes(place),
            lambda: remove(place),
            lambda: write(place, b"lost"),
            lambda: check_writable(place),
        ):
            with pytest.raises(OSError, match="cannot be used") as raised:
                act()
            assert not isinstance(raised.value, FileNotFoundError)
    assert read_bytes(place) == b"kept"


def test_a_bucket_that_does_not_exist_is_said(s3: S3) -> None:
    for act in (
        lambda: check_writable("s3://nowhere/x"),
        lambda: read_bytes("s3://nowhere/x"),
    ):
        with pytest.raises(OSError, match="there is no s3://nowhere: make the bucket") as raised:
            act()
        assert not isinstance(raised.value, FileNotFoundError)


def test_missing_credentials_are_said(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"s3://{s3.bucket()}/x"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    script = "import sys; from jobs.places import check_writable; check_writable(sys.argv[1])"
    words = [sys.executable, "-c", script, place]  # a client that has credentials keeps them
    done = subprocess.run(words, capture_output=True, text=True)
    assert re.search(r"PermissionError: .*no credentials for s3://.*AWS_ACCESS_KEY_ID", done.stderr)


def test_a_store_that_may_not_be_listed_is_refused_with_what_to_allow(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"s3://{s3.bucket()}/kept"

    def forbidden(_place: object) -> bytes:  # what S3 says to those who may not list
        raise PermissionError(errno.EACCES, "s3://bucket refuses: Access Denied")

    monkeypatch.setattr("jobs.places.read_bytes", forbidden)
    with pytest.raises(PermissionError, match=r"refuses: Access Denied.*s3:ListBucket"):
        check_writable(folder)


def test_what_no_package_can_open_is_said() -> None:
    with pytest.raises(OSError, match=r"xyz:// is no scheme that fsspec knows"):
        check_writable("xyz://bucket")
    with pytest.raises(OSError, match=r"gs:// needs a package .* pip install gcsfs"):
        check_writable("gs://bucket")


def test_local_places_need_no_fsspec(tmp_path: Path) -> None:
    script = (
        "import sys; from jobs.places import *; place = where(sys.argv[1])"
        "\nwith whole_file(place) as file: file.write(b'x')"
        "\nread_bytes(place); remove(place); check_writable(place.parent)"
        "\nassert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "x")], check=True)


def test_checkpoint_errors_cross_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(CheckpointError("s3://b/x", "it is away", "read")))  # noqa: S301
    assert "s3://b/x cannot be read: it is away" in str(error)
    assert "make room" in str(CheckpointError("x", "disk full"))
