"""Members' inputs: fetched beside everything else, and where they can't be had."""

import contextlib
import lzma
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from jobs.errors import DataError, Stopped
from jobs.plan import DataPlan, DistillPlan, MemberPlan, TeacherSpec
from orchestrator.control import inputs
from orchestrator.control.inputs import IMAGES_AGAIN_S, TEACHER_AGAIN_S, Inputs
from orchestrator.errors import ArtifactsAway, Damaged, InputsFailed, StoreUnavailable, first_line
from orchestrator.settings import Settings
from orchestrator.sources import decode_source
from orchestrator.state import CohortRecord
from orchestrator.store import Store
from orchestrator.teaching.teachings import teaching_key
from tests.conftest import write_photos
from tests.orchestrator.cohorts import DATA, cohort, new_job

PATIENCE_S = 60.0


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos."""
    return write_photos(tmp_path / "photos")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a home of its own."""
    return Settings(GAME_HOME=tmp_path / "home")


@pytest.fixture
def plan(store: Store, photos: Path, settings: Settings) -> DataPlan:
    """Of a cohort `small` that was submitted with the photos, none of them decoded at this size."""
    folder = decode_source(str(photos), [8], False, settings).folder
    data = replace(DATA, source=str(photos), fingerprint=folder.fingerprint)
    rules = cohort().model_dump(mode="json", by_alias=True)
    store.submit("small", rules, data, [new_job("a")], 100.0, None)
    return DataPlan(fingerprint=folder.fingerprint, classes=folder.classes, image_size_px=16)


def until(is_so: Callable[[], bool]) -> None:
    """Waits for something that a thread is about to do."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Held:
    """A progress bar whose step waits at its first image until it is let go."""

    def __init__(self) -> None:
        self.reached, self.let_go = threading.Event(), threading.Event()
        self.shown: list[int] = []

    @contextmanager
    def __call__(self, _label: str) -> Iterator[Callable[[int, int], None]]:
        def show(done: int, _total: int) -> None:
            self.shown.append(done)
            self.reached.set()
            assert self.let_go.wait(PATIENCE_S)

        yield show


def test_images_are_fetched_while_whoever_asked_goes_on(
    store: Store, settings: Settings, plan: DataPlan
) -> None:
    held = Held()
    known = Inputs("small", store, settings, held)
    member = MemberPlan(data=plan)
    assert not known.fetched(member)
    assert held.reached.wait(PATIENCE_S)
    assert not known.fetched(member)
    held.let_go.set()
    until(lambda: known.fetched(member))
    assert len(known.images(plan).labels) == held.shown[-1]
    known.close()


def test_what_is_being_fetched_ends_where_nobody_needs_it_any_more(
    store: Store, settings: Settings, plan: DataPlan
) -> None:
    held = Held()
    known = Inputs("small", store, settings, held)
    known.fetched(MemberPlan(data=plan))
    assert held.reached.wait(PATIENCE_S)

    def let_go_once_it_is_closed() -> None:
        known._closed.wait(PATIENCE_S)
        held.let_go.set()

    threading.Thread(target=let_go_once_it_is_closed, daemon=True).start()
    known.close()
    assert len(held.shown) == 1
    with pytest.raises(Stopped):
        known.images(plan)


def test_a_store_that_does_not_answer_is_asked_again_at_once(
    store: Store, settings: Settings, plan: DataPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([StoreUnavailable("away"), StoreUnavailable("away"), store.cohort("small")])

    def cohort_of(_name: str) -> object:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    monkeypatch.setattr(store, "cohort", cohort_of)
    known = Inputs("small", store, settings, clock=lambda: 0.0)

    def is_here() -> bool:
        with contextlib.suppress(StoreUnavailable):
            return known.fetched(MemberPlan(data=plan)) and len(known.images(plan).labels) > 0
        return False

    until(is_here)
    known.close()


def student(plan: DataPlan) -> MemberPlan:
    teacher = TeacherSpec(sha256="0" * 64, architecture="resnet18", image_size_px=32)
    return MemberPlan(data=plan, distill=DistillPlan(teacher=teacher))


def test_images_that_are_asked_for_again_behind_a_teacher_do_not_wait_for_it(
    store: Store, settings: Settings, plan: DataPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = store.cohort("small")
    answers = iter([StoreUnavailable("away")])

    def cohort_of(_name: str) -> CohortRecord:
        for answer in answers:
            raise answer
        return record

    monkeypatch.setattr(store, "cohort", cohort_of)
    held, large = Held(), plan.model_copy(update={"image_size_px": 24})
    known = Inputs("small", store, settings, held)
    small = known._fetch_images(plan)
    known.fetched(MemberPlan(data=large))
    asked = known._fetch_teaching(student(plan))
    assert held.reached.wait(PATIENCE_S)  # the first have failed, and others are under way
    assert isinstance(small.result.exception(), StoreUnavailable)
    known.fetched(MemberPlan(data=plan))
    held.let_go.set()
    asked.result.exception(PATIENCE_S)
    assert len(known.images(plan).labels) == len(known.images(large).labels)
    known.close()


def test_a_teacher_that_was_away_for_a_moment_is_asked_again(
    store: Store, settings: Settings, plan: DataPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([ArtifactsAway("no answer"), None])

    def teachings(*_: object) -> dict[object, object]:
        if (answer := next(answers)) is not None:
            raise answer
        return {teaching_key(student(plan)): "taught"}

    monkeypatch.setattr(inputs, "teachings", teachings)
    now = 0.0
    known = Inputs("small", store, settings, clock=lambda: now)
    for _ in range(3):
        with pytest.raises(ArtifactsAway):
            known.teaching(student(plan))
    now = TEACHER_AGAIN_S
    assert known.teaching(student(plan)) == "taught"
    known.close()


@pytest.mark.parametrize(
    "error",
    [RuntimeError("can't allocate memory:\nyou tried"), lzma.LZMAError("torn"), MemoryError()],
)
def test_what_nobody_foresaw_is_told_as_any_other_obstacle(
    store: Store,
    settings: Settings,
    plan: DataPlan,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    monkeypatch.setattr(inputs, "teachings", Mock(side_effect=error))
    known = Inputs("small", store, settings)
    what = f"could not be had: {type(error).__name__}: {first_line(error)} "
    with pytest.raises(InputsFailed, match=rf"{what}\(.*\.py:\d+\)$"):
        known.teaching(student(plan))
    known.close()


def test_what_ends_a_process_is_not_put_into_words(
    store: Store, settings: Settings, plan: DataPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "teachings", Mock(side_effect=SystemExit))
    known = Inputs("small", store, settings)
    with pytest.raises(SystemExit):
        known.teaching(student(plan))
    known.close()


def test_other_images_than_were_submitted_are_refused(
    store: Store, settings: Settings, plan: DataPlan, photos: Path
) -> None:
    next((photos / "training" / "n0").iterdir()).unlink()
    known = Inputs("small", store, settings)
    with pytest.raises(Damaged, match="are not those that cohort 'small' was submitted with"):
        known.images(plan)
    known.close()


def test_images_that_are_away_are_looked_for_now_and_then(
    store: Store,
    settings: Settings,
    plan: DataPlan,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded = Mock(side_effect=decode_source)
    monkeypatch.setattr(inputs, "decode_source", decoded)
    now = 0.0
    known = Inputs("small", store, settings, clock=lambda: now)
    away = photos.rename(tmp_path / "away")
    for _ in range(300):
        with pytest.raises(DataError, match="no such folder"):
            known.images(plan)
    assert decoded.call_count == 1
    away.rename(photos)
    now = IMAGES_AGAIN_S
    assert len(known.images(plan).labels) > 0
    assert decoded.call_count == 2
    known.close()
