"""The Ray that is started on this machine: what is left out of it."""

import logging
import os

import pytest

from tests.bench.processes import descendants, title


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_ray_without_a_dashboard_has_no_server_for_one() -> None:
    titles = [title(pid) for pid in descendants(os.getpid())]
    assert any("raylet/raylet" in each for each in titles)
    assert not any("dashboard/dashboard.py" in each for each in titles)
    assert not logging.getLogger("ray._private.services").disabled
