"""How fast members train here: as others did before, or as a short benchmark tells.

In: the store, where there is one, and what members train on. Out: speeds for `forecasting`. Used by
`plan`, `tune` and `measuring`.
"""

from contextlib import suppress

from jobs.plan import Device
from orchestrator import console
from orchestrator.admission.cohort import Resources
from orchestrator.forecasting.costs import device_of
from orchestrator.forecasting.speeds import Speeds, factor_here
from orchestrator.opening import is_there, open_store
from orchestrator.settings import Settings
from orchestrator.state import Member

BENCHMARK_S = 5.0
"""About how long the benchmark takes, with what it imports."""


def known_speeds(settings: Settings, resources: Resources) -> Speeds:
    """Measured speeds if any member was trained on such a device before, or else this machine's.

    Says which.
    """
    device: Device = "cuda" if resources.gpus > 0 else "cpu"
    measured: tuple[Member, ...] = ()
    if is_there(settings):
        with open_store(settings) as store:
            measured = store.measured()
    speeds = Speeds.of(measured)
    if device in speeds.by_device:
        number = sum(device_of(member.kind) == device for member in measured)
        members = "1 member" if number == 1 else f"{number} members"
        console.print_note(f"speeds: as measured on {members} trained before")
        return speeds
    from orchestrator.terminal.progress_bars import waiting

    with waiting("measuring this machine", BENCHMARK_S):
        tried, factor = _benchmark(device)
    console.print_note(f"speeds: by a short benchmark, {factor:.2f} x the reference core's time")
    if tried != device:
        console.print_note("no GPU could be tried here: on one the cohort takes less")
    return Speeds.of(measured, factor)


def _benchmark(device: Device) -> tuple[Device, float]:
    """What was tried, and its factor: the processor stands for a GPU that is not here."""
    import torch

    if device == "cuda" and torch.cuda.is_available():
        with suppress(RuntimeError):  # others may have all of it
            return "cuda", factor_here("cuda")
    return "cpu", factor_here("cpu")
