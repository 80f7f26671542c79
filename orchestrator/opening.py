"""Opening what the settings name: the home folder, the store, a cohort in it.

In: settings, and a cohort's name where there is one. Out: an open store and a cohort, or an error
that says what to do. Used by the commands, and by `doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator import console
from orchestrator.errors import NotFound, StoreError
from orchestrator.loading import loading
from orchestrator.settings import Settings
from orchestrator.state import CohortRecord

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.store import Store


def make_home(settings: Settings) -> None:
    """Makes the home folder; raises `StoreError` where that can't be."""
    root = settings.root
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot keep a game in {root}: {error.strerror}; GAME_HOME names another folder"
        ) from error


def is_there(settings: Settings) -> bool:
    """Whether there is a store to look into; one of a server is there as far as anybody knows."""
    return settings.store_file is None or settings.store_file.exists()


def store_place(settings: Settings) -> str:
    """Where a store in a file is kept, to follow "there is no store"."""
    return f"at {settings.store_file} (GAME_STORE)" if settings.store else f"in {settings.root}"


@contextmanager
def open_store(settings: Settings, create: bool = False) -> Iterator[Store]:
    """The store of these settings, closed at the end of the block.

    Raises `NotFound` where there is none and `create` is False: a command that only looks leaves no
    empty store behind in whatever folder it was called.
    """
    if not create and not is_there(settings):
        raise NotFound(
            f"nothing was submitted yet: there is no store {store_place(settings)}. `gamectl "
            "submit PATH` submits a cohort; one that was submitted elsewhere is seen "
            + (
                "once GAME_STORE names its store"
                if settings.store
                else "from the folder that this was done in, or by naming its game's folder in "
                "GAME_HOME"
            )
        )
    with loading():  # here: whoever asks for `--help` waits for no SQLAlchemy
        from orchestrator.store import Store

    store = Store(settings.store_url)
    try:
        yield store
    finally:
        store.close()


def pick_cohort(store: Store, name: str | None) -> CohortRecord:
    """The named cohort, or the one submitted last, which is then said on stderr where it matters.

    A side cohort, of `ablate` or `balance`, has to be named. Raises `NotFound` where there is none.
    """
    if name is not None:
        return store.cohort(name)
    every = store.cohorts()
    cohorts = [cohort for cohort in every if not cohort.side]
    if not cohorts and every:
        raise NotFound(
            f"there are only side cohorts, of ablate and balance; --cohort {every[0].name} names "
            "the newest"
        )
    if not cohorts:
        raise NotFound("nothing was submitted yet; `gamectl submit PATH` submits a cohort")
    if len(cohorts) > 1:
        console.print_note(f"cohort {cohorts[0].name} (submitted last; --cohort names another)")
    return cohorts[0]
