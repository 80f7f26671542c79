"""Freed memory is kept: a block that is asked for again costs no new pages."""

import subprocess
import sys

PROBE = """
import resource, threading, torch
from jobs.memory import keep_freed_memory
{call}
def churn():
    for _ in range(20):
        [torch.ones(1_000_000 * size) for size in (1, 2, 3, 4)]
def measure():
    churn()  # the first time pages are mapped in any case
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    churn()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
thread = threading.Thread(target=measure)
thread.start()
thread.join()
"""


def page_faults(call: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(call=call)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_fewer_pages_are_mapped_anew_in_a_thread_as_well() -> None:
    assert page_faults("keep_freed_memory()") < page_faults("") / 2
