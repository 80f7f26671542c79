"""What `gamectl doctor` looks at: an installation, a machine and the services that settings name.

In: whether Ray is to be started, and perhaps a data folder. Out: `Finding`s, one after the other,
the fast ones first. A check that fails, for want of a package or for whatever reason, is a finding
itself, so a broken installation is examined like any other.

finding   how good, what it is about, what was found, what to do
software  Python, packages, torch, other programs
machine   memory, disk, GPU, clock
services  Ray, the store, MLflow, artifacts, the data

This package imports nothing but the standard library before a check is called.
"""

from collections.abc import Callable, Iterator
from functools import partial

from orchestrator.doctor import machine, services, software
from orchestrator.doctor.finding import Check, Finding, Level, examined

__all__ = ["Finding", "Level", "checks", "examine"]


def checks(data: str | None, deep: bool) -> dict[str, Check]:
    """All checks by what they are about, those that take seconds at the end."""
    return {
        "python": software.python,
        "packages": software.packages,
        "programs": software.programs,
        "memory": machine.memory,
        "shared memory": machine.shared_memory,
        "disk": machine.disk,
        "artifacts": services.artifacts,
        "data": partial(services.data, data),
        "sandbox": software.sandbox,
        "store": services.store,
        "clock": machine.clock,
        "MLflow": services.mlflow,
        "torch": software.torch_pair,
        "GPU": machine.gpu,
        "Ray": partial(services.ray, deep),
    }


def examine(
    data: str | None, deep: bool, begin: Callable[[str], None] = lambda _about: None
) -> Iterator[Finding]:
    """The findings of all checks; `begin` is told what is looked at next."""
    yield from examined(checks(data, deep), begin)
