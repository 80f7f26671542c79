"""Garbage collection rests while modules are loaded, and only then."""

import gc
import importlib
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.loading import loading


class Cycle:
    """What only the collector frees."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = "loaded_for_the_first_time"
    (tmp_path / f"{name}.py").write_text("made = [[] for _ in range(10)]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_garbage_is_looked_for_again_afterwards(module: str) -> None:
    with loading():
        assert not gc.isenabled()
        importlib.import_module(module)
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_what_is_loaded_already_keeps_no_garbage_alive(module: str) -> None:
    importlib.import_module(module)
    network = Cycle()
    with loading():
        importlib.import_module(module)
    freed = weakref.ref(network)
    del network
    gc.collect()
    assert freed() is None


def test_who_has_it_off_keeps_it_off(module: str) -> None:
    gc.disable()
    try:
        with loading():
            importlib.import_module(module)
        still_off = not gc.isenabled()
    finally:
        gc.enable()
    assert still_off


def test_an_import_that_fails_leaves_it_on() -> None:
    with pytest.raises(ModuleNotFoundError), loading():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_it_rests_until_the_last_of_several_threads_is_through() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def load() -> None:
        with loading():
            inside.set()
            go_on.wait(30)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        assert inside.wait(30)
        with loading():
            pass
        still_resting = not gc.isenabled()
    finally:
        go_on.set()
        thread.join()
    assert still_resting
    assert gc.isenabled()
