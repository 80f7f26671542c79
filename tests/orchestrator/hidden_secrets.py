"""Looks for passwords in the slots of a Ray that is started here, whose own environment has some.

Run by `test_remote` in a process of its own, as the session's Ray stays; ends with 0 where all is
well.
"""

import os
import sys
from pathlib import Path

import ray

from orchestrator.cluster.connection import SECRETS, ray_cluster


class Look:
    """Stands where a slot does."""

    def seen(self) -> tuple[dict[str, str], str]:
        """What this process finds in its environment, as Python and as Linux have it."""
        return dict(os.environ), Path("/proc/self/environ").read_text()


def main() -> None:
    hush = "gibbon-7"
    os.environ.update(dict.fromkeys(SECRETS, hush), HARMLESS="kept")
    with ray_cluster(num_cpus=1):
        look = ray.remote(Look).remote()
        environment, started_with = ray.get(look.seen.remote())
    assert [environment[name] for name in SECRETS] == [""] * len(SECRETS)
    assert hush not in str(environment)
    assert hush not in started_with
    assert environment["HARMLESS"] == "kept"


if __name__ == "__main__":
    sys.exit(main())
