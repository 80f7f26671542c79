"""`gamectl` with an eye on the thread that keeps MLflow up to date.

In: a file's path, then a command's words. Out: the command does what it always does; the file says
how much CPU time its tracking had used at which moment. Used by `end_to_end`.

Nothing of the command is changed: a further thread looks at the accounting of the tracking thread,
and of the process that exports models for it, ten times a second. What they use after the last look
is missing.

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


def cpu_s(stat: Path) -> float | None:
    """CPU seconds by a `stat` of /proc, the kernel's part included; None: it has ended."""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def stats(thread_id: int) -> list[Path]:
    """Where to look for a thread of this process and the processes that it has started."""
    task = Path(f"/proc/self/task/{thread_id}")
    try:
        children = (task / "children").read_text().split()
    except OSError:
        children = []
    return [task / "stat", *(Path(f"/proc/{pid}/stat") for pid in children)]


def watch(found: list[tuple[float, float]]) -> None:
    """Notes (time, CPU seconds so far) whenever they have grown; runs as long as the process."""
    last: dict[Path, float] = {}
    while True:
        before = sum(last.values())
        for thread in threading.enumerate():
            if thread.name == WATCHED and thread.native_id is not None:
                for stat in stats(thread.native_id):
                    if (used_s := cpu_s(stat)) is not None:
                        last[stat] = used_s
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
