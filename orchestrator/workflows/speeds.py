"""How fast members train here: as others did before, or as a short benchmark tells.

In: the store, where there is one. Out: speeds for `forecasting`. Used by `plan`, `tune` and
`measuring`.
"""

from orchestrator import console
from orchestrator.forecasting.speeds import Speeds, factor_here
from orchestrator.opening import is_there, open_store
from orchestrator.settings import Settings
from orchestrator.state import Member

BENCHMARK_S = 5.0
"""About how long the benchmark takes, with what it imports."""


def known_speeds(settings: Settings) -> Speeds:
    """Measured speeds if any member was trained before, or else this machine's; says which."""
    measured: tuple[Member, ...] = ()
    if is_there(settings):
        with open_store(settings) as store:
            measured = store.measured()
    speeds = Speeds.of(measured)
    if speeds.measured:
        members = "1 member" if len(measured) == 1 else f"{len(measured)} members"
        console.print_note(f"speeds: as measured on {members} trained before")
        return speeds
    from orchestrator.terminal.progress_bars import waiting

    with waiting("measuring this machine", BENCHMARK_S):
        factor = factor_here()
    console.print_note(f"speeds: by a short benchmark, {factor:.2f} x the reference core's time")
    return Speeds(machine=factor)
