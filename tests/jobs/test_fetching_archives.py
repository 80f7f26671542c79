"""Archives behind web addresses: what they are called, what is wrong in them, and leaving early."""

import gzip
import http.server
import io
import os
import signal
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import DataError
from jobs.fetching import fetch
from jobs.places import in_words
from tests.orchestrator.ray_head import free_port

BLOCK, NUM_BLOCKS = bytes(1 << 16), 400
NOISE = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Says nothing."""

    def send_head(self) -> Any:
        if "forbidden" not in self.path:
            return super().send_head()
        self.send_error(403)
        return None


class _Trickling(_Handler):
    """Sends a large archive, block by block, to somebody who presses Ctrl-C at the first one."""

    num_sent = 0

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BLOCK) * NUM_BLOCKS))
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        try:
            for block in range(NUM_BLOCKS):
                self.wfile.write(BLOCK)
                if block == 0:
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                _Trickling.num_sent += 1
                threading.Event().wait(0.02)  # slowly
        except OSError:
            self.close_connection = True


class Web:
    """A folder, and its address."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address

    def put(self, name: str, content: bytes, query: str = "") -> str:
        """Serve this, and return its address."""
        (self.folder / name).write_bytes(content)
        return f"{self.address}/{name}{query}"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Web(folder, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def tar_of(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode=mode) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def zip_of(files: dict[str, bytes], compression: int) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_an_archive_that_changed_is_fetched_again(web: Web, tmp_path: Path) -> None:
    found = []
    for at, content in enumerate((b"one", b"two")):  # of one size
        uri = web.put("m.tgz", tar_of({"training/a/1.png": content}))
        os.utime(web.folder / "m.tgz", (1e9 + at, 1e9 + at))
        folder = fetch(uri, tmp_path / "cache")
        found.append((folder / "training" / "a" / "1.png").read_bytes())
    assert found == [b"one", b"two"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.zip", zip_of({"training/a/1.png": b"one"}, zipfile.ZIP_STORED)),
        ("m.tgz", tar_of({"training/a/1.png": b"one"})),
        ("m.tar.xz", tar_of({"training/a/1.png": b"one"}, "w:xz")),
        ("m.tar.bz2", tar_of({"training/a/1.png": b"one"}, "w:bz2")),
    ],
)
def test_an_address_may_carry_a_signature(
    name: str, content: bytes, web: Web, tmp_path: Path
) -> None:
    uri = web.put(name, content, query="?X-Amz-Signature=a/b")
    folder = fetch(uri, tmp_path / "cache")
    assert (folder / "training" / "a" / "1.png").read_bytes() == b"one"
    assert not (folder / name).exists()
    assert fetch(uri.replace("a/b", "c"), tmp_path / "cache") == folder, "the next one is the same"


def test_nobody_is_told_a_signature(web: Web, tmp_path: Path) -> None:
    uri = web.put("m.zip", b"no archive", query="?X-Amz-Signature=secret")
    web_address = uri.partition("?")[0]
    with pytest.raises(DataError, match=f"^{web_address} cannot be unpacked") as caught:
        fetch(uri, tmp_path / "cache")
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError, match="there is no such data") as caught:
        fetch(uri.replace("m.zip", "other.zip"), tmp_path / "cache")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["monkeys", "monkeys.7z", "monkeys?file=m.zip"])
def test_an_address_must_name_an_archive(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must name an archive \(\.zip, \.tar, .*\.tar\.xz"):
        fetch(f"https://nowhere.invalid/{name}", tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.zip", zip_of({"training/a/1.png": NOISE}, zipfile.ZIP_LZMA)),
        ("m.zip", zip_of({"training/a/1.png": NOISE}, zipfile.ZIP_BZIP2)),
        ("m.tar.gz", tar_of({"training/a/1.png": NOISE}, "w:gz")),
        ("m.tar.xz", tar_of({"training/a/1.png": NOISE}, "w:xz")),
        ("m.tar.bz2", tar_of({"training/a/1.png": NOISE}, "w:bz2")),
    ],
)
def test_a_damaged_archive_is_told_by_its_address(
    name: str, content: bytes, web: Web, tmp_path: Path
) -> None:
    damaged = bytearray(content)
    damaged[100_000:100_100] = bytes(100)
    uri = web.put(name, bytes(damaged))
    with pytest.raises(DataError, match=rf"^{uri} cannot be unpacked: ."):
        fetch(uri, tmp_path / "cache")


TWO = tar_of({"training/a/1.png": b"one", "training/b/2.png": b"two"}, "w")
SECOND = 1024
"""Where the second file's header begins."""


@pytest.mark.parametrize(
    "content",
    [
        TWO[:SECOND],
        TWO[: SECOND + 100],
        TWO[:SECOND] + b"x" + TWO[SECOND + 1 :],
        gzip.compress(TWO[:SECOND] + b"x" + TWO[SECOND + 1 :]),
    ],
)
def test_an_archive_that_ends_too_soon_is_no_smaller_data(
    content: bytes, web: Web, tmp_path: Path
) -> None:
    uri = web.put("m.tar", content)
    with pytest.raises(DataError, match="cannot be unpacked: it is cut short or damaged"):
        fetch(uri, tmp_path / "cache")


def test_a_files_name_may_begin_as_compressed_content_does(web: Web, tmp_path: Path) -> None:
    folder = fetch(web.put("m.tar", tar_of({"BZh/training/a/1.png": b"one"}, "w")), tmp_path)
    assert [file.name for file in folder.rglob("*.png")] == ["1.png"]


def test_words_about_a_server_have_no_signature() -> None:
    uri = "https://host/m.zip?X-Amz-Signature=secret"
    with (
        pytest.raises(OSError, match=r"timeout to host https://host/m\.zip") as told,
        in_words(uri),
    ):
        raise FileNotFoundError(uri) from TimeoutError(f"Connection timeout to host {uri}")
    assert "secret" not in str(told.value)


def test_a_server_may_have_taken_the_compression_off(web: Web, tmp_path: Path) -> None:
    folder = fetch(web.put("m.tar.gz", TWO), tmp_path / "cache")
    assert sorted(file.name for file in folder.rglob("*.png")) == ["1.png", "2.png"]


def test_an_empty_archive_has_no_training_folder(web: Web, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch(web.put("m.zip", zip_of({}, zipfile.ZIP_STORED)), tmp_path / "cache")
    assert caught.value.problems == ("no folder training/ in it",)


def test_what_a_server_refuses_is_not_missing_and_tells_no_signature(
    web: Web, tmp_path: Path
) -> None:
    uri = f"{web.address}/forbidden.zip?X-Amz-Signature=secret"
    with pytest.raises(DataError, match="cannot be used: 403 Forbidden") as caught:
        fetch(uri, tmp_path / "cache")
    assert "secret" not in str(caught.value)
    nobody = f"http://127.0.0.1:{free_port()}/m.zip"
    with pytest.raises(DataError, match=r"cannot be used: .*[Cc]onnect"):
        fetch(nobody, tmp_path / "cache")


def test_a_name_that_is_a_file_and_a_folder_is_told(web: Web, tmp_path: Path) -> None:
    for number, names in enumerate(
        (["training/a", "training/a/1.png"], ["training/a/1.png", "training/a"])
    ):
        uri = web.put(f"{number}.tgz", tar_of(dict.fromkeys(names, b"x")))
        with pytest.raises(DataError, match=rf"^{uri} cannot be unpacked: [\w ]+: training/a$"):
            fetch(uri, tmp_path / "cache")


def test_who_leaves_does_not_wait_for_what_is_under_way(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Trickling) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            fetch(f"http://127.0.0.1:{server.server_port}/m.zip", tmp_path / "cache")
        server.shutdown()
    assert 1 <= _Trickling.num_sent < NUM_BLOCKS
    (of_uri,) = (tmp_path / "cache").iterdir()
    assert [entry.name for entry in of_uri.iterdir()] == ["lock"]
