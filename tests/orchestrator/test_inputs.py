"""Members' inputs where they can't be had: every member of a cohort asks for them."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from jobs.errors import DataError
from jobs.plan import DataPlan
from orchestrator.control import inputs
from orchestrator.control.inputs import LOOK_AGAIN_S, Inputs
from orchestrator.settings import Settings
from orchestrator.sources import decode_source
from orchestrator.store import Store
from tests.conftest import write_photos
from tests.orchestrator.cohorts import DATA, cohort, new_job


def test_images_that_are_away_are_looked_for_now_and_then(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_photos(tmp_path / "photos")
    settings = Settings(home=tmp_path / "home")
    folder = decode_source(str(photos), [16], False, settings).folder
    data = replace(DATA, source=str(photos), fingerprint=folder.fingerprint)
    rules = cohort().model_dump(mode="json", by_alias=True)
    store.submit("small", rules, data, [new_job("a")], 100.0, None)
    plan = DataPlan(fingerprint=folder.fingerprint, classes=folder.classes, image_size_px=16)
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
    now = LOOK_AGAIN_S
    assert len(known.images(plan).labels) > 0
    assert decoded.call_count == 2
