"""Garbage collection rests while modules are loaded, and only then."""

import gc
import threading
from collections.abc import Iterator

import pytest

from orchestrator.loading import loading


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_garbage_is_looked_for_again_afterwards() -> None:
    kept = [object()]
    with loading():
        assert not gc.isenabled()
        kept.append([])  # looked at by the collector, if it were not frozen
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_an_import_that_fails_leaves_it_on() -> None:
    with pytest.raises(ModuleNotFoundError), loading():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_it_rests_until_the_last_of_several_threads_is_through() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def load() -> None:
        with loading():
            inside.set()
            assert go_on.wait(30)

    thread = threading.Thread(target=load)
    thread.start()
    assert inside.wait(30)
    with loading():
        pass
    still_resting = not gc.isenabled()
    go_on.set()
    thread.join()
    assert still_resting
    assert gc.isenabled()
