"""Frames and shared arrays: what crosses between the two sides, and what is refused unread."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from jobs.custom.frames import (
    MAX_LINE_BYTES,
    Channel,
    Frame,
    FrameError,
    open_shared,
    share,
)

LARGEST = 4 << 20


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """Our side as a channel, the other as a bare socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours, LARGEST), theirs


def in_background(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_frames_cross_in_order_with_fields_and_blobs() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender, receiver = Channel(ours, LARGEST), Channel(theirs, LARGEST)
        large = os.urandom(3 << 20)  # far more than the socket holds at a time

        def send() -> None:
            sender.send("ready")
            sender.send("epoch", {"epoch": 1, "name": "Kapuzineräffchen\n"}, [b"", large, b"\n{}"])
            sender.send("done")

        thread = in_background(send)
        assert receiver.receive() == Frame("ready", {}, ())
        assert receiver.receive() == Frame(
            "epoch", {"epoch": 1, "name": "Kapuzineräffchen\n"}, (b"", large, b"\n{}")
        )
        assert receiver.receive() == Frame("done", {}, ())
        thread.join()


def test_a_plan_with_a_source_of_64_kib_fits_whatever_its_characters() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        source = "\x01" * (64 * 1024)
        thread = in_background(lambda: Channel(ours, LARGEST).send("train", {"source": source}))
        assert Channel(theirs, LARGEST).receive().fields == {"source": source}
        thread.join()


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\xff\xfe\n", "no JSON"),
        (b"epoch 1\n", "no JSON"),
        (b"[1]\n", "no JSON object"),
        (b"[" * 200_000 + b"\n", "no JSON"),
        (b'{"a":' * 90_000 + b"\n", "no JSON"),
        (b'{"kind":"epoch","sizes":[],"loss":NaN}\n', "no JSON"),
        (b'{"kind":"epoch","sizes":[],"loss":-Infinity}\n', "no JSON"),
        (b'{"kind":"epoch","sizes":[],"epoch":' + b"9" * 5000 + b"}\n", "no JSON"),
        (b'{"sizes":[]}\n', "without a kind"),
        (b'{"kind":7,"sizes":[]}\n', "without a kind"),
        (b'{"kind":"done"}\n', "without the sizes"),
        (b'{"kind":"done","sizes":5}\n', "without the sizes"),
        (b'{"kind":"done","sizes":[true]}\n', "without the sizes"),
        (b'{"kind":"done","sizes":[1.0]}\n', "without the sizes"),
        (b'{"kind":"done","sizes":[1,1,1,1,1]}\n', "5 blobs; 4 are allowed"),
        (b'{"kind":"done","sizes":[-1]}\n', r"blobs of \[-1\] bytes"),
        (b'{"kind":"done","sizes":[4194305]}\n', r"blobs of \[4194305\] bytes; 4194304"),
        (b'{"kind":"done","sizes":[5000000,-5000000]}\n', "blobs of"),
        (b'{"kind":"done","sizes":[3000000,3000000]}\n', "together are the most"),
        (b'{"kind":"done","sizes":[1' + b"0" * 30 + b"]}\n", "together are the most"),
        (b"x" * (MAX_LINE_BYTES + 1), "a line of more than"),
    ],
)
def test_garbage_is_refused(ends: tuple[Channel, socket.socket], sent: bytes, said: str) -> None:
    channel, theirs = ends
    thread = in_background(lambda: theirs.sendall(sent))
    with pytest.raises(FrameError, match=said):
        channel.receive()
    channel.close()
    thread.join()


def test_the_end_is_told_from_a_wait(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.sendall(b'{"kind":"done","sizes":[5]}\nab')
    with pytest.raises(TimeoutError):
        channel.receive(time.monotonic() - 1)
    theirs.close()
    with pytest.raises(EOFError):
        channel.receive()


def test_a_closed_side_cannot_be_written_to(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    theirs.close()
    with pytest.raises(BrokenPipeError):
        channel.send("judged", {}, [b"x" * (1 << 20)])


def test_fields_that_are_no_json_are_not_sent(ends: tuple[Channel, socket.socket]) -> None:
    channel, theirs = ends
    with pytest.raises(ValueError, match="JSON compliant"):
        channel.send("judged", {"val_loss": float("nan")})
    with pytest.raises(ValueError, match="are allowed"):
        channel.send("say", {"line": "x" * MAX_LINE_BYTES})
    channel.send("judged", {"kind": "forged", "sizes": [7]})
    assert json.loads(theirs.recv(1000)) == {"kind": "judged", "sizes": []}


@pytest.mark.parametrize("sends", [True, False])
def test_whoever_waits_looks_up_meanwhile(sends: bool) -> None:
    class Enough(Exception):
        pass

    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise Enough

    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = Channel(ours, LARGEST, look)
        if sends:  # nobody reads
            wait: Callable[[], object] = partial(channel.send, "train", {}, [b"x" * LARGEST])
        else:  # nobody writes
            wait = partial(channel.receive)
        with pytest.raises(Enough):
            wait()


def test_whoever_is_flooded_looks_up_as_well() -> None:
    class Enough(Exception):
        pass

    def look() -> None:
        raise Enough

    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"x")
        with pytest.raises(Enough):
            Channel(ours, LARGEST, look).receive()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.linspace(0, 1, 10, dtype=np.float32)[::3],
        np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        np.empty((0, 3, 8, 8), np.uint8),
        np.array(7, np.int64),
    ],
)
def test_arrays_are_the_same_on_the_other_side(array: np.ndarray) -> None:
    with share(array) as shared:
        fd, dtype, shape = json.loads(json.dumps(shared.described()))
        there = open_shared(fd, dtype, shape)
    assert there.dtype == array.dtype
    assert there.shape == array.shape
    assert np.array_equal(there, array)


def test_a_shared_array_cannot_be_changed_by_who_holds_it() -> None:
    with share(np.zeros(4096, np.uint8)) as shared:
        there = open_shared(*shared.described())
        with pytest.raises(ValueError, match="read-only"):
            there[0] = 1
        with pytest.raises(PermissionError):
            os.pwrite(shared.fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(shared.fd, 1 << 30)
