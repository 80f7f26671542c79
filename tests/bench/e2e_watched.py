"""`gamectl` with an eye on the thread that keeps MLflow up to date.

In: a file's path, then a command's words. Out: the command does what it always does; the file says
how much CPU time its tracking had used at which moment. Used by `end_to_end`.

Nothing of the command is changed: a further thread looks at the tracking thread's own accounting,
ten times a second. What it uses after the last look is missing.

    python -m tests.bench.e2e_watched RECORD submit FOLDER
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from orchestrator.cli import main

WATCHED = "tracking"
LOOK_EVERY_S = 0.1
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_s(thread_id: int) -> float | None:
    """CPU seconds of a thread of this process, the kernel's part included; None: it has ended."""
    try:
        stat = Path(f"/proc/self/task/{thread_id}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def watch(found: list[tuple[float, float]]) -> None:
    """Notes (time, CPU seconds so far) whenever they have grown; runs as long as the process."""
    last: dict[int, float] = {}
    while True:
        before = sum(last.values())
        for thread in threading.enumerate():
            if thread.name == WATCHED and thread.native_id is not None:
                used_s = cpu_s(thread.native_id)
                if used_s is not None:
                    last[thread.native_id] = used_s
        if sum(last.values()) > before:
            found.append((time.time(), sum(last.values())))
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    record = Path(sys.argv.pop(1))
    looks: list[tuple[float, float]] = []
    threading.Thread(target=watch, args=(looks,), daemon=True).start()
    try:
        main(prog_name="gamectl")
    finally:
        record.write_text(json.dumps(looks))
