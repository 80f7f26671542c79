"""Where a cohort is to be run: on this machine, or on a cluster elsewhere.

In: what --cluster and --cpus say, and the cohort's rules. Out: a launcher, or None for here. Next
on the path: `attend`, which is given it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.admission.cohort import CohortSpec
from orchestrator.errors import Refused
from orchestrator.settings import Settings

if TYPE_CHECKING:  # it imports SQLAlchemy, which takes a second
    from orchestrator.control.remote import Code, RemoteLauncher


def check_cpus(cpus: int | None, settings: Settings) -> None:
    """Raises `Refused` where --cpus is given for a Ray that runs already."""
    if cpus is not None and settings.ray_address is not None:
        raise Refused(
            "--cpus is for a Ray that is started here, and RAY_ADDRESS names another; "
            "leave one of them out"
        )


def elsewhere(
    asked: str | None, cohort: CohortSpec, code: Code, cpus: int | None, settings: Settings
) -> RemoteLauncher | None:
    """Where --cluster, or else the cohort, wants to be run; None is here.

    Raises `Refused` for an address that is none, and for --cpus on a cluster.
    """
    from orchestrator.control.remote import launcher_of

    launcher = launcher_of(asked, cohort.cluster, settings, code)
    if launcher is None:
        check_cpus(cpus, settings)
    elif cpus is not None:
        raise Refused(
            f"--cpus is for a Ray that is started here, not for {launcher.address}; "
            "leave it out, or pass --cluster local"
        )
    return launcher
