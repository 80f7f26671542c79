"""Members that train beside others, on real Ray: at the same time, and with the same bits."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.phases import Phase
from orchestrator.settings import Settings
from orchestrator.state import Job, Member
from orchestrator.store import Store
from tests.orchestrator.commands import gamectl, phases
from tests.orchestrator.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("home")]

BASE = "epochs: 3\nlearningRate: 0.05\n"
ENDLESS = """
epochs: 10000
purchases: [{item: ensemble-enchanter, combine: mean, members: [{}, {seed: 1}]}]
"""

WriteCohort = Callable[..., Path]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_members_of_an_ensemble_train_at_the_same_time(
    write_cohort: WriteCohort, photos: Path
) -> None:
    folder = write_cohort({"duo": ENDLESS}, spec="  limits: {epochs: 10000}\n")

    def slots_in_use() -> set[str | None]:
        """Waits until both members have trained an epoch, and then lets neither end."""
        with closing(Store(Settings().store_url)) as store:
            until(store.cohorts)
            try:
                members = until(lambda: both_trained(store.jobs("small")))
                return {member.slot for member in members}
            finally:
                store.cancel("small", "duo", time.time())

    with ThreadPoolExecutor(1) as aside:
        seen = aside.submit(slots_in_use)
        gamectl("submit", folder, "--data", photos)
    assert len(seen.result()) == 2
    assert phases() == {"duo": "Cancelled"}


def both_trained(jobs: tuple[Job, ...]) -> tuple[Member, ...]:
    """The first job's members, once each is in the middle of its epochs."""
    members = jobs[0].members if jobs else ()
    running = all(member.phase is Phase.RUNNING and member.epoch > 0 for member in members)
    return members if running else ()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_same_plan_gives_the_same_bits_whatever_runs_beside_it(
    write_cohort: WriteCohort, photos: Path, home: Path
) -> None:
    folder = write_cohort({"apes": BASE})
    assert gamectl("submit", folder, "--data", photos).exit_code == 0
    crowd = {f"team-{seed}": f"epochs: {1 + seed}\nseed: {seed}\n" for seed in range(3)}
    folder = write_cohort({"apes": BASE, **crowd}, name="crowd")
    assert gamectl("submit", folder, "--data", photos).exit_code == 0
    alone, beside = (
        next((home / "artifacts" / name / "apes").glob("r1-*/m0.safetensors")).read_bytes()
        for name in ("small", "crowd")
    )
    assert alone == beside
