"""An empty store for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite store."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield store
    store.close()
